"""What a window needs is looked at before Qt ends the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from opentps_brimstone.gui import environment
from opentps_brimstone.gui.environment import (
    GuiUnavailableError,
    missing_libraries,
    missing_packages,
    require_display,
    require_packages,
)


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "QT_QPA_PLATFORM")}
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        capture_output=True,
        text=True,
        env={**kept, **environ},
        timeout=60,
        cwd=sys.prefix,
    )


def test_importing_the_package_loads_no_qt():
    code = (
        "import sys, opentps_brimstone as pb; pb.add_to_gui; pb.gui; import opentps_brimstone.gui.session; "
        "sys.exit(any(name.split('.')[0] in ('PyQt5', 'pyqtgraph', 'vtkmodules') for name in sys.modules))"
    )
    assert run("-c", code).returncode == 0


def test_missing_packages_are_named_with_the_extra(monkeypatch):
    assert missing_packages(("json", "nosuchpackage", "email.nosuchpart")) == ["nosuchpackage", "email.nosuchpart"]
    monkeypatch.setattr(environment, "missing_packages", lambda: ["PyQt5"])
    with pytest.raises(GuiUnavailableError, match=r"PyQt5.*pip install 'opentps-brimstone\[gui\]'"):
        require_packages()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these libraries are Linux's")
def test_missing_libraries_are_named_with_their_package(monkeypatch):
    assert missing_libraries({"libc.so.6": "libc6", "libnosuch.so.1": "libnosuch1"}) == {"libnosuch.so.1": "libnosuch1"}
    monkeypatch.setattr(environment, "missing_libraries", lambda: {"libxcb-icccm.so.4": "libxcb-icccm4"})
    with pytest.raises(GuiUnavailableError, match="apt-get install libxcb-icccm4"):
        require_display({"DISPLAY": ":0"}, platform="linux")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "there is no display"),
        ({"DISPLAY": ":0", "QT_QPA_PLATFORM": "offscreen"}, "QT_QPA_PLATFORM is 'offscreen'"),
    ],
)
def test_a_display_is_wanted(environ, says):
    with pytest.raises(GuiUnavailableError, match=says):
        require_display(environ, platform="linux")


def test_elsewhere_than_on_linux_nothing_is_checked():
    require_display({}, platform="win32")


def test_the_command_says_what_is_missing_and_ends_with_an_error():
    ended = _command()
    assert ended.returncode == 1
    assert "there is no display" in ended.stderr or "pip install 'opentps-brimstone[gui]'" in ended.stderr


def test_the_command_names_a_folder_there_is_not():
    ended = _command("nosuchfolder")
    assert ended.returncode == 1
    assert "there is no folder 'nosuchfolder'" in ended.stderr


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("-c", f"import sys; from opentps_brimstone.cli import main; sys.exit(main({['gui', *arguments]!r}))")
