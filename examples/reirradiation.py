# %% [markdown]
# # Re-irradiation beside the spinal cord
#
# Years ago, a target on one side of the cord got 50 Gy in 25 fractions. Now one on the other side is to get 30 Gy in
# 10. The limit of the cord, 50 Gy of EQD2 with an alpha/beta of 2 Gy, is for both courses together.
#
# Planned on dose alone, with the cord's usual limit for 10 fractions, the new plan is fine by itself; with the earlier
# course it is not. Planned on cumulative EQD2, it spares those voxels of the cord that have little left, and no others.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import opentps_brimstone as pb
from opentps_brimstone.evaluation import cumulative_dvh, evaluate
from opentps_brimstone.phantoms.shapes import centered_grid, ellipse, prism_share, rest_of_body, water_ct
from opentps_brimstone.quantities import DoseMap, structure_quantity
from opentps_brimstone.visualization import plot_dose_wash, plot_isodose_bar

grid_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_GRID_MM", "4"))
beamlet_mm = float(os.environ.get("BRIMSTONE_EXAMPLE_BEAMLET_MM", "5"))
ALPHA_BETA_GY = {"Cord": 2.0, "New target": 10.0, "Old target": 10.0, "Body": 3.0}
CORD_LIMIT_GY = 50.0  # of EQD2, both courses together
GOAL = f"Cord EQD2 D0.1cc <= {CORD_LIMIT_GY:g} Gy"
ANGLES = range(0, 360, 40)

# %% [markdown]
# ## The patient
#
# A cylinder of water with the cord in it, and a target on either side.

# %%
grid = centered_grid((220.0, 180.0, 60.0), 20.0, grid_mm)


def cylinder(radius, x, y, length):
    """Volume shares of a cylinder along the patient, in mm."""
    return prism_share(grid, lambda a, b: np.hypot(a - x, b - y) <= radius, length)


body = prism_share(grid, ellipse(105.0, 85.0), 60.0)
cord = cylinder(8.0, 0.0, 30.0, 60.0)
old = cylinder(22.0, -34.0, 22.0, 44.0)
new = cylinder(20.0, 31.0, 24.0, 44.0)
structures = [
    pb.Structure("New target", new, is_target=True),
    pb.Structure("Old target", old),
    pb.Structure("Cord", cord),
    pb.Structure("Body", rest_of_body(body, [new], [old, cord])),
]
series = pb.Series(water_ct(body), grid.spacing_mm, grid.origin_mm, structures)


def make_plan(target, fractions):
    """Nine beams on a target."""
    plan = pb.Plan(series, number_of_fractions=fractions, dose_grid_mm=grid_mm)
    x, y = (31.0, 24.0) if target == "New target" else (-34.0, 22.0)
    for angle in ANGLES:
        plan.add_beam(angle, isocenter=(x, y, 0.0))
    for structure in plan.structures:
        structure.alpha_beta = ALPHA_BETA_GY[structure.name]
        structure.is_target = structure.name == target
    plan.compute_dose_influence(target, beamlet_spacing_mm=beamlet_mm, margin_mm=5.0)
    return plan


# %% [markdown]
# ## The earlier course: 50 Gy in 25 fractions, with the cord below 45 Gy

# %%
earlier = make_plan("Old target", 25)
optimizer = pb.PlanOptimizer(earlier)
optimizer.add_objective(earlier.structures["Old target"], pb.KLDivergenceTerm(dose_range=(49.5, 52.5)))
optimizer.add_objective(earlier.structures["Cord"], pb.MaximumDoseTerm(42.0))
optimizer.add_objective(earlier.structures["New target"], pb.MaximumDoseTerm(30.0))
optimizer.add_objective(earlier.structures["Body"], pb.MaximumDoseTerm(50.0))
optimizer.optimize()
before = earlier.get_dose()
print(f"the cord got up to {before[cord > 0.5].max():.1f} Gy in 25 fractions")

# %% [markdown]
# ## The new course: 30 Gy in 10 fractions, planned twice
#
# `set_previous_dose` takes the earlier plan, an RT Dose file or an array. From then on EQD2 is that of both courses:
# in the cord's term, in goals and in `get_dose("eqd2")`.

# %%
usual_limit = DoseMap.eqd2(ALPHA_BETA_GY["Cord"], 10).inverse(CORD_LIMIT_GY)
print(f"without an earlier course, {usual_limit:.1f} Gy in 10 fractions are {CORD_LIMIT_GY:g} Gy of EQD2")
cord_terms = {
    "dose alone": pb.MaximumDoseTerm(usual_limit),
    "cumulative EQD2": pb.MaximumDoseTerm(0.97 * CORD_LIMIT_GY, quantity="eqd2"),
}
plan = make_plan("New target", 10)
plan.set_previous_dose(earlier)
found = {}
for name, cord_term in cord_terms.items():
    optimizer = pb.PlanOptimizer(plan)
    target = plan.structures["New target"]
    optimizer.add_objective(target, pb.KLDivergenceTerm(dose_range=(29.5, 31.5)))
    optimizer.add_objective(target, pb.MinimumDoseTerm(29.0, weight=1000.0))
    optimizer.add_objective(plan.structures["Cord"], cord_term)
    optimizer.add_objective(plan.structures["Old target"], pb.MaximumDoseTerm(24.0, weight=300.0))
    optimizer.add_objective(plan.structures["Body"], pb.MaximumDoseTerm(30.0))
    optimizer.optimize()
    goals = ["New target D95 >= 28.5 Gy", GOAL]
    table = evaluate(plan.get_dose(), plan.structures, goals, number_of_fractions=plan.number_of_fractions)
    print(f"\nplanned on {name}\n{table}")
    found[name] = (plan.get_dose(), plan.get_dose("eqd2"), table)

# %% [markdown]
# ## Both beside each other
#
# Above: the earlier course, and the cumulative EQD2 of both plans. Below: the cord in EQD2, of both courses (solid) and
# of the new one alone (dotted), and the new target.

# %%
figure, axes = plt.subplots(2, 3, figsize=(14, 8.4), layout="constrained")
shown = [plan.structures[name] for name in ("New target", "Old target", "Cord")]
washes = {"earlier course, dose": before}
washes |= {f"cumulative EQD2,\nplanned on {name}": q for name, (_, q, _) in found.items()}
for ax, (title, values) in zip(axes[0], washes.items(), strict=True):
    plot_dose_wash(
        values, plan.ct_hu, plan.grid, shown, prescription_gy=CORD_LIMIT_GY, position_mm=0.0, crop_mm=5.0, ax=ax
    )
    ax.set_title(title)
plot_isodose_bar(CORD_LIMIT_GY, ax=axes[0][2])
axis = np.linspace(0.0, 80.0, 801)
of_cord, of_target, words = axes[1]
own_cord, own_target = plan.structures["Cord"], plan.structures["New target"]
for (name, (dose, _, _)), color in zip(found.items(), ("#D55E00", "#0072B2"), strict=True):
    for with_previous, style in ((True, "solid"), (False, "dotted")):
        q = structure_quantity(dose, own_cord, "eqd2", 10, with_previous=with_previous)
        volume = 100 * cumulative_dvh(q, own_cord.share, axis)
        of_cord.plot(axis, volume, color=color, linestyle=style, label=f"planned on {name}" if with_previous else None)
    of_target.plot(axis, 100 * cumulative_dvh(dose, own_target.share, axis), color=color, label=f"planned on {name}")
of_cord.axvline(CORD_LIMIT_GY, color="0.3", linewidth=1, linestyle="dashed")
of_cord.set(title="cord", xlabel="EQD2 (Gy), both courses; dotted: this one alone", ylabel="volume (%)", xlim=(0, 75))
of_target.set(title="new target", xlabel="dose (Gy) in 10 fractions", xlim=(20, 36))
for ax in (of_cord, of_target):
    ax.set_ylim(0, 102)
    ax.grid(alpha=0.3)
of_target.legend(loc="lower left")
words.set_axis_off()
rows = [f"planned on {name}\n\n{table}\n" for name, (_, _, table) in found.items()]
words.text(0.0, 0.95, "\n".join(rows), family="monospace", fontsize=8.5, va="top")
picture = Path("reirradiation.png")
figure.savefig(picture, dpi=110)
