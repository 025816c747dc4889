"""What a window needs from the system, looked at before Qt ends the process without a word that helps."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from opentps_brimstone._util.errors import BrimstoneError

__all__ = ["GuiUnavailableError", "missing_libraries", "missing_packages", "require_display", "require_packages"]

_PACKAGES = ("opentps.gui", "PyQt5", "pyqtgraph", "vtk")

# What Qt 5's plug-in "xcb" and VTK load on Linux, with the Debian package that has it.
_LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
}
_WITHOUT_DISPLAY = ("offscreen", "minimal", "linuxfb", "vnc")


class GuiUnavailableError(BrimstoneError, RuntimeError):
    """A window cannot be opened here; the message says what to install or to set."""


def missing_packages(packages: Iterable[str] = _PACKAGES) -> list[str]:
    """Name the Python packages of a window that are not installed, without importing any of Qt.

    Parameters
    ----------
    packages : iterable of str

    Returns
    -------
    list of str
    """
    return [name for name in packages if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    top, _, inner = name.partition(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return False
    if not inner:
        return True
    return any((Path(place) / inner).is_dir() for place in spec.submodule_search_locations or ())


def missing_libraries(libraries: Mapping[str, str] = _LIBRARIES) -> dict[str, str]:
    """Name the system libraries of a window that cannot be loaded, with the Debian packages that have them.

    Parameters
    ----------
    libraries : mapping of str to str
        Package by library.

    Returns
    -------
    dict of str to str
    """
    return {library: package for library, package in libraries.items() if not _loads(library)}


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def require_packages() -> None:
    """Check that the packages of a window are installed.

    Raises
    ------
    GuiUnavailableError
        Naming those that are not, and how to get them.
    """
    missing = missing_packages()
    if missing:
        raise GuiUnavailableError(
            f"OpenTPS's window needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'opentps-brimstone[gui]'"
        )


def require_display(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> None:
    """Check that Qt finds a display and the libraries it draws with; elsewhere than on Linux nothing is checked.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Default: that of this process.
    platform : str
        As ``sys.platform``.

    Raises
    ------
    GuiUnavailableError
        Saying what to set or to install.
    """
    if not platform.startswith("linux"):
        return
    given = os.environ if environment is None else environment
    chosen = given.get("QT_QPA_PLATFORM", "")
    if chosen.split(":")[0] in _WITHOUT_DISPLAY:
        raise GuiUnavailableError(
            f"QT_QPA_PLATFORM is {chosen!r}, on which OpenTPS's 3-D views cannot draw: unset it, and without a screen "
            "start with xvfb-run"
        )
    if not given.get("DISPLAY"):
        raise GuiUnavailableError(
            "there is no display (DISPLAY is not set): start in a graphical session, with ssh -X, or without a screen "
            "with 'xvfb-run opentps-brimstone gui'"
        )
    missing = missing_libraries()
    if missing:
        raise GuiUnavailableError(
            f"libraries that the window needs are missing ({', '.join(missing)}); on Debian and Ubuntu: "
            f"apt-get install {' '.join(sorted(set(missing.values())))}"
        )
