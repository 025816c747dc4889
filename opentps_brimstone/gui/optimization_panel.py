"""OpenTPS's panel "Plan optimization", for photons: every algorithm gets right doses, and Brimstone is one of them.

For photon designs, whatever the algorithm, "Optimize plan" now checks what was typed, makes a design of the plan's own,
computes beamlets without touching the CT and without cropping dose to ROIs, works in another thread under a dialog, and
puts plan and dose into the patient's tree only when all went well. Proton designs take OpenTPS's own way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.gui.messages import tell
from opentps_brimstone.gui.objectives_table import read_objectives
from opentps_brimstone.gui.run_dialog import RunDialog
from opentps_brimstone.gui.watch import Watch

if TYPE_CHECKING:
    from opentps_brimstone.gui.objectives_table import TypedObjectives
    from opentps_brimstone.gui.plots import Color

__all__ = ["ALGORITHM", "PhotonOptimization"]

ALGORITHM = "Brimstone (KL-DVH)"

_TITLE = "The plan was not optimized"
_SHOWN_BEYOND_PRESCRIPTION = 1.25
# OpenTPS's names of its solvers by what its list calls them.
_METHODS = {
    "Scipy-BFGS": "Scipy_BFGS",
    "Scipy-LBFGS (recommended)": "Scipy_L-BFGS-B",
    "In-house BFGS": "BFGS",
    "In-house LBFGS": "LBFGS",
    "In-house Gradient": "Gradient",
    "FISTA": "FISTA",
}


@dataclass(frozen=True)
class _Inputs:
    """What the panel says, checked."""

    algorithm: str
    design: Any
    ct: Any
    typed: TypedObjectives
    name: str
    fractions: int


@dataclass(frozen=True)
class _Outcome:
    """A plan and its dose that are not in the patient's tree yet."""

    dose: Any
    words: str


class PhotonOptimization:
    """Takes over what "Optimize plan" does for photons in one panel.

    Parameters
    ----------
    panel : opentps PlanOptiPanel
        Only this object is changed.
    register_running : callable
        Is told of a dialog that runs, or of None when it has ended.
    """

    def __init__(self, panel: Any, register_running: Callable[[RunDialog | None], None] = lambda _: None) -> None:
        self._panel = panel
        self._register_running = register_running
        self.words = ""

    def install(self) -> None:
        """Add Brimstone to the list of algorithms, and take over the button."""
        panel = self._panel
        panel._optiAlgos = [*panel._optiAlgos, ALGORITHM]  # an attribute of the object: the class keeps its list
        panel._algoBox.addItem(ALGORITHM)
        panel._runButton.clicked.disconnect(panel._run)
        panel._runButton.clicked.connect(self.run)

    def remove(self) -> None:
        """Give the panel back to OpenTPS."""
        panel = self._panel
        panel._runButton.clicked.disconnect(self.run)
        panel._runButton.clicked.connect(panel._run)
        panel._algoBox.removeItem(panel._optiAlgos.index(ALGORITHM))
        del panel._optiAlgos

    # --------------------------------------------------------------------------------------------- the button

    def run(self, *_: Any) -> None:
        """Do what the button says; errors are shown."""
        try:
            if self._is_photon():
                self._plan_photons()
            elif self._panel._selectedAlgo == ALGORITHM:
                raise ValueError("Brimstone plans photons; choose a photon plan design (IMRT)")
            else:
                self._panel._run()
        except DoseCanceledError:
            self.words = "stopped before there was a plan"
        except Exception as error:  # Qt would print it on the terminal only
            tell(self._panel, _TITLE, error)

    def _is_photon(self) -> bool:
        design = self._panel.selectedPlanStructure
        return design is not None and str(self._panel._radiationType).upper() == "PHOTON"

    def _plan_photons(self) -> None:
        inputs = self._inputs()
        design = _design_of_its_own(inputs)
        plan = design.buildPlan()
        plan.name = inputs.name
        plan.numberOfFractionsPlanned = inputs.fractions
        if not plan.numberOfBeamlets:
            raise ValueError("Plan design: no beamlet meets the target; check target, isocenter and beamlet spacing")
        prescription = max(dose for _, dose in inputs.typed.targets)
        watch = Watch(_SHOWN_BEYOND_PRESCRIPTION * prescription)
        colors = {roi.name: roi_color(roi) for roi in _rois(inputs.typed)}
        dialog = RunDialog(
            self._panel,
            f"{inputs.algorithm}: {inputs.name}",
            lambda: _planned(inputs, plan, watch, dict(self._panel._optiConfig)),
            watch,
            colors,
            _SHOWN_BEYOND_PRESCRIPTION * prescription,
        )
        self._register_running(dialog)
        try:
            dialog.run()
        finally:
            self._register_running(None)
        if dialog.error is not None:
            raise dialog.error
        self._show(inputs, plan, dialog.result)

    def _inputs(self) -> _Inputs:
        panel = self._panel
        design, ct = panel.selectedPlanStructure, panel.selectedCT
        if ct is None:
            raise ValueError("CT: there is none; load a CT first")
        if not design.gantryAngles:
            raise ValueError(f"Plan design {design.name!r}: it has no beams; add some in 'Plan design'")
        if panel._selectedAlgo not in (ALGORITHM, *_METHODS):
            raise ValueError(f"Optimization algorithm: {panel._selectedAlgo!r} does not plan photons")
        name = panel._planNameEdit.text().strip()
        if not name:
            raise ValueError("plan name: it is empty")
        typed = read_objectives(panel._objectivesWidget._roiWindow._roitTable)
        return _Inputs(panel._selectedAlgo, design, ct, typed, name, int(panel._fractionsSpin.value()))

    def _show(self, inputs: _Inputs, plan: Any, outcome: _Outcome) -> None:
        """Put plan and dose into the patient's tree; in the window's thread, because the window listens to them."""
        self.words = outcome.words
        patient = inputs.ct.patient
        self._panel._plan = plan  # where OpenTPS keeps it
        plan.patient = patient
        outcome.dose.name = f"{plan.name} dose"
        outcome.dose.referencePlan = plan
        outcome.dose.referenceCT = inputs.ct
        outcome.dose.patient = patient


def roi_color(roi: Any) -> Color:
    """Color of a ROI.

    Parameters
    ----------
    roi : opentps ROIContour or ROIMask

    Returns
    -------
    (int, int, int)
        Black, which OpenTPS gives to ROIs without a color, becomes gray.
    """
    values = [int(float(part)) for part in (getattr(roi, "color", None) or (0, 0, 0))][:3]
    red, green, blue = values if any(values) else (200, 200, 200)
    return red, green, blue


def _rois(typed: TypedObjectives) -> list[Any]:
    return list({id(objective.roi): objective.roi for objective in typed.objectives}.values())


def _design_of_its_own(inputs: _Inputs) -> Any:
    """Copy a plan design for one plan, so that plans of one design do not share isocenter, objectives and beamlets."""
    from opentps.core.data.plan import ObjectivesList

    from opentps_brimstone.adapters.density_table import chosen_density_table
    from opentps_brimstone.adapters.plan import voxel_grid

    design = copy.copy(inputs.design)
    design.ct = inputs.ct
    design.calibration = chosen_density_table(inputs.design.calibration).to_opentps()
    design.beamlets = None
    design.ROI_cropping = False  # else the dose is zero outside the objectives' ROIs
    design.objectives = ObjectivesList()
    for objective in inputs.typed.objectives:
        design.objectives.addObjective(objective)
    grid = voxel_grid(inputs.ct)
    masks = [_mask_on(roi, grid) for roi, _ in inputs.typed.targets]
    design.defineTargetMaskAndPrescription(masks, [dose for _, dose in inputs.typed.targets])
    return design


def _mask_on(roi: Any, grid: Any) -> Any:
    """Rasterize a ROI ourselves: OpenTPS 3.0's own masks of contours are shifted by up to some millimeters."""
    from opentps.core.data.images import ROIMask

    from opentps_brimstone.adapters.plan import structure_from_roi

    inside = structure_from_roi(roi, grid, is_target=True).share >= 0.5
    return ROIMask(imageArray=inside, name=roi.name, origin=np.array(grid.origin_mm), spacing=np.array(grid.spacing_mm))


# ------------------------------------------------------------------------------------------- in the worker's thread


def _planned(inputs: _Inputs, plan: Any, watch: Watch, options: dict[str, Any]) -> _Outcome:
    from opentps_brimstone.adapters.privates import set_weights
    from opentps_brimstone.engine import compute_beamlets

    beamlets = compute_beamlets(inputs.ct, plan, progress=watch.on_progress)
    watch.check()
    plan.planDesign.beamlets = beamlets
    outcome = _with_brimstone(inputs, plan, watch) if inputs.algorithm == ALGORITHM else _theirs(inputs, plan, options)
    set_weights(plan.planDesign.beamlets, plan.beamletMUs)
    return outcome


def _with_brimstone(inputs: _Inputs, plan: Any, watch: Watch) -> _Outcome:
    from opentps.core.data.images import DoseImage

    from opentps_brimstone.integration.photon_plan import optimize_photon_plan

    _, result = optimize_photon_plan(
        plan, inputs.ct, beamlets=plan.planDesign.beamlets, callback=watch, progress=False, return_result=True
    )
    dose = DoseImage(
        imageArray=np.array(result.dose), origin=np.array(inputs.ct.origin), spacing=np.array(inputs.ct.spacing)
    )
    return _Outcome(dose, f"{result.message}: {result.iterations} iterations in {result.time_s:.1f} s")


def _theirs(inputs: _Inputs, plan: Any, options: dict[str, Any]) -> _Outcome:
    """Run one of OpenTPS's own optimizers, which tell nothing on the way and cannot be stopped."""
    from opentps.core.processing.planOptimization.planOptimization import (
        BoundConstraintsOptimizer,
        IntensityModulationOptimizer,
    )

    method, most = _METHODS[inputs.algorithm], options["maxIter"]
    if options.get("bounds"):
        solver = BoundConstraintsOptimizer(method=method, plan=plan, bounds=options["bounds"], maxiter=most)
    else:
        solver = IntensityModulationOptimizer(method=method, plan=plan, maxiter=most)
    dose, _ = solver.optimize()
    return _Outcome(dose, f"{inputs.algorithm} has ended")
