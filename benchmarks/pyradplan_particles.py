"""Ions on pyRadPlan's matrices: its plan on RBE-weighted dose, and ours of the same prescription, side by side.

    python benchmarks/pyradplan_particles.py PYTHON_WITH_PYRADPLAN [--radiation protons]

The phantom is pyRadPlan's TG-119 C-shape, with two opposed fields of ions; `pyradplan_particles_program` makes matrices
and pyRadPlan's plan in an interpreter of its own. RBE-weighted doses of both plans are computed here from the same
matrices.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import opentps_brimstone as pb
from opentps_brimstone.evaluation import dose_at_volume, maximum_dose, mean_dose
from opentps_brimstone.quantities import QuantityResolver

NAMES = {"OuterTarget": "PTV", "Core": "Core", "BODY": "Body"}
TARGET_GY, CORE_GY, BODY_GY = 50.0, 25.0, 30.0  # of pyRadPlan's objectives
MATRICES = ("physical_dose", "alpha_dose", "sqrt_beta_dose")


def run_pyradplan(interpreter: Path, *options: str) -> dict[str, np.ndarray]:
    """Let pyRadPlan make its matrices and its plan."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ions.npz"
        program = Path(__file__).with_name("pyradplan_particles_program.py")
        subprocess.run([str(interpreter), str(program), str(file), *options], check=True, stderr=subprocess.DEVNULL)
        return load(file)


def load(file: Path) -> dict[str, np.ndarray]:
    """Read what `pyradplan_particles_program` wrote."""
    with np.load(file) as content:
        return {name: content[name] for name in content.files}


def make_plan(given: dict[str, np.ndarray]) -> tuple[pb.Plan, np.ndarray]:
    """Make a plan of the matrices, and give the order of its spots in pyRadPlan's.

    Spots of one energy of one field form one fluence map.
    """
    nx, ny, nz = (int(n) for n in given["shape_xyz"])
    row = np.arange(nx * ny * nz, dtype=np.int32).reshape((nx, ny, nz)).ravel(order="F")
    order = np.lexsort((given["ray"], given["energies"], given["beam"]))
    field, energy = given["beam"][order], given["energies"][order]
    starts = np.concatenate([[False], (np.diff(field) != 0) | (np.diff(energy) != 0)])
    first_ray = np.concatenate([[0], np.cumsum(given["rays_per_beam"])])
    xy = given["rays"][first_ray[given["beam"]] + given["ray"]][order]

    def matrix(name: str) -> sp.csc_matrix:
        parts = (given[f"{name}_data"], row[given[f"{name}_indices"]], given[f"{name}_indptr"])
        found = sp.csc_matrix(parts, shape=(row.size, len(order)))[:, order]
        found.sort_indices()
        return found

    masks = {NAMES[str(name)]: mask.T for name, mask in zip(given["names"], given["masks_zyx"], strict=True)}
    structures = [pb.Structure(name, mask.astype(float), is_target=name == "PTV") for name, mask in masks.items()]
    plan = pb.Plan.from_dose_influence(
        matrix("physical_dose"),
        structures,
        grid_shape=(nx, ny, nz),
        spacing_mm=tuple(given["spacing_xyz"]),
        origin_mm=tuple(given["origin_xyz"]),
        beamlet_xy_mm=xy,
        beam_index=np.cumsum(starts),
        beamlet_spacing_mm=float(given["bixel_mm"]),
        alpha_dose=matrix("alpha_dose"),
        sqrt_beta_dose=matrix("sqrt_beta_dose"),
        alphax=float(given["alphax"]),
        betax=float(given["betax"]),
    )
    return plan, order


def optimize(plan: pb.Plan, threads: int | None) -> Any:
    """Plan with all terms on RBE-weighted dose: the target at its dose, core and body below their limits."""
    optimizer = pb.PlanOptimizer(plan, pb.OptimizerSettings(threads=threads))
    ptv, core, body = (plan.structures[name] for name in ("PTV", "Core", "Body"))
    on = {"quantity": "rbe_x_dose"}
    optimizer.add_objective(ptv, pb.KLDivergenceTerm(dose_range=(50.7, 52.5), **on))
    optimizer.add_objective(ptv, pb.MinimumDoseTerm(TARGET_GY, weight=3000.0, **on))
    optimizer.add_objective(ptv, pb.MaximumDoseTerm(TARGET_GY + 3.0, weight=3000.0, **on))
    optimizer.add_objective(core, pb.MaximumDoseTerm(CORE_GY, weight=300.0, **on))
    optimizer.add_objective(core, pb.KLDivergenceTerm(dose_range=(0.0, CORE_GY), weight=0.2, **on))
    optimizer.add_objective(body, pb.MaximumDoseTerm(TARGET_GY, weight=3000.0, **on))
    optimizer.add_objective(body, pb.MeanDoseTerm(0.0, weight=0.2, **on))
    return optimizer.optimize()


def described(plan: pb.Plan, weights: np.ndarray) -> dict[str, dict[str, float]]:
    """Points of the DVHs of RBE-weighted dose, in Gy."""
    dose = QuantityResolver(plan).get("rbe_x_dose")(weights).reshape(plan.grid.shape)
    return {
        structure.name: {
            "D98": round(dose_at_volume(dose, structure.share, 98), 2),
            "D95": round(dose_at_volume(dose, structure.share, 95), 2),
            "D50": round(dose_at_volume(dose, structure.share, 50), 2),
            "D10": round(dose_at_volume(dose, structure.share, 10), 2),
            "D2": round(dose_at_volume(dose, structure.share, 2), 2),
            "mean": round(mean_dose(dose, structure.share), 2),
            "max": round(maximum_dose(dose, structure.share), 2),
        }
        for structure in plan.structures
    }


def main() -> None:
    """Print both plans as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "interpreter", type=Path, help="a Python with pyRadPlan, or a file that the program has written"
    )
    parser.add_argument("--radiation", choices=("protons", "carbon"), default="protons")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    made = options.interpreter.suffix == ".npz"
    given = load(options.interpreter) if made else run_pyradplan(options.interpreter, "--radiation", options.radiation)
    plan, order = make_plan(given)
    result = optimize(plan, options.threads)
    theirs = {
        "name": f"pyRadPlan {given['version']}",
        "seconds": round(float(given["seconds"]), 1),
        "iterations": int(given["iterations"]),
        "failure": str(given["failure"]),
        "rbe_x_dose": described(plan, given["weights"][order]),
    }
    ours = {
        "name": "Brimstone",
        "seconds": round(result.time_s + result.preparation_s, 1),
        "iterations": result.iterations,
        "message": result.message,
        "rbe_x_dose": described(plan, result.beamlet_weights),
    }
    nonzeros = int(plan.dose_influence.matrix.nnz)
    case = {"radiation": str(given["radiation"]), "spots": len(order), "nonzeros": nonzeros, "plans": [theirs, ours]}
    print(json.dumps(case, indent=2))


if __name__ == "__main__":
    main()
