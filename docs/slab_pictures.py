"""Draw depth doses through slabs of lung and bone, with either reach of scatter.

python docs/slab_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.collapsed_cones import BeamletField, BeamView, ConeEngine
from opentps_brimstone.model.influence import VoxelGrid

PICTURE = Path(__file__).parent / "pictures" / "slabs.png"
STEP_MM = 3.0
SURFACE = 3
"""Rows of air above the surface."""
SLABS = {
    "lung, 0.26 g/cm³, 5 to 13 cm deep": (50.0, 130.0, 0.26),
    "bone, 1.85 g/cm³, 5 to 8 cm deep": (50.0, 80.0, 1.85),
}
FIELDS_MM = (40.0, 100.0)


def depths(rows: int) -> FloatArray:
    """Depths of the voxels, negative in air."""
    middles: FloatArray = (np.arange(rows) - SURFACE + 0.5) * STEP_MM
    return middles


def depth_dose(slab: tuple[float, float, float] | None, field_mm: float, scatter: str) -> FloatArray:
    """Dose on the axis of a square field, a MU for each beamlet."""
    across = 2 * round(100 / STEP_MM)
    density = np.full((across, 72, across), 1.0)
    density[:, :SURFACE] = 0.0012
    depth = depths(density.shape[1])
    if slab is not None:
        density[:, (depth > slab[0]) & (depth < slab[1])] = slab[2]
    edge = -(across - 1) / 2 * STEP_MM
    grid = VoxelGrid(density.shape, (STEP_MM,) * 3, (edge, depth[0], edge))
    view = BeamView.from_angles((0.0, 0.0, 0.0), (0.0, 100.0, 0.0), 1000.0)
    # Edges a little beside the samples, which the program counts twice where they coincide.
    middles = np.arange(-field_mm / 2 + 2.5, field_mm / 2, 5.0) + 0.13
    xy = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    dose = ConeEngine(density, grid, scatter=scatter).dose([BeamletField(view, xy, (5.0, 5.0))], [np.ones(len(xy))])
    half = across // 2
    on_axis: FloatArray = dose[half - 1 : half + 1, :, half - 1 : half + 1].mean(axis=(0, 2))
    return on_axis


def main() -> None:
    """Draw both slabs."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    for ax, (name, slab) in zip(axes, SLABS.items(), strict=True):
        ax.axvspan(slab[0], slab[1], color="0.9")
        for color, field_mm in zip(("#0072B2", "#D55E00"), FIELDS_MM, strict=True):
            for scatter, line in (("full", "-"), ("opentps", ":")):
                in_water = depth_dose(None, field_mm, scatter)
                dose = depth_dose(slab, field_mm, scatter)
                depth = depths(len(dose))
                inside = (depth > 0) & (depth < 190)
                unit = np.interp(40.0, depth, in_water)
                label = f"{field_mm / 10:g} cm field, scatter {scatter!r}"
                ax.plot(depth[inside], 100 * dose[inside] / unit, line, color=color, label=label)
                if scatter == "full":
                    label = f"{field_mm / 10:g} cm field, all water"
                    ax.plot(depth[inside], 100 * in_water[inside] / unit, "-", color=color, alpha=0.3, label=label)
        ax.set(xlabel="depth (mm)", title=name, ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("dose (% of that 4 cm deep in water)")
    axes[0].legend(fontsize="small", frameon=False, loc="lower left")
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
