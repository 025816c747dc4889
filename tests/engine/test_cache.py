"""The beamlet cache: what it keeps, what it forgets, and what it survives."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from opentps_brimstone.engine.cache import BeamletCache, cache_root


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def arrays_of(number: int, size: int = 1000) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    return {
        "rows": random.integers(0, 2**31 - 1, size, dtype=np.int32),
        "values": random.random(size, dtype=np.float32),
        "offsets": np.array([0, size]),
    }


def assert_same(found: dict[str, np.ndarray] | None, expected: dict[str, np.ndarray]) -> None:
    assert found is not None
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def cache(tmp_path: Path) -> BeamletCache:
    return BeamletCache(tmp_path / "cache")


def names(cache: BeamletCache) -> list[str]:
    return sorted(path.name for path in cache.directory.iterdir() if path.name != "cache.lock")


def test_what_was_put_is_got(cache: BeamletCache) -> None:
    assert cache.get(key_of(1)) is None
    assert cache.put(key_of(1), arrays_of(1))
    assert_same(cache.get(key_of(1)), arrays_of(1))
    assert cache.get(key_of(2)) is None


def test_another_cache_object_of_the_same_folder_finds_it(cache: BeamletCache) -> None:
    cache.put(key_of(1), arrays_of(1))
    assert_same(BeamletCache(cache.directory).get(key_of(1)), arrays_of(1))


def test_empty_and_multidimensional_arrays(cache: BeamletCache) -> None:
    arrays = {"empty": np.empty(0, np.float32), "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4))}
    cache.put(key_of(1), arrays)
    assert_same(cache.get(key_of(1)), arrays)


def test_entry_says_in_words_what_it_is_and_holds_no_pickle(cache: BeamletCache) -> None:
    cache.put(key_of(1), arrays_of(1), {"beamlets": 7, "grid_shape": [3, 4, 5]})
    folder = cache.directory / key_of(1)
    entry = json.loads((folder / "entry.json").read_text())
    assert entry["description"]["beamlets"] == 7
    assert entry["description"]["created"].startswith("20")
    assert entry["arrays"]["rows"]["shape"] == [1000]
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json"}
    (listed,) = cache.entries
    assert listed.key == key_of(1)
    assert listed.description["grid_shape"] == [3, 4, 5]
    assert listed.size_bytes == cache.size_bytes > 2 * 4000


def test_objects_are_refused(cache: BeamletCache) -> None:
    with pytest.raises(ValueError, match="'things' holds Python objects"):
        cache.put(key_of(1), {"things": np.array([{}], dtype=object)})
    assert not cache.directory.exists()


@pytest.mark.parametrize("key", ["", "../../etc", "A" * 64, "0" * 63])
def test_malformed_keys_are_refused(cache: BeamletCache, key: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        cache.get(key)
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        cache.put(key, {})


@pytest.mark.parametrize("name", ["../rows", "", "Rows", "a.b"])
def test_malformed_array_names_are_refused(cache: BeamletCache, name: str) -> None:
    with pytest.raises(ValueError, match="array name"):
        cache.put(key_of(1), {name: np.zeros(1)})


def test_limit_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_bytes is 0"):
        BeamletCache(tmp_path, max_bytes=0)


def test_least_recently_used_entries_make_room(tmp_path: Path) -> None:
    cache = BeamletCache(tmp_path, max_bytes=35_000)  # three entries of 9 to 10 kB, not four
    for number in range(3):
        cache.put(key_of(number), arrays_of(number))
        stamp = time.time() - 1000 + number
        os.utime(tmp_path / key_of(number) / "entry.json", (stamp, stamp))
    assert_same(cache.get(key_of(0)), arrays_of(0))  # now the most recently used
    cache.put(key_of(3), arrays_of(3))
    assert cache.get(key_of(1)) is None
    for number in (0, 2, 3):
        assert_same(cache.get(key_of(number)), arrays_of(number))
    assert cache.size_bytes <= cache.max_bytes


def test_entries_are_listed_from_the_least_recently_used(cache: BeamletCache) -> None:
    for number in range(3):
        cache.put(key_of(number), arrays_of(number))
        stamp = time.time() - 10 * number
        os.utime(cache.directory / key_of(number) / "entry.json", (stamp, stamp))
    assert [entry.key for entry in cache.entries] == [key_of(2), key_of(1), key_of(0)]


def test_what_exceeds_the_limit_alone_displaces_nothing(tmp_path: Path) -> None:
    cache = BeamletCache(tmp_path, max_bytes=20_000)
    cache.put(key_of(1), arrays_of(1))
    assert not cache.put(key_of(2), arrays_of(2, size=10_000))
    assert names(cache) == [key_of(1)]


def test_clear_removes_entries_and_nothing_else(cache: BeamletCache) -> None:
    for number in range(3):
        cache.put(key_of(number), arrays_of(number))
    (cache.directory / "notes.txt").write_text("mine")
    size = cache.size_bytes
    assert cache.clear() == size > 0
    assert names(cache) == ["notes.txt"]
    assert cache.entries == []
    assert cache.clear() == 0


def test_clear_of_a_cache_that_never_was_makes_no_folder(cache: BeamletCache) -> None:
    assert cache.clear() == 0
    assert not cache.directory.exists()


def test_remove_takes_one_entry(cache: BeamletCache) -> None:
    cache.put(key_of(1), arrays_of(1))
    cache.put(key_of(2), arrays_of(2))
    cache.remove(key_of(1))
    cache.remove(key_of(3))
    assert names(cache) == [key_of(2)]


def truncate(folder: Path) -> None:
    path = folder / "values.npy"
    path.write_bytes(path.read_bytes()[:-8])


def flip_one_bit(folder: Path) -> None:
    path = folder / "values.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def put_another_array(folder: Path) -> None:
    np.save(folder / "values.npy", np.zeros((2, 3)))


def put_a_pickle(folder: Path) -> None:
    np.save(folder / "values.npy", np.array([{}], dtype=object), allow_pickle=True)


def lose_a_file(folder: Path) -> None:
    (folder / "rows.npy").unlink()


def lose_the_description(folder: Path) -> None:
    (folder / "entry.json").unlink()


def break_the_description(folder: Path) -> None:
    path = folder / "entry.json"
    path.write_text(path.read_text()[:50])


def describe_something_else(folder: Path) -> None:
    (folder / "entry.json").write_text("[1, 2]")


def describe_another_format(folder: Path) -> None:
    entry = json.loads((folder / "entry.json").read_text())
    entry["format"] = 99
    (folder / "entry.json").write_text(json.dumps(entry))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_one_bit,
        put_another_array,
        put_a_pickle,
        lose_a_file,
        lose_the_description,
        break_the_description,
        describe_something_else,
        describe_another_format,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_entry_is_removed_and_can_be_stored_again(cache: BeamletCache, damage) -> None:
    cache.put(key_of(1), arrays_of(1))
    cache.put(key_of(2), arrays_of(2))
    damage(cache.directory / key_of(1))
    assert len(cache.entries) == 2  # a damaged entry can be listed
    assert cache.get(key_of(1)) is None
    assert names(cache) == [key_of(2)]
    assert cache.put(key_of(1), arrays_of(1))
    assert_same(cache.get(key_of(1)), arrays_of(1))


def test_no_altered_byte_goes_unnoticed(cache: BeamletCache) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        cache.put(key_of(1), arrays_of(1, size=20))
        files = sorted((cache.directory / key_of(1)).glob("*.npy"))
        path = files[random.integers(len(files))]
        content = bytearray(path.read_bytes())
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)
        assert cache.get(key_of(1)) is None


def test_arrays_outlive_the_entry(cache: BeamletCache) -> None:
    cache.put(key_of(1), arrays_of(1))
    held = cache.get(key_of(1))
    BeamletCache(cache.directory).clear()
    assert_same(held, arrays_of(1))


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = BeamletCache(tmp_path / "file" / "cache")
    assert cache.get(key_of(1)) is None
    with pytest.warns(RuntimeWarning, match="beamlets are not kept in the cache .*file/cache"):
        assert not cache.put(key_of(1), arrays_of(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not cache.put(key_of(2), arrays_of(2))
    assert cache.entries == []
    assert cache.size_bytes == 0


def test_a_disk_error_while_reading_is_a_miss_and_keeps_the_entry(cache: BeamletCache, monkeypatch) -> None:
    cache.put(key_of(1), arrays_of(1))

    def fail(*args, **kwargs):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(np, "load", fail)
        with pytest.warns(RuntimeWarning, match="Too many open files"):
            assert cache.get(key_of(1)) is None
    assert_same(cache.get(key_of(1)), arrays_of(1))


def test_an_interrupted_put_leaves_nothing(cache: BeamletCache, monkeypatch) -> None:
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    cache.put(key_of(1), arrays_of(1))
    monkeypatch.setattr(np, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.put(key_of(2), arrays_of(2))
    assert names(cache) == [key_of(1)]


def test_what_a_killed_process_left_is_swept_up_later(cache: BeamletCache) -> None:
    cache.put(key_of(1), arrays_of(1))
    for name, age_s in (("unfinished-old", 7200), ("unfinished-new", 60)):
        (cache.directory / name).mkdir()
        (cache.directory / name / "rows.npy").write_bytes(b"half")
        os.utime(cache.directory / name, (time.time() - age_s,) * 2)
    cache.put(key_of(2), arrays_of(2))
    assert names(cache) == sorted([key_of(1), key_of(2), "unfinished-new"])
    assert {entry.key for entry in cache.entries} == {key_of(1), key_of(2)}


def test_storing_waits_for_the_lock_of_another_process(cache: BeamletCache, monkeypatch) -> None:
    cache.put(key_of(1), arrays_of(1))
    monkeypatch.setattr("opentps_brimstone.engine.cache._LOCK_TIMEOUT_S", 0.2)
    with FileLock(cache.directory / "cache.lock"), pytest.warns(RuntimeWarning, match="not kept"):
        assert not cache.put(key_of(2), arrays_of(2))
    assert names(cache) == [key_of(1)]


def _use_heavily(directory: Path, seed: int, rounds: int, wrong: multiprocessing.Queue) -> None:
    cache = BeamletCache(directory, max_bytes=60_000)
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        number = int(random.integers(10))
        found = cache.get(key_of(number))
        if found is None:
            cache.put(key_of(number), arrays_of(number))
        elif not all(np.array_equal(found[name], array) for name, array in arrays_of(number).items()):
            wrong.put(number)
        if random.random() < 0.05:
            cache.clear()


def test_processes_that_read_store_evict_and_clear_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    wrong = context.Queue()
    workers = [context.Process(target=_use_heavily, args=(tmp_path, seed, 150, wrong)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert wrong.empty()
    cache = BeamletCache(tmp_path, max_bytes=60_000)
    assert cache.size_bytes <= 60_000
    assert [name for name in names(cache) if name.startswith("unfinished")] == []
    for entry in cache.entries:
        assert cache.get(entry.key) is not None


def test_default_folder_is_the_users_or_the_one_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"
    assert BeamletCache().directory == tmp_path / "mine" / "beamlets"
    monkeypatch.delenv("OPENTPS_BRIMSTONE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "opentps-brimstone"
    assert not (tmp_path / "xdg").exists()
