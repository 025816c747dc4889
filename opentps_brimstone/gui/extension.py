"""Brimstone in one window of OpenTPS: what is added, and how it is taken away again."""

from __future__ import annotations

from typing import Any

from PyQt5.QtCore import QEvent, QObject

from opentps_brimstone.gui.defects import absorb
from opentps_brimstone.gui.optimization_panel import PhotonOptimization
from opentps_brimstone.gui.panel import TITLE, BrimstonePanel
from opentps_brimstone.gui.plan_menu import offer_export

__all__ = ["Extension", "install"]

_MARK = "_brimstone_extension"
_JOIN_MS = 10_000


class Extension(QObject):
    """What Brimstone has added to a window.

    Attributes
    ----------
    optimization : PhotonOptimization
        In "Plan optimization".
    panel : BrimstonePanel
        The toolbar's tab, which also draws in the views.

    Parameters
    ----------
    view_controller : opentps ViewController
    """

    def __init__(self, view_controller: Any) -> None:
        super().__init__(view_controller.mainWindow)
        self._view_controller = view_controller
        self._running: Any = None
        self.optimization = PhotonOptimization(panel_named(view_controller, "Plan optimization"), self._set_running)
        self.optimization.install()
        self._undo = absorb(view_controller, self._set_running)
        self.panel = BrimstonePanel(view_controller)
        tree = panel_named(view_controller, "Patient data")._patientDataSelection._patientDataTree
        self._undo.append(offer_export(view_controller, tree, self.panel.deliver_tab))
        view_controller.mainWindow.mainToolbar.addWidget(self.panel, TITLE)
        view_controller.mainWindow.installEventFilter(self)

    def _set_running(self, dialog: Any) -> None:
        self._running = dialog

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802  # Qt's name
        """Stop and join what runs before the window closes: a panel gets no closeEvent of its own."""
        if event.type() == QEvent.Close and watched is self._view_controller.mainWindow:
            self.stop()
        return False

    def stop(self) -> None:
        """End whatever runs, and wait for it."""
        self.panel.stop()
        if self._running is not None:
            self._running.stop()
            self._running.join(_JOIN_MS)

    def remove(self) -> None:
        """Take everything away again."""
        self.stop()
        self._view_controller.mainWindow.removeEventFilter(self)
        self.optimization.remove()
        self.panel.remove()
        toolbar = self._view_controller.mainWindow.mainToolbar
        toolbar.hideItem(next(item for item in toolbar.items if item.panel is self.panel))
        self.panel.setParent(None)
        for undo in reversed(self._undo):
            undo()
        delattr(self._view_controller, _MARK)


def panel_named(view_controller: Any, name: str) -> Any:
    """Find a panel of OpenTPS's toolbar.

    Parameters
    ----------
    view_controller : opentps ViewController
    name : str
        As its tab says.

    Returns
    -------
    QWidget
    """
    items = view_controller.mainWindow.mainToolbar.items
    for item in items:
        if item.panelName == name:
            return item.panel
    raise ValueError(f"OpenTPS's toolbar has no panel {name!r}; it has {', '.join(item.panelName for item in items)}")


def install(view_controller: Any) -> Extension:
    """Add Brimstone to a window that does not have it yet.

    Parameters
    ----------
    view_controller : opentps ViewController

    Returns
    -------
    Extension
    """
    if not hasattr(getattr(view_controller, "mainWindow", None), "mainToolbar"):
        raise TypeError(f"the view controller of OpenTPS's window is needed, got {type(view_controller).__name__}")
    existing: Extension | None = getattr(view_controller, _MARK, None)
    if existing is None:
        existing = Extension(view_controller)
        setattr(view_controller, _MARK, existing)
    return existing
