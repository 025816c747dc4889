"""The tab "Deliver": segments, their dose, OpenTPS's tree, files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt5.QtWidgets import QComboBox, QFileDialog, QFormLayout, QLabel, QVBoxLayout, QWidget

from opentps_brimstone.gui.delivery import Delivered, deliver, dose_image, export, opentps_plan
from opentps_brimstone.gui.fields import button, quiet, spin
from opentps_brimstone.gui.messages import shows_errors, tell
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.session import Planned
from opentps_brimstone.sequencing import MLCS

__all__ = ["DeliverTab"]


class DeliverTab(QWidget):
    """Makes segments and hands them on.

    Parameters
    ----------
    planner : Planner
    current_ct : callable
        Returns the CT that is planned on, as OpenTPS has it.
    """

    def __init__(self, planner: Planner, current_ct: Callable[[], Any]) -> None:
        super().__init__()
        self._planner = planner
        self._current_ct = current_ct
        self.mlc = QComboBox()
        self.mlc.addItems(["matched", *MLCS])
        self.mlc.setToolTip(
            "'matched' has leaves as wide as the beamlets; a machine's leaves need beamlets that lie on them"
        )
        self.levels = spin(10, 2, 100, 0)
        self.minimum_mu = spin(1, 0, 20, 1, " MU")
        self.make_button = button("Make segments", self._make, "Sequence, optimize MU, compute the dose anew")
        self.write_button = button("Write to OpenTPS", self._write, "Put plan and dose into the patient's tree")
        self.export_button = button("Export RT Plan and RT Dose …", self._export)
        self.import_button = button("Import RT Plan …", self._import, "Read a photon RT Plan into the patient's tree")
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        form = QFormLayout()
        form.addRow("Collimator", self.mlc)
        form.addRow("Fluence levels", self.levels)
        form.addRow("Least MU", self.minimum_mu)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(form)
        for widget in (self.make_button, self.facts, self.write_button, self.export_button, self.import_button):
            layout.addWidget(widget)
        layout.addStretch()
        for signal in (
            planner.state_changed,
            planner.planned_changed,
            planner.delivered_changed,
            planner.request_changed,
        ):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what there is."""
        planner = self._planner
        planned = planner.session.planned
        for widget in (self.make_button, self.write_button):
            widget.setEnabled(planned is not None and not planner.is_busy)
        self.export_button.setEnabled(planner.delivered is not None and not planner.is_busy)
        with quiet(self.mlc):
            self.mlc.setCurrentText(planner.request.mlc)
        if planner.delivered is not None:
            stale = "<b style='color: #b00000'>STALE</b><br>" if planner.session.is_stale else ""
            rows = "<br>".join(f"<b>{name}</b>: {value}" for name, value in planner.delivered.facts().items())
            self.facts.setText(stale + rows)
        else:
            self.facts.setText("no segments yet" if planned is not None else "not planned yet")

    def _planned(self) -> Planned:
        planned = self._planner.session.planned
        if planned is None:
            raise ValueError("Deliver: there is no plan yet; optimize one in 'Run'")
        if self._planner.session.is_stale:
            raise ValueError(
                "Deliver: the plan is stale, what is asked has changed since; press 'Resume' in 'Run' first"
            )
        return planned

    @shows_errors("No segments were made")
    def _make(self) -> None:
        planned = self._planned()
        if planned.plan.series is None:
            raise ValueError("Deliver: this plan has no CT, so segments cannot be computed")
        options: dict[str, Any] = {
            "mlc": self.mlc.currentText(),
            "levels": int(self.levels.value()),
            "minimum_mu": float(self.minimum_mu.value()),
        }
        self._planner.in_background(
            "making segments", lambda watch: deliver(planned, watch, **options), self._planner.set_delivered
        )

    @shows_errors("Nothing was written to OpenTPS")
    def _write(self) -> None:
        planned, delivered, ct = self._planned(), self._planner.delivered, self._current_ct()
        plan, dose = opentps_plan(planned, delivered), dose_image(planned, delivered)
        plan.patient = ct.patient
        dose.referencePlan, dose.referenceCT = plan, ct
        dose.patient = ct.patient

    @shows_errors("Nothing was exported")
    def _export(self) -> None:
        self._planned()
        delivered: Delivered | None = self._planner.delivered
        if delivered is None:
            raise ValueError("Deliver: there are no segments yet; press 'Make segments' first")
        folder = QFileDialog.getExistingDirectory(self, "Folder for RT Plan and RT Dose")
        if folder:
            ct = self._current_ct()
            files = export(
                delivered,
                Path(folder),
                patient_id=str(ct.patient.id or ct.patient.name or "patient"),
                frame_of_reference_uid=getattr(ct, "frameOfReferenceUID", None) or None,
            )
            tell(self, "Exported", "\n".join(str(file) for file in files))

    @shows_errors("The RT Plan was not read")
    def _import(self) -> None:
        from opentps_brimstone.dicom import RTPlanWarning, read_rt_plan

        name, _ = QFileDialog.getOpenFileName(self, "RT Plan", "", "DICOM (*.dcm);;All files (*)")
        if not name:
            return
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RTPlanWarning)
            plan = read_rt_plan(name)
        plan.name = plan.name or Path(name).stem
        plan.patient = self._current_ct().patient
        notes = [str(each.message) for each in caught if issubclass(each.category, RTPlanWarning)]
        if notes:
            tell(self, f"{plan.name} was read; take note", "\n".join(notes))
