"""A screen of its own and OpenTPS's window for the tests of the window."""

from __future__ import annotations

import os

import pytest
from gui_window import User, start_display, write_patient


@pytest.fixture(scope="session")
def display():
    os.environ["DISPLAY"] = start_display()
    return os.environ["DISPLAY"]


@pytest.fixture(scope="session")
def qapp(display):
    """Make Qt's application after the screen is there; OpenTPS makes none if there is one."""
    from PyQt5.QtWidgets import QApplication

    app = QApplication.instance() or QApplication([])
    yield app
    app.processEvents()


@pytest.fixture
def user(qtbot):
    """Somebody in front of a fresh window."""
    made = User(qtbot)
    yield made
    made.window.close()
    assert made.unexpected == []


@pytest.fixture(scope="session")
def patient_folder(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("patient"))
