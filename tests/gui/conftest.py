"""A screen of its own and OpenTPS's window for the tests of the window."""

from __future__ import annotations

import os

import pytest
from gui_window import USUAL, User, start_display, write_patient


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
    made.leave()


@pytest.fixture(scope="module")
def window_with_patient(qapp, patient_folder):
    """A window with Brimstone, a patient, a design and objectives, for all tests of a module."""
    from pytestqt.qtbot import QtBot

    from opentps_brimstone import add_to_gui

    made = User(QtBot)
    made.extension = add_to_gui(made.controller)
    made.load(patient_folder)
    made.design()
    made.objectives(USUAL)
    yield made
    made.leave()


@pytest.fixture
def planner(window_with_patient, qtbot):
    """Somebody in front of that window, with the usual objectives typed."""
    window_with_patient.bot = qtbot
    window_with_patient.objectives(USUAL)
    yield window_with_patient
    assert window_with_patient.unexpected == []


@pytest.fixture(scope="session")
def patient_folder(tmp_path_factory):
    return write_patient(tmp_path_factory.mktemp("patient"))
