"""Small random planning problems that several tests share."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

import opentps_brimstone as pb

COARSE_SHAPE = (10, 9, 8)
COARSE_SPACING_MM = 5.0


def random_influence(seed: int, n_beams: int = 3, beamlets_per_side: int = 5, refinement: int = 1) -> pb.DoseInfluence:
    """Beamlets as blurred pencils through the grid, each beam along its own direction."""
    rng = np.random.default_rng(seed)
    shape = tuple(refinement * n for n in COARSE_SHAPE)
    spacing = COARSE_SPACING_MM / refinement
    centers = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    centers = (centers - (np.array(shape) - 1) / 2) * spacing
    side = (np.arange(beamlets_per_side) - (beamlets_per_side - 1) / 2) * 5.0
    xy = np.array([(x, y) for x in side for y in side])
    columns = []
    for beam in range(n_beams):
        angle = np.pi * beam / n_beams + rng.uniform(0, 0.2)
        lateral = centers[:, 0] * np.cos(angle) + centers[:, 1] * np.sin(angle)
        depth = -centers[:, 0] * np.sin(angle) + centers[:, 1] * np.cos(angle)
        for x, y in xy:
            r2 = (lateral - x) ** 2 + (centers[:, 2] - y) ** 2
            dose = 0.02 * np.exp(-r2 / (2 * 4.0**2) - 0.004 * depth) * rng.uniform(0.8, 1.2, len(centers))
            columns.append(np.where(r2 < 12.0**2, dose, 0.0))
    matrix = sp.csc_matrix(np.stack(columns, axis=1), dtype=np.float32)
    layout = pb.BeamletLayout(
        np.tile(xy, (n_beams, 1)), np.repeat(np.arange(n_beams), len(xy)), np.full((n_beams, 2), 5.0)
    )
    return pb.DoseInfluence(matrix, pb.VoxelGrid(shape, (spacing,) * 3), layout)


def random_plan(seed: int, *, number_of_fractions: int = 1, n_beams: int = 3, refinement: int = 1) -> pb.Plan:
    """A target with partial volumes in the middle, an organ beside it, and the rest."""
    rng = np.random.default_rng(seed + 1000)
    target = np.zeros(COARSE_SHAPE)
    target[3:7, 3:6, 2:6] = 1.0
    target[3, 3:6, 2:6] = rng.uniform(0.1, 0.9, (3, 4))
    organ = np.zeros(COARSE_SHAPE)
    organ[3:7, 6:8, 2:6] = rng.uniform(0.2, 1.0, (4, 2, 4))
    target, organ = (np.kron(mask, np.ones((refinement,) * 3)) for mask in (target, organ))
    body = 1.0 - np.maximum(target, organ)
    structures = [
        pb.Structure("PTV", target, is_target=True),
        pb.Structure("organ", organ),
        pb.Structure("body", body),
    ]
    influence = random_influence(seed, n_beams, refinement=refinement)
    return pb.Plan.from_influence(influence, structures, number_of_fractions)


def add_objectives(optimizer: pb.PlanOptimizer, direction: str | None = None) -> None:
    """Ask for 48 to 52 Gy in the target, little elsewhere, and guard the body's maximum."""
    structures = optimizer.plan.structures
    optimizer.add_objective(structures["PTV"], pb.KLDivergenceTerm(dose_range=(48, 52), direction=direction))
    optimizer.add_objective(
        structures["organ"], pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0.4), (40, 0)], weight=0.5, direction=direction)
    )
    optimizer.add_objective(
        structures["body"], pb.KLDivergenceTerm(dvh=[(0, 1), (15, 0.4), (48, 0)], weight=0.1, direction=direction)
    )
    optimizer.add_objective(structures["body"], pb.MaximumDoseTerm(50, weight=300))
