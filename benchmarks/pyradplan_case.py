"""pyRadPlan's TG-119 case, planned by pyRadPlan and by Brimstone on the same matrix.

pyRadPlan runs in an interpreter of its own (`pyradplan_program`), which hands over a file. Its rows are voxels with x
running fastest, as in SimpleITK's images; here z runs fastest. That the rows are mapped rightly is checked by the dose
and the structures' mean doses, which both sides compute from the same weights.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from c_shape_case import plan_row

import opentps_brimstone as pb
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence, VoxelGrid
from opentps_brimstone.phantoms.c_shape import C_SHAPE

NAMES = {"OuterTarget": "PTV", "Core": "Core", "BODY": "Body"}
LARGEST_DOSE_DIFFERENCE = 1e-5  # of the maximum: float32 summed in another order

# The C-shape's own prescription, which has 50 Gy at D95. pyRadPlan's objective has them in the middle of the target's
# doses, so the range asked of the target, and the guard at its lower end, lie lower here.
PRESCRIPTION = replace(C_SHAPE, target_range_gy=(49.5, 52.5), target_minimum_gy=49.5)


@dataclass
class PyRadPlanCase:
    """What pyRadPlan handed over, in this package's order."""

    plan: pb.Plan
    weights: np.ndarray
    dose: np.ndarray
    row: dict[str, Any]
    facts: dict[str, Any]


def run_pyradplan(interpreter: Path, *options: str) -> PyRadPlanCase:
    """Let pyRadPlan make and plan its case.

    Parameters
    ----------
    interpreter : Path
        A Python that has pyRadPlan.
    *options : str
        For `pyradplan_program`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tg119.npz"
        program = Path(__file__).with_name("pyradplan_program.py")
        command = [str(interpreter), str(program), str(file), *options]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            last = "\n".join(done.stdout.decode(errors="replace").splitlines()[-10:])
            raise RuntimeError(f"{interpreter} ended with exit status {done.returncode}; its last lines:\n{last}")
        return load_case(file)


def load_case(file: Path) -> PyRadPlanCase:
    """Read what `pyradplan_program` wrote and check that both sides compute the same dose.

    Raises
    ------
    ValueError
        When they do not.
    """
    with np.load(file) as content:
        given = {name: content[name] for name in content.files}
    nx, ny, nz = (int(n) for n in given["shape_xyz"])
    matrix = _reordered(given.pop("data"), given.pop("indices"), given.pop("indptr"), (nx, ny, nz))
    grid = VoxelGrid((nx, ny, nz), tuple(given["spacing_xyz"]), tuple(given["origin_xyz"]))
    layout = BeamletLayout(given["beamlet_xy"], given["beam_index"], given["bixel_mm"])
    structures = [
        pb.Structure(NAMES[str(name)], mask.T.astype(np.float32), is_target=NAMES[str(name)] == "PTV")
        for name, mask in zip(given["names"], given["masks_zyx"], strict=True)
    ]
    plan = pb.Plan.from_influence(DoseInfluence(matrix, grid, layout), structures, number_of_fractions=1)
    dose = plan.dose_influence.dose(given["weights"])
    _check_dose(dose, given, structures)
    shares = {structure.name: structure.share for structure in structures}
    name = f"pyRadPlan {given['version']}, {given['solver']}"
    facts = {
        "nonzeros": int(matrix.nnz),
        "beamlets": int(matrix.shape[1]),
        "objectives": [str(text) for text in given["objectives"]],
        "evaluations": int(given["evaluations"]),
    }
    row = plan_row(name, float(given["seconds"]), int(given["iterations"]), dose, shares)
    return PyRadPlanCase(plan, given["weights"], dose, row, facts)


def run_brimstone(case: PyRadPlanCase, threads: int, repeats: int = 3) -> dict[str, Any]:
    """Plan the same matrix with Brimstone; the fastest of a few runs, preparation included."""
    numbers = PRESCRIPTION
    results = []
    for _ in range(repeats):
        optimizer = pb.PlanOptimizer(case.plan, pb.OptimizerSettings(threads=threads))
        for name, term in (
            ("PTV", pb.KLDivergenceTerm(dose_range=numbers.target_range_gy, weight=numbers.target_weight)),
            ("PTV", pb.MinimumDoseTerm(numbers.target_minimum_gy, weight=numbers.target_minimum_weight)),
            ("Core", pb.KLDivergenceTerm(dose_range=numbers.core_range_gy, weight=numbers.core_weight)),
            ("Body", pb.KLDivergenceTerm(dvh=numbers.body_dvh, weight=numbers.body_weight)),
            ("Body", pb.MaximumDoseTerm(numbers.body_limit_gy)),
        ):
            optimizer.add_objective(case.plan.structures[name], term)
        results.append(optimizer.optimize())
    best = min(results, key=lambda result: result.time_s + result.preparation_s)
    shares = {name: structure.share for name, structure in case.plan.structures.items()}
    seconds = best.time_s + best.preparation_s
    row = plan_row("Brimstone, lbfgs", seconds, best.iterations, best.dose, shares)
    return row | {"preparation_s": best.preparation_s}


def _reordered(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int, int]) -> sp.csc_matrix:
    """Matrix whose rows have z running fastest, of one whose rows have x running fastest."""
    row = np.arange(np.prod(shape), dtype=np.int32).reshape(shape).ravel(order="F")
    matrix = sp.csc_matrix(
        (data.astype(np.float32, copy=False), row[indices], indptr), shape=(row.size, indptr.size - 1)
    )
    matrix.sort_indices()
    return matrix


def _check_dose(dose: np.ndarray, given: dict[str, Any], structures: list[pb.Structure]) -> None:
    theirs = given["dose_zyx"].T
    difference = float(np.abs(dose - theirs).max() / theirs.max())
    if difference > LARGEST_DOSE_DIFFERENCE:
        raise ValueError(f"pyRadPlan's dose and ours of the same weights differ by {difference:.2g} of the maximum")
    for structure, mean in zip(structures, given["mean_doses"], strict=True):
        ours = float(dose[structure.mask].mean())
        if abs(ours - mean) > LARGEST_DOSE_DIFFERENCE * theirs.max():
            raise ValueError(f"the mean dose of {structure.name!r} is {mean:.6g} Gy by pyRadPlan, {ours:.6g} Gy by us")
