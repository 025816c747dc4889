"""The tab "Deliver": segments, their dose, OpenTPS's tree, files."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PyQt5.QtCore import QUrl
from PyQt5.QtGui import QDesktopServices
from PyQt5.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from opentps_brimstone.gui.delivery import Delivered, deliver, export, in_opentps
from opentps_brimstone.gui.fields import button, quiet, show_progress, spin
from opentps_brimstone.gui.messages import shows_errors, tell
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.report import write_report
from opentps_brimstone.gui.session import Planned
from opentps_brimstone.integration.engine_check import VERIFY
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
        self._written: list[tuple[Any, Delivered, Any]] = []  # plans in the tree, and the CT of each
        self.mlc = QComboBox()
        self.mlc.addItems(["matched", *MLCS])
        self.mlc.setToolTip(
            "'matched' has leaves as wide as the beamlets; a machine's leaves need beamlets that lie on them"
        )
        self.mlc.activated[str].connect(self._choose_mlc)
        self.verify = QComboBox()
        self.verify.addItems(VERIFY)
        self.verify.setToolTip(
            "How much of the segments' dose OpenTPS's own program recalculates: all of it, a sample of beamlets, or "
            "nothing; 'auto' is all if that takes less than half a minute"
        )
        self.levels = spin(10, 2, 100, 0)
        self.minimum_mu = spin(1, 0, 20, 1, " MU")
        self.make_button = button("Make segments", self._make, "Sequence, optimize MU, compute the dose anew")
        self.stop_button = button("Stop", planner.stop, "Give up making segments; the plan stays as it is")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.report_button = button(
            "Report in the browser", self._report, "The page that 'opentps-brimstone plan' writes"
        )
        self.write_button = button("Write to OpenTPS", self._write, "Put plan and dose into the patient's tree")
        self.export_button = button("Export RT Plan and RT Dose …", self._export)
        self.import_button = button("Import RT Plan …", self._import, "Read a photon RT Plan into the patient's tree")
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        form = QFormLayout()
        form.addRow("Collimator", self.mlc)
        form.addRow("Fluence levels", self.levels)
        form.addRow("Least MU", self.minimum_mu)
        form.addRow("OpenTPS's check", self.verify)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(form)
        row = QHBoxLayout()
        row.addWidget(self.make_button, 2)
        row.addWidget(self.stop_button, 1)
        layout.addLayout(row)
        for widget in (
            self.bar,
            self.facts,
            self.report_button,
            self.write_button,
            self.export_button,
            self.import_button,
        ):
            layout.addWidget(widget)
        layout.addStretch()
        for signal in (
            planner.state_changed,
            planner.moved,
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
        for widget in (self.export_button, self.report_button):
            widget.setEnabled(planner.delivered is not None and not planner.is_busy)
        show_progress(self.bar, planner.watch if planner.is_busy else None)
        self.stop_button.setEnabled(planner.is_busy and planner.watch is not None and not planner.watch.is_stopping)
        with quiet(self.mlc):
            self.mlc.setCurrentText(planner.request.mlc)
        if planner.delivered is not None:
            stale = "<b style='color: #b00000'>STALE</b><br>" if planner.session.is_stale else ""
            rows = "<br>".join(f"<b>{name}</b>: {value}" for name, value in planner.delivered.facts().items())
            self.facts.setText(stale + rows)
        else:
            self.facts.setText("no segments yet" if planned is not None else "not planned yet")

    def _choose_mlc(self, name: str) -> None:
        self._planner.ask(replace(self._planner.request, mlc=name))

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
            "verify": self.verify.currentText(),
        }
        self._planner.in_background(
            "making segments", lambda watch: deliver(planned, watch, **options), self._planner.set_delivered
        )

    def _delivered(self) -> Delivered:
        self._planned()
        if self._planner.delivered is None:
            raise ValueError("Deliver: there are no segments yet; press 'Make segments' first")
        return self._planner.delivered

    @shows_errors("There is no report")
    def _report(self) -> None:
        delivered = self._delivered()
        folder = Path(tempfile.mkdtemp(prefix="brimstone-report-"))
        page = write_report(delivered, self._planner.request, folder)
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(page))):
            tell(self, "The report is written, but no browser opens", str(page))

    @shows_errors("Nothing was written to OpenTPS")
    def _write(self) -> None:
        planned, delivered, ct = self._planned(), self._planner.delivered, self._current_ct()
        plan, dose = in_opentps(planned, delivered)
        if delivered is not None:
            there = [each for each in self._written if each[0].patient is not None and each[0] in each[0].patient.plans]
            self._written = [*there, (plan, delivered, ct)]
        plan.patient = ct.patient
        dose.referencePlan, dose.referenceCT = plan, ct
        dose.patient = ct.patient

    @shows_errors("Nothing was exported")
    def _export(self) -> None:
        self._write_files(self._delivered(), self._current_ct())

    def can_export(self, plan: Any) -> bool:
        """Whether a plan of the patient's tree has segments that were made here.

        Parameters
        ----------
        plan : opentps RTPlan

        Returns
        -------
        bool
        """
        return any(plan is written for written, *_ in self._written)

    @shows_errors("Nothing was exported")
    def export_plan(self, plan: Any) -> None:
        """Write RT Plan and RT Dose of a plan of the patient's tree, whatever is planned now.

        Parameters
        ----------
        plan : opentps PhotonPlan
        """
        self._write_files(*next(rest for written, *rest in self._written if written is plan))

    def _write_files(self, delivered: Delivered, ct: Any) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for RT Plan and RT Dose")
        if folder:
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
