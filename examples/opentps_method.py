# %% [markdown]
# # Brimstone in an OpenTPS script
#
# A water phantom with a target and an organ beside it, three fields. All but two lines are what a script for OpenTPS 3
# has anyway: `register()` makes the method known, and `compute_beamlets` computes beamlets as OpenTPS's dose engine has
# them in seconds; `engine="opentps"` runs that engine's own program, in a private folder with all it needs. HU become
# densities by the package's default table; `compute_beamlets(..., density_table=...)` takes that of your scanner.

# %%
import numpy as np
from opentps.core.data.images import CTImage, ROIMask
from opentps.core.data.plan import PhotonPlanDesign
from opentps.core.processing.planOptimization.objectives.dosimetricObjectives import DMax, DMaxMean, DMin
from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

import opentps_brimstone as pb
from opentps_brimstone.engine.compute import compute_beamlets, compute_dose
from opentps_brimstone.evaluation import dose_at_volume, mean_dose

# %% [markdown]
# ## CT and structures

# %%
shape, spacing = (40, 40, 24), (5.0, 5.0, 5.0)
x, y, z = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
placement = {"origin": np.array([x.min(), y.min(), z.min()]), "spacing": np.array(spacing)}
ct = CTImage(imageArray=np.where(np.hypot(x, y) < 80, 0.0, -1024.0), name="Water", **placement)
target = ROIMask(imageArray=(np.hypot(x, y) < 20) & (abs(z) < 20), name="PTV", **placement)
organ = ROIMask(imageArray=(np.hypot(x - 35, y) < 10) & (abs(z) < 20), name="Organ", **placement)

# %% [markdown]
# ## Plan and beamlets
#
# OpenTPS's gantry angles turn against IEC's: its 90° is IEC 270°.

# %%
design = PhotonPlanDesign()
design.ct = ct
design.gantryAngles = [0.0, 120.0, 240.0]
design.couchAngles = [0.0, 0.0, 0.0]
design.beamNames = ["B1", "B2", "B3"]
design.xBeamletSpacing_mm = design.yBeamletSpacing_mm = 5.0
design.targetMargin = 5.0
design.defineTargetMaskAndPrescription(target=target, targetPrescription=40.0)
plan = design.buildPlan()
plan.numberOfFractionsPlanned = 20
plan.planDesign.beamlets = compute_beamlets(ct, plan)

# %% [markdown]
# ## Objectives and optimization

# %%
objectives = plan.planDesign.objectives
objectives.addObjective(DMin(target, 39.5, weight=10.0))
objectives.addObjective(DMax(target, 41.5, weight=10.0))
objectives.addObjective(DMaxMean(organ, 10.0, weight=1.0))

pb.register()
dose, cost = IntensityModulationOptimizer(method="Brimstone", plan=plan, maxiter=500).optimize()

# %% [markdown]
# ## The engine's own word on the plan

# %%
recalculated = compute_dose(ct, plan, engine="opentps")
for roi in (target, organ):
    planned, checked = (mean_dose(image.imageArray, roi.imageArray) for image in (dose, recalculated))
    print(f"{roi.name}: mean {planned:.2f} Gy planned, {checked:.2f} Gy recalculated")
print(f"PTV: D95 {dose_at_volume(recalculated.imageArray, target.imageArray, 95):.2f} Gy")
