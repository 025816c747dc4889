"""Ctrl-C comes at the right moment, and folders made for a moment are gone after it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from opentps_brimstone._util.interrupts import interrupt_held_back, short_lived_folder


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # Python's handlers run between two instructions


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    order = []
    with pytest.raises(KeyboardInterrupt), interrupt_held_back():
        press_ctrl_c()
        order.append("done")
    assert order == ["done"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_handler_of_others_gets_the_interrupt() -> None:
    caught = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        with interrupt_held_back():
            press_ctrl_c()
            assert caught == []
        assert caught == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, previous)


def test_an_error_in_the_block_is_passed_on() -> None:
    with pytest.raises(ValueError, match="mine"), interrupt_held_back():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_may_use_it() -> None:
    done = []

    def work() -> None:
        with interrupt_held_back():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_the_folder_is_gone_after_the_block(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with short_lived_folder("mine-") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith("mine-")
        (folder / "below").mkdir()
        (folder / "below" / "file").write_text("content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_folder_is_gone_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), short_lived_folder("mine-", tmp_path) as folder:
        (folder / "file").write_text("content")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_gone_even_if_interrupted_while_it_is_removed(tmp_path: Path, monkeypatch) -> None:
    remove = shutil.rmtree

    def interrupted(path, **options):
        press_ctrl_c()
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), short_lived_folder("mine-", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_folder_may_be_moved_away(tmp_path: Path) -> None:
    with short_lived_folder("mine-", tmp_path) as folder:
        (folder / "file").write_text("content")
        folder.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
