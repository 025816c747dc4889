"""A small plan of parallel pencils with attenuation, made in a moment."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

import opentps_brimstone as pb

SHAPE = (16, 16, 8)
MM = 5.0
PTV_BOX = (slice(5, 11), slice(5, 11), slice(2, 6))
CORD_BOX = (slice(11, 14), slice(5, 11), slice(2, 6))


def part(name, box, **options):
    mask = np.zeros(SHAPE)
    mask[box] = 1.0
    return pb.Structure(name, mask, **options)


def ptv():
    return part("PTV", PTV_BOX, is_target=True)


def cord():
    return part("Cord", CORD_BOX)


def pencil_matrix(n_beams=4, spacing=7.5, reach=15.0):
    """Matrix, beamlet positions and beam of each beamlet."""
    centers = (np.indices(SHAPE).reshape(3, -1).T - (np.array(SHAPE) - 1) / 2) * MM
    side = np.arange(-reach, reach + 1e-6, spacing)
    columns, xy, beam = [], [], []
    for number, angle in enumerate(2 * np.pi * np.arange(n_beams) / n_beams):
        lateral = centers[:, 0] * np.cos(angle) + centers[:, 1] * np.sin(angle)
        depth = -centers[:, 0] * np.sin(angle) + centers[:, 1] * np.cos(angle) + 50.0
        for y in side:
            for x in side:
                r2 = (lateral - x) ** 2 + (centers[:, 2] - y) ** 2
                dose = 0.01 * np.exp(-0.005 * depth - r2 / (2 * 4.5**2))
                columns.append(np.where(r2 < 15.0**2, dose, 0.0))
                xy.append((x, y))
                beam.append(number)
    return sp.csc_matrix(np.stack(columns, axis=1), dtype=np.float32), np.array(xy), np.array(beam)


def pencil_plan(structures=None, matrix=None, *, number_of_fractions=1, **options):
    """Plan on those structures, by default target and cord; another matrix must have the same beamlets."""
    own, xy, beam = pencil_matrix(**options)
    return pb.Plan.from_dose_influence(
        own if matrix is None else matrix,
        [ptv(), cord()] if structures is None else structures,
        grid_shape=SHAPE,
        spacing_mm=(MM,) * 3,
        beamlet_xy_mm=xy,
        beam_index=beam,
        beamlet_spacing_mm=7.5,
        number_of_fractions=number_of_fractions,
    )


def without_dose_in(structure):
    """Matrix of which a structure gets nothing."""
    return (sp.diags(1.0 - structure.share.ravel()) @ pencil_matrix()[0]).tocsc()


def pencil_optimizer(plan=None, settings=None):
    plan = plan or pencil_plan()
    optimizer = pb.PlanOptimizer(plan, settings)
    optimizer.add_objective(plan.structures["PTV"], pb.KLDivergenceTerm(dose_range=(50, 53)))
    optimizer.add_objective(plan.structures["Cord"], pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0.3), (35, 0)], weight=0.3))
    return optimizer
