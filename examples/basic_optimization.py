# %% [markdown]
# # A first plan, from a DICOM folder
#
# A CT and its structures go in, a fluence map for each beam comes out. The folder is that of the C-shape of AAPM Task
# Group 119, which is written here; with a folder of your own, leave that cell out and change the names of the
# structures. Lengths are mm, doses Gy over all fractions, angles degrees after IEC 61217.
#
# With the sizes below, the dose calculation takes minutes when it is first run; after that its beamlets come from a
# cache.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt

import opentps_brimstone as pb
from opentps_brimstone.dicom.series_writer import write_dicom_folder
from opentps_brimstone.phantoms import make_phantom

grid_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_GRID_MM", "4"))
beamlet_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_BEAMLET_MM", "5"))

# %%
folder = Path("c-shape-dicom")
write_dicom_folder(make_phantom("c-shape", grid_mm), folder)

# %% [markdown]
# ## CT and structures
#
# `Series.from_dicom` reads the CT and the RT Structure Set that refers to it. Structures of the type PTV, CTV or GTV
# are targets.

# %%
series = pb.Series.from_dicom(folder)
print(series)
for structure in series.structures:
    print(structure)

# %% [markdown]
# ## Beams and beamlets
#
# Without an isocenter a beam goes to the center of the targets. Beamlets cover the projection of the targets, and
# OpenTPS's collapsed-cone engine computes the dose of each.

# %%
plan = pb.Plan(series, number_of_fractions=25)
for angle in range(0, 360, 40):
    plan.add_beam(gantry_angle=angle)
plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, margin_mm=5.0)
print(plan)

# %% [markdown]
# ## What is asked
#
# Each Kullback-Leibler term compares the dose-volume histogram of a structure with a target histogram. The target is to
# be spread between 51.5 and 54 Gy. The core and the body get falling histograms. A histogram hardly sees a few hot
# voxels in a large body; the maximum dose term does.

# %%
optimizer = pb.PlanOptimizer(plan)
ptv, core, body = (plan.structures[name] for name in ("PTV", "Core", "Body"))
optimizer.add_objective(ptv, pb.KLDivergenceTerm(dose_range=(51.5, 54.0)))
optimizer.add_objective(core, pb.KLDivergenceTerm(dvh=[(0, 1), (10, 0.5), (24, 0)], weight=0.3))
falling = [(0, 1), (5, 0.5), (10, 0.36), (20, 0.13), (30, 0.04), (40, 0.008), (46, 0)]
optimizer.add_objective(body, pb.KLDivergenceTerm(dvh=falling, weight=0.1))
optimizer.add_objective(body, pb.MaximumDoseTerm(54.0))

# %%
result = optimizer.optimize()
print(f"{result.message}: cost {result.final_cost:.4f} after {result.iterations} iterations, {result.time_s:.1f} s")

# %% [markdown]
# ## What came out
#
# The goals are those of the report of Task Group 119 for the easier version of the case (Ezzell et al., Med. Phys. 36,
# 5359, 2009).

# %%
goals = ["PTV D95 >= 50 Gy", "PTV D10 <= 55 Gy", "Core D10 <= 25 Gy"]
table = pb.evaluate(result.dose, plan.structures, goals)
print(table)

# %%
for name, structure in plan.structures.items():
    dose, volume = structure.get_dvh()
    plt.plot(dose, 100 * volume, label=name)
plt.xlabel("dose (Gy)")
plt.ylabel("volume (%)")
plt.legend()
plt.savefig("basic_optimization.png", dpi=120)
plt.show()
