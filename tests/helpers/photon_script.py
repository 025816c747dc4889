"""A photon plan the way an OpenTPS script makes one: from a water box to files, DVH and figure."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from opentps.core.data import DVH, Patient
from opentps.core.data.images import CTImage, ROIMask
from opentps.core.data.plan import PhotonPlanDesign
from opentps.core.io.dicomIO import writeRTDose
from opentps.core.io.serializedObjectIO import loadRTPlan, saveRTPlan
from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer
from opentps.core.processing.planOptimization.tools import evaluateClinical
from opentps_objects import add_objective

PRESCRIPTION_GY = 20.0
# A tenth of a percent of the prescription: finer than that, two optimizers that did the same differ.
SAME_GY = 0.02
PLAN_FILE, OPTIMIZED_FILE, FIGURE_FILE = "plan.tps", "optimized.tps", "result.png"


class Outcome(NamedTuple):
    """What a script has in the end."""

    plan: Any
    dose: Any
    dvh: DVH
    cost: list[float]


def water_box(size: int = 44) -> tuple[CTImage, ROIMask]:
    """Voxels of 1 mm: water under air, and a cube of 2 cm in it."""
    hu = np.full((size, size, size), -1024.0)
    hu[:, 10:, :] = 0.0
    cube = np.zeros(hu.shape, dtype=bool)
    cube[14:34, 18:38, 12:32] = True
    patient = Patient(name="water box")
    ct, target = CTImage(imageArray=hu, name="CT"), ROIMask(imageArray=cube, name="TV")
    ct.patient = target.patient = patient
    return ct, target


def designed_plan(ct: CTImage, target: ROIMask) -> Any:
    """Two fields at right angles, beamlets of 5 mm."""
    design = PhotonPlanDesign()
    design.ct = ct
    design.gantryAngles, design.couchAngles, design.beamNames = [0.0, 90.0], [0.0, 0.0], ["Beam1", "Beam2"]
    design.xBeamletSpacing_mm = design.yBeamletSpacing_mm = 5.0
    design.targetMargin = 5.0
    design.defineTargetMaskAndPrescription(target=target, targetPrescription=PRESCRIPTION_GY)
    return design.buildPlan()


def run(method: str, beamlets: Any, folder: Path) -> Outcome:
    """Plan with a method of OpenTPS's optimizer, write what there is to write, and evaluate it."""
    ct, target = water_box()
    plan = designed_plan(ct, target)
    plan.planDesign.beamlets = copy.deepcopy(beamlets)
    saveRTPlan(plan, str(folder / PLAN_FILE), unloadBeamlets=False)
    plan = loadRTPlan(str(folder / PLAN_FILE), radiationType="photon")
    # They cross, as in OpenTPS's own example.
    add_objective(plan.planDesign.objectives, target, "DMax", 20.0, 1.0)
    add_objective(plan.planDesign.objectives, target, "DMin", 20.5, 1.0)
    plan.numberOfFractionsPlanned = 30
    plan.planDesign.ROI_cropping = False
    optimizer = IntensityModulationOptimizer(method=method, plan=plan, maxiter=1000)
    dose, cost = optimizer.optimize()
    writeRTDose(dose, str(folder))
    saveRTPlan(plan, str(folder / OPTIMIZED_FILE))
    dvh = DVH(target, dose)
    evaluateClinical(dose, [target], {"ROI": ["TV", "TV"], "Metric": ["Dmin", "Dmax"], "Limit": [19.0, 21.0]})
    draw(dvh, optimizer.getConvergenceData(), folder / FIGURE_FILE)
    return Outcome(plan, dose, dvh, cost)


def check_target_dose(ours: DVH, theirs: DVH) -> None:
    """Check that a target's dose is as good as another's: Dmin is judged by D98 and D95, Dmax by D2 and D5."""
    assert ours.D98 >= theirs.D98 - SAME_GY
    assert ours.D95 >= theirs.D95 - SAME_GY
    assert ours.D2 <= theirs.D2 + SAME_GY
    assert ours.D5 <= theirs.D5 + SAME_GY


def draw(dvh: DVH, convergence: dict[str, Any], path: Path) -> None:
    figure, (histogram, costs) = plt.subplots(1, 2)
    histogram.plot(*dvh.histogram, label=dvh.name)
    costs.plot(np.linspace(0, convergence["time"], len(convergence["func_0"])), convergence["func_0"])
    figure.savefig(path)
    plt.close(figure)
