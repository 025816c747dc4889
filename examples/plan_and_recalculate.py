# %% [markdown]
# # From a DICOM folder to a deliverable RT Plan
#
# Optimized fluence is turned into apertures of a multileaf collimator, the monitor units of the apertures are optimized
# with the objectives of the plan, and OpenTPS's engine computes the dose anew from the apertures alone. What is written
# is an RT Plan with the monitor units of a machine, and the RT Dose that belongs to it.
#
# This is research software and no medical device: the plan is for studies, not for patients.

# %%
import os
from pathlib import Path

import opentps_brimstone as pb
from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.dicom.rt_plan_writer import write_rt_plan
from opentps_brimstone.dicom.series_writer import STRUCTURE_SET_FILE, write_dicom_folder
from opentps_brimstone.phantoms import make_phantom

grid_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_GRID_MM", "4"))
beamlet_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_BEAMLET_MM", "5"))

# %%
folder = Path("c-shape-dicom")
files = write_dicom_folder(make_phantom("c-shape", grid_mm), folder)
plan = pb.Plan(pb.Series.from_dicom(folder), number_of_fractions=25)
for angle in range(0, 360, 40):
    plan.add_beam(gantry_angle=angle)
plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, margin_mm=5.0)

# %% [markdown]
# ## Optimization

# %%
ptv, core, body = (plan.structures[name] for name in ("PTV", "Core", "Body"))
objectives = [
    (ptv, pb.KLDivergenceTerm(dose_range=(51.5, 54.0))),
    (core, pb.KLDivergenceTerm(dvh=[(0, 1), (10, 0.5), (24, 0)], weight=0.3)),
    (body, pb.MaximumDoseTerm(54.0)),
]
optimizer = pb.PlanOptimizer(plan)
for structure, term in objectives:
    optimizer.add_objective(structure, term)
print(optimizer.optimize().message)

# %% [markdown]
# ## Segments, their monitor units, and their dose
#
# The plan becomes one of OpenTPS's, whose engine works on it. The rows of beamlets lie on the leaves of the Millennium
# 120, because their edges are multiples of the beamlet spacing from the isocenter.

# %%
ct, rois, photon_plan = plan.to_opentps()
deliverable = pb.make_deliverable(
    photon_plan, ct, objectives, mlc="millennium-120", levels=10, beamlets=plan.dose_influence
)
print(deliverable.summary())

# %%
goals = ["PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 25 Gy"]
comparison = pb.compare_plans(
    deliverable.optimized_dose,
    deliverable.dose,
    plan.structures,
    goals,
    names=("optimized", "recalculated"),
    metrics=("Dmean", "D95", "D2"),
    grid=deliverable.grid,
)
print(comparison)

# %% [markdown]
# ## RT Plan and RT Dose
#
# Both refer to the structure set and share its frame of reference. The plan has machine monitor units; its description
# says what one monitor unit is.

# %%
rt_plan = write_rt_plan(
    deliverable.machine_plan(),
    Path("rt_plan.dcm"),
    mlc=deliverable.sequenced_beams[0].mlc,
    prescription={"PTV": 50.0},
    structure_set=folder / STRUCTURE_SET_FILE,
    ct=files[0],
    calibration=str(deliverable.calibration),
)
write_rt_dose(deliverable.dose, deliverable.grid, Path("rt_dose.dcm"), description="recalculated", rt_plan=rt_plan)
print(f"{deliverable.n_segments} segments, {deliverable.machine_mu:.0f} MU per fraction, in rt_plan.dcm")
