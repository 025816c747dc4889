# %% [markdown]
# # Comparing with a reference dose
#
# Two plans of one case: the first is written as RT Dose and serves as the reference; the second asks for less dose in
# the core. They are compared by metrics, by goals and by the gamma index. In place of the
# reference any RT Dose file of the same patient will do, also one on another grid.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt

import opentps_brimstone as pb
from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.phantoms import make_phantom

grid_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_GRID_MM", "4"))
beamlet_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_BEAMLET_MM", "5"))

# %%
plan = make_phantom("c-shape", grid_mm).to_plan()
plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, margin_mm=5.0)


# %%
def optimized(core_weight: float) -> pb.OptimizationResult:
    """Plan with a weight of the core's term."""
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(50.5, 53.5)))
    core = pb.KLDivergenceTerm(dvh=[(0, 1), (10, 0.5), (22, 0)], weight=core_weight)
    optimizer.add_objective(plan.structures["Core"], core)
    optimizer.add_objective(plan.structures["Body"], pb.MaximumDoseTerm(53.0))
    return optimizer.optimize()


# %%
first = optimized(core_weight=0.2)
write_rt_dose(first.dose, plan.grid, Path("reference_plan.dcm"), description="core weight 0.2")
second = optimized(core_weight=0.5)

# %% [markdown]
# ## Metrics and goals

# %%
goals = ["PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 25 Gy"]
comparison = pb.compare_plans(
    first, second, plan.structures, goals, names=("reference", "spared core"), metrics=("Dmean", "D2", "D98")
)
print(comparison)

# %% [markdown]
# ## Gamma
#
# 3 % of the highest reference dose, 3 mm; voxels with less than half of that dose are not judged. A dose that is read
# from a file knows its grid, and so does that of a result.

# %%
reference = pb.dose_from_dataset("reference_plan.dcm")
gamma = pb.gamma_analysis(reference, second.dose, dose_percent=3, distance_mm=3, dose_threshold=0.5)
print(f"gamma 3 %/3 mm: {pb.gamma_pass_rate(gamma):.1f} % of the voxels pass")

# %%
middle = gamma.shape[2] // 2
(nx, ny, _), (dx, dy, _), (x0, y0, _) = reference.grid.shape, reference.grid.spacing_mm, reference.grid.origin_mm
extent = (x0 - dx / 2, x0 + (nx - 0.5) * dx, y0 + (ny - 0.5) * dy, y0 - dy / 2)
plt.imshow(gamma[:, :, middle].T, cmap="RdYlGn_r", vmin=0, vmax=2, extent=extent)
plt.colorbar(label="gamma index")
plt.xlabel("x (mm)")
plt.ylabel("y (mm)")
plt.savefig("gamma_comparison.png", dpi=120)
plt.show()
