# %% [markdown]
# # Watching an optimization
#
# In a notebook the picture in the cell changes while the optimization runs; in a script it is a window, where
# matplotlib has one. Afterwards every plot can be made again from the history, and the histograms can be saved as a
# film.

# %%
import os

import matplotlib.pyplot as plt

import opentps_brimstone as pb
from opentps_brimstone.phantoms import make_phantom

grid_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_GRID_MM", "4"))
beamlet_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_BEAMLET_MM", "5"))

# %%
plan = make_phantom("c-shape", grid_mm).to_plan()
plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, margin_mm=5.0)

# %%
optimizer = pb.PlanOptimizer(plan)
ptv, core, body = (plan.structures[name] for name in ("PTV", "Core", "Body"))
optimizer.add_objective(ptv, pb.KLDivergenceTerm(dose_range=(51.5, 54.0)))
optimizer.add_objective(core, pb.KLDivergenceTerm(dvh=[(0, 1), (10, 0.5), (24, 0)], weight=0.3))
optimizer.add_objective(body, pb.MaximumDoseTerm(54.0))

# %% [markdown]
# ## Several callbacks at once
#
# The pictures are made every 25 iterations. Beside them, the optimization is stopped after two minutes at the latest,
# and a checkpoint is kept from which `optimize(resume_from="run.npz")` goes on.

# %%
viz = pb.VisualizationCallback(update_interval=25, prescription_gy=50.0)
watching = [viz, pb.TimeLimit(120.0), pb.Checkpoint("run.npz", every_iterations=50)]
result = optimizer.optimize(callback=watching)
print(result.message)

# %% [markdown]
# ## Looking back

# %%
figure, axes = plt.subplots(2, 2, figsize=(12, 10), layout="constrained")
viz.plot_convergence(ax=axes[0, 0])
viz.plot_dose_slice(ax=axes[0, 1])
viz.plot_dvh(structures=[ptv, core, body], ax=axes[1, 0])
viz.plot_beamlet_weights(beam_idx=0, ax=axes[1, 1])
figure.savefig("live_visualization.png", dpi=120)
plt.show()

# %%
viz.save_animation("convergence.gif")
print(f"{len(viz.history['snapshot_iteration'])} pictures in convergence.gif")
