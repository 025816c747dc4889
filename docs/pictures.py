"""Make the pictures of the documentation, from a plan of the TG-119 C-shape.

    python docs/pictures.py

The first run computes the beamlets, which takes minutes; later ones find them in the cache.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import opentps_brimstone as pb
from opentps_brimstone import _core
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.ensembles import explore_tradeoff, plot_tradeoff
from opentps_brimstone.optimization.core_plan import bin_settings
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.sequencing import MLC, SequencingSettings, sequence_plan
from opentps_brimstone.visualization.apertures import plot_apertures

PICTURES = Path(__file__).parent / "pictures"
LEVEL_NAMES = ("finest", "second", "third", "coarsest")


def optimized_plan(roughness_weight: float = 0.0) -> tuple[pb.Plan, pb.VisualizationCallback]:
    """Plan the C-shape with its fixed prescription."""
    phantom = make_phantom("c-shape")
    ct, _, photon_plan = to_opentps(phantom)
    plan = pb.Plan.from_opentps(photon_plan, ct, phantom.structures)
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(roughness_weight=roughness_weight))
    for name, term in phantom.objectives:
        optimizer.add_objective(plan.structures[name], term)
    viz = pb.VisualizationCallback(5, live=False, prescription_gy=phantom.prescription_gy)
    result = optimizer.optimize(callback=viz)
    print(result.message, result.iterations, "iterations")
    return plan, viz


def overview(viz: pb.VisualizationCallback) -> None:
    """Draw convergence, dose, histograms and weights."""
    save(viz.plot_overview(), "overview")


def levels(plan: pb.Plan, viz: pb.VisualizationCallback) -> None:
    """Draw histograms of target and core at the end of every level."""
    history = viz.history
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
    taken = np.array(history["snapshot_iteration"])
    level_of = np.array(history["level"])[taken - 1]
    for ax, name in zip(axes, ("PTV", "Core"), strict=True):
        for level in sorted(set(level_of), reverse=True):
            dose, volume = history["dvhs"][name][int(np.flatnonzero(level_of == level)[-1])]
            ax.plot(dose, 100 * volume, color=mpl.colormaps["viridis"](0.28 * level), label=LEVEL_NAMES[level])
        target = next(term.dvh for term in kl_terms(viz) if term.structure is plan.structures[name])
        ax.plot(target[:, 0], 100 * target[:, 1], "k--", label="asked")
        ax.set(title=name, xlabel="dose (Gy)", xlim=(0, 60))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("volume (%)")
    axes[0].legend(title="end of level", loc="lower left")
    save(figure, "levels")


def kl_terms(viz: pb.VisualizationCallback) -> list[pb.KLDivergenceTerm]:
    """Give the terms that have a target histogram."""
    assert viz._prescription is not None
    return [term for term in viz._prescription.objectives if isinstance(term, pb.KLDivergenceTerm)]


def smoothing() -> None:
    """Draw histograms of one set of doses at two levels, beside the target."""
    dose = np.concatenate([np.linspace(43, 47, 40), np.linspace(50, 55, 160)])
    share = np.full(len(dose), 1 / len(dose))
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for ax, level in zip(axes, (2, 0), strict=True):
        settings = pb.OptimizerSettings()
        bins = bin_settings(settings, level, 53.5)
        wide = settings.gaussian_bin_sigma / settings.level_sigma[level] * 53.5
        width = wide / np.sqrt(settings.variance_ratio) / settings.bins_per_sigma
        term = _core.KlDivergenceTerm(
            share=share,
            target=[(50.5, 1.0), (53.5, 0.0)],
            direction=_core.KlDirection.calc_target,
            weight=1.0,
            bins=bins,
        )
        for density, label, style in (
            (term.histogram(dose, np.full(len(dose), 0.5)), "p, of the doses", "-"),
            (term.target(0.5), "q, asked", "--"),
        ):
            at = (np.arange(len(density)) - term.first_bin) * width
            ax.plot(at, density / width, style, color="black" if style == "--" else "tab:red", label=label)
        ax.plot(dose, np.zeros_like(dose), "|", color="tab:red", alpha=0.4, markersize=10)
        ax.set(title=f"{LEVEL_NAMES[level]} level: wide kernel {wide:.1f} Gy", xlabel="dose (Gy)", xlim=(30, 70))
        ax.legend()
    axes[0].set_ylabel("volume share per Gy")
    save(figure, "smoothing")


def roughness(rough: pb.Plan) -> None:
    """Draw fluence of one beam and histograms, with rough fluence free and at a price."""
    plans = {0.0: rough} | {weight: optimized_plan(weight)[0] for weight in (0.01, 0.1)}
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), layout="constrained", width_ratios=(1, 1, 1, 1.5))
    layout = rough.dose_influence.layout
    beam = layout.beam_index == 0
    x, y = np.round(layout.xy_mm[beam] / layout.spacing_mm[0]).astype(int).T
    highest = max(plan.beamlet_weights[beam].max() for plan in plans.values())
    for ax, style, (weight, plan) in zip(axes, ("-", "--", ":"), plans.items(), strict=False):
        fluence = np.full((np.ptp(y) + 1, np.ptp(x) + 1), np.nan)
        fluence[y - y.min(), x - x.min()] = plan.beamlet_weights[beam]
        image = ax.imshow(fluence, origin="lower", cmap="cividis", vmin=0, vmax=highest)
        ax.set(title=f"roughness_weight = {weight:g}", xticks=[], yticks=[])
        for name, color in (("PTV", "tab:red"), ("Core", "tab:blue"), ("Body", "tab:green")):
            structure = plan.structures[name]
            order = np.argsort(-np.asarray(plan.get_dose())[structure.share > 0])
            dose = np.asarray(plan.get_dose())[structure.share > 0][order]
            volume = np.cumsum(structure.share[structure.share > 0][order]) / structure.share.sum()
            axes[3].plot(dose, 100 * volume, style, color=color, label=name if style == "-" else None)
    figure.colorbar(image, ax=axes[2], label="MU per fraction")
    axes[3].set(xlabel="dose (Gy)", ylabel="volume (%)", xlim=(0, 60))
    axes[3].legend()
    save(figure, "roughness")


def apertures(plan: pb.Plan) -> None:
    """Draw the segments of the first beam."""
    layout = plan.dose_influence.layout
    mlc = MLC.matched(layout.xy_mm[:, 1], float(layout.spacing_mm[0, 1]), name="leaves as the rows")
    beam = sequence_plan(layout, plan.beamlet_weights, mlc, SequencingSettings(levels=4))[0]
    figure = plt.figure(figsize=(11, 2.6 * -(-len(beam.apertures) // 5)), layout="constrained")
    plot_apertures(beam, figure=figure)
    save(figure, "apertures")


def tradeoff() -> None:
    """Draw a trade-off of target, core and body, and the mixture with 50 Gy in the target that spares the core most."""
    phantom = make_phantom("c-shape")
    own = phantom.to_plan()
    own.compute_dose_influence("PTV", margin_mm=phantom.target_margin_mm)
    found = explore_tradeoff(own, phantom.objectives, 80, criteria=["PTV D95", "Core D10", "Body Dmean"])
    save(plot_tradeoff(found, mixed=found.navigate({"PTV D95": 50.0}, prefer="Core D10")), "tradeoff")


def save(figure: Figure, name: str) -> None:
    """Write a picture."""
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / f"{name}.png", dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    mpl.use("Agg")
    smoothing()
    plan, viz = optimized_plan()
    overview(viz)
    levels(plan, viz)
    apertures(plan)
    roughness(plan)
    tradeoff()
