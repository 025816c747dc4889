from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from opentps_brimstone._util.output_folder import check_folder, written_together

NAMES = ("dose.dcm", "plan.dcm", "report.png")


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "plan.dcm").write_text("old")
    (folder / "report.png").write_text("old")
    return folder


def test_a_new_folder_is_made_with_all_files(tmp_path):
    folder = tmp_path / "made" / "here"
    check_folder(folder, NAMES)
    assert list(tmp_path.iterdir()) == []
    with written_together(folder, NAMES) as new:
        (new / "plan.dcm").write_text("new")
        assert not folder.exists()
    assert contents(folder) == {"plan.dcm": "new"}
    assert [path.name for path in folder.parent.iterdir()] == ["here"]
    assert folder.stat().st_mode == folder.parent.stat().st_mode  # readable by all who may read the others


def test_old_files_are_replaced_or_removed_and_others_left_alone(old):
    with written_together(old, NAMES) as new:
        (new / "dose.dcm").write_text("new")
        (new / "plan.dcm").write_text("new")
        assert (old / "plan.dcm").read_text() == "old"
    assert contents(old) == {"notes.txt": "mine", "dose.dcm": "new", "plan.dcm": "new"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_halfway_leaves_all_as_it_was(old, error):
    before = contents(old)
    with pytest.raises(type(error)), written_together(old, NAMES) as new:
        (new / "plan.dcm").write_text("new")
        raise error
    assert contents(old) == before
    missing = old.parent / "missing"
    with pytest.raises(type(error)), written_together(missing, NAMES):
        raise error
    assert [path.name for path in old.parent.iterdir()] == ["old"]


def test_what_fails_while_files_are_exchanged_brings_the_old_ones_back(old, monkeypatch):
    before, replace = contents(old), type(old).replace

    def full(self, target):
        if self.name == "report.png" and self.parent.name == "new":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(type(old), "replace", full)
    with pytest.raises(OSError, match="No space left"), written_together(old, NAMES) as new:
        for name in NAMES:
            (new / name).write_text("new")
    assert contents(old) == before


def test_ctrl_c_while_files_are_exchanged_waits_until_that_is_done(old, monkeypatch):
    replace = type(old).replace

    def pressed(self, target):
        signal.raise_signal(signal.SIGINT)
        return replace(self, target)

    monkeypatch.setattr(type(old), "replace", pressed)
    with pytest.raises(KeyboardInterrupt), written_together(old, NAMES) as new:
        (new / "plan.dcm").write_text("new")
    assert contents(old) == {"notes.txt": "mine", "plan.dcm": "new"}


def test_a_folder_on_another_file_system_than_what_it_lies_in(tmp_path):
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    elsewhere = Path(tempfile.mkdtemp(dir=memory))
    try:
        folder = tmp_path / "link"
        folder.symlink_to(elsewhere, target_is_directory=True)
        check_folder(folder, NAMES)
        with written_together(folder, NAMES) as new:
            (new / "plan.dcm").write_text("new")
        assert contents(elsewhere) == {"plan.dcm": "new"}
        assert list(tmp_path.iterdir()) == [folder]
    finally:
        shutil.rmtree(elsewhere)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_in_one_that_may_not_be_written(old):
    old.parent.chmod(0o555)
    try:
        check_folder(old, NAMES)
        with written_together(old, NAMES) as new:
            (new / "plan.dcm").write_text("new")
        assert contents(old) == {"notes.txt": "mine", "plan.dcm": "new"}
        with pytest.raises(PermissionError, match=r"output folder .*other cannot be written in .*: Permission denied"):
            check_folder(old.parent / "other", NAMES)
    finally:
        old.parent.chmod(0o755)


def test_folders_that_cannot_be_written_are_told_of(old):
    with pytest.raises(NotADirectoryError, match=r"notes\.txt is a file; give another one"):
        check_folder(old / "notes.txt", NAMES)
    with pytest.raises(NotADirectoryError, match=r"below cannot be made: .*notes\.txt is a file"):
        check_folder(old / "notes.txt" / "below", NAMES)
    (old / "link").symlink_to("nothing")
    with pytest.raises(NotADirectoryError, match="link is a link to nothing, which does not exist"):
        check_folder(old / "link", NAMES)
    (old / "dose.dcm").mkdir()
    with pytest.raises(IsADirectoryError, match=r"dose\.dcm is a folder"):
        check_folder(old, NAMES)
