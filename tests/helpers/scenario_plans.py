"""A small plan with scenarios, of matrices that need no dose engine."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from problems import random_plan

import opentps_brimstone as pb


def shifted_influence(influence: pb.DoseInfluence, voxels: tuple[int, int, int]) -> pb.DoseInfluence:
    """Doses of beamlets that pass the patient some voxels beside where they were planned."""
    shape = influence.grid.shape
    dose = influence.matrix.toarray().reshape(*shape, -1)
    for axis, step in enumerate(voxels):
        dose = np.roll(dose, step, axis)
        edge = [slice(None)] * 4
        edge[axis] = slice(0, step) if step > 0 else slice(shape[axis] + step, None)
        if step:
            dose[tuple(edge)] = 0.0
    return pb.DoseInfluence(sp.csc_matrix(dose.reshape(-1, dose.shape[-1])), influence.grid, influence.layout)


def plan_with_scenarios(seed: int, **options) -> pb.Plan:
    """`random_plan` with the nominal scenario and shifts along x and z, of different probabilities."""
    plan = random_plan(seed, **options)
    spacing = plan.grid.spacing_mm[0]
    given = [(pb.Scenario(probability=4.0), None)]
    for number, voxels in enumerate([(1, 0, 0), (-1, 0, 0), (0, 1, 0)], start=1):
        scenario = pb.Scenario(tuple(spacing * step for step in voxels), probability=float(number))
        given.append((scenario, shifted_influence(plan.dose_influence, voxels)))
    plan.set_scenarios(given)
    return plan
