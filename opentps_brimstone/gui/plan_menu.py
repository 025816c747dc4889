"""The menu of a plan in the patient's tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PyQt5.QtCore import QPoint

if TYPE_CHECKING:
    from opentps_brimstone.gui.deliver_tab import DeliverTab

__all__ = ["offer_export"]

_EXPORT = "Export RT Plan and RT Dose …"


def offer_export(view_controller: Any, tree: Any, deliver_tab: DeliverTab) -> Callable[[], None]:
    """Offer the export of photon plans to files in the menu that OpenTPS shows on a right click.

    OpenTPS writes no photon RT Plan. A plan without segments that were made here has an entry that says so.

    Parameters
    ----------
    view_controller : opentps ViewController
    tree : opentps PatientDataTree
        Its own menu stays as it is; a right click beside all entries, an IndexError of OpenTPS's, shows none.
    deliver_tab : DeliverTab
        Knows the segments of plans, and writes them.

    Returns
    -------
    callable
        Takes the entry away again.
    """
    from opentps.core.data.plan import PhotonPlan
    from opentps.gui.panels.patientDataPanel.patientDataMenu import PatientDataMenu

    def show(place: QPoint) -> None:
        chosen = [tree.model().itemFromIndex(index).data for index in tree.selectedIndexes()]
        if not chosen:
            return
        entries = PatientDataMenu(view_controller, tree)
        entries.selectedData = chosen
        menu = entries.asContextMenu()
        if len(chosen) == 1 and isinstance(chosen[0], PhotonPlan):
            can = deliver_tab.can_export(chosen[0])
            action = menu.addAction(_EXPORT if can else f"{_EXPORT[:-2]}: first make segments in Brimstone")
            action.setEnabled(can)
            action.triggered.connect(lambda *_: deliver_tab.export_plan(chosen[0]))
        menu.popup(tree.mapToGlobal(place))

    tree.customContextMenuRequested.disconnect(tree._handleRightClick)
    tree.customContextMenuRequested.connect(show)

    def undo() -> None:
        tree.customContextMenuRequested.disconnect(show)
        tree.customContextMenuRequested.connect(tree._handleRightClick)

    return undo
