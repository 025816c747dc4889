# %% [markdown]
# # An objective of your own
#
# A subclass of `ObjectiveTerm` gives a value and its gradient with respect to the dose of each voxel. Both join the
# cost of the compiled core, at every level of the pyramid. At coarse levels `dose` and `share` are those of larger
# voxels, so a term should depend on them alone, not on where a voxel is.
#
# The term of this example is the logistic complication probability of an organ that works in parallel, on its mean dose
# $D$: $p = 1 / (1 + (D_{50} / D)^{4 \gamma})$. Its numbers are made up, and say nothing about any organ.

# %%
import os

import numpy as np

import opentps_brimstone as pb
from opentps_brimstone.evaluation import mean_dose
from opentps_brimstone.phantoms import make_phantom

grid_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_GRID_MM", "4"))
beamlet_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_BEAMLET_MM", "5"))


# %%
class MeanDoseComplication(pb.ObjectiveTerm):
    """Logistic complication probability of the mean dose.

    Parameters
    ----------
    d50_gy : float
        Mean dose of a probability of one half, in Gy.
    gamma : float
        Relative slope there.
    weight : float
        Factor of the term in the cost.
    """

    def __init__(self, d50_gy: float, gamma: float, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.d50_gy = d50_gy
        self.gamma = gamma

    def evaluate(self, dose, share):
        """Probability, and its derivative with respect to the dose of each voxel, in 1/Gy."""
        mean = max(float(share @ dose), 1e-6)
        odds = (mean / self.d50_gy) ** (4 * self.gamma)
        probability = odds / (1 + odds)
        slope = 4 * self.gamma * probability * (1 - probability) / mean
        return probability, slope * share


# %% [markdown]
# ## Is the gradient right?
#
# Compare it with central differences before you trust it.

# %%
term = MeanDoseComplication(d50_gy=25.0, gamma=1.0)
doses, shares, step = np.array([5.0, 10.0, 30.0]), np.array([0.2, 0.5, 0.3]), 1e-4
_, gradient = term.evaluate(doses, shares)
differences = [
    (term.evaluate(doses + step * unit, shares)[0] - term.evaluate(doses - step * unit, shares)[0]) / (2 * step)
    for unit in np.eye(3)
]
print("largest error of the gradient:", f"{np.abs(gradient - differences).max():.1e} per Gy")
np.testing.assert_allclose(gradient, differences, rtol=1e-6)

# %% [markdown]
# ## With and without it

# %%
plan = make_phantom("c-shape", grid_mm).to_plan()
plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, margin_mm=5.0)

core, ptv, body = (plan.structures[name] for name in ("Core", "PTV", "Body"))

# %%
for weight in (0.0, 1.0):
    optimizer = pb.PlanOptimizer(plan)
    optimizer.add_objective(ptv, pb.KLDivergenceTerm(dose_range=(50.5, 53.5)))
    optimizer.add_objective(body, pb.MaximumDoseTerm(53.0))
    if weight > 0:
        optimizer.add_objective(core, MeanDoseComplication(25.0, 1.0, weight=weight))
    dose = optimizer.optimize().dose
    means = {structure.name: mean_dose(dose, structure.share) for structure in (core, ptv)}
    print(f"weight {weight:g}: mean dose of core {means['Core']:.2f} Gy, of PTV {means['PTV']:.2f} Gy")
