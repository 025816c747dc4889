"""Brimstone inside OpenTPS's window.

What is planned, how it changes and what a run tells lies in modules without Qt (`asked`, `request`, `session`,
`watch`, `history`); the widgets are thin and are imported only when a window is wanted, because OpenTPS's window is
licensed under GPL-3.0-only and its packages are the extra ``gui``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentps_brimstone.gui.extension import Extension

__all__ = ["add_to_gui"]


def add_to_gui(view_controller: Any) -> Extension:
    """Add Brimstone to OpenTPS's window.

    "Brimstone (KL-DVH)" joins the list of "Plan optimization", the toolbar gets a tab "Brimstone", and what would give
    a photon user wrong dose in silence is absorbed (`opentps_brimstone.gui.defects`). Classes of OpenTPS are not
    changed, only the objects of this window. Calling it again for the same window changes nothing.

    Parameters
    ----------
    view_controller : opentps ViewController
        Such as ``opentps.gui.main.viewController()`` returns.

    Returns
    -------
    Extension
        What was added; ``remove()`` takes it away again.

    Raises
    ------
    GuiUnavailableError
        If the packages of the extra ``gui`` are not installed.
    TypeError
        If `view_controller` has no window with a toolbar.

    Examples
    --------
    A script that starts OpenTPS's window with Brimstone in it:

    >>> script = [
    ...     "import opentps.gui.main",
    ...     "import opentps_brimstone as pb",
    ...     "pb.add_to_gui(opentps.gui.main.viewController())",
    ...     "opentps.gui.main.run()",
    ... ]
    >>> _ = compile("; ".join(script), "start_opentps.py", "exec")
    """
    from opentps_brimstone.gui.environment import require_packages

    require_packages()
    from opentps_brimstone.gui.extension import install

    return install(view_controller)
