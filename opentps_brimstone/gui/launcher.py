"""OpenTPS's window with Brimstone in it."""

from __future__ import annotations

from pathlib import Path

from opentps_brimstone.gui.environment import require_display, require_packages

__all__ = ["launch"]


def launch(folder: str | Path | None = None) -> None:
    """Open OpenTPS's window with Brimstone in it; returns when it is closed.

    Parameters
    ----------
    folder : path, optional
        With a CT and an RT Structure Set, to be loaded.

    Raises
    ------
    GuiUnavailableError
        If packages, a display or system libraries are missing; says what to install.
    FileNotFoundError
        If there is no such folder.
    """
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")
    require_packages()
    require_display()
    import opentps.gui.main as opentps_window

    from opentps_brimstone.gui import add_to_gui
    from opentps_brimstone.gui.opentps_data import load_folder

    view_controller = opentps_window.viewController()
    add_to_gui(view_controller)
    if folder is not None:
        load_folder(view_controller, str(folder))
    opentps_window.runWithMainWindow(view_controller.mainWindow)
