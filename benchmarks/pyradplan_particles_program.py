"""pyRadPlan's TG-119 phantom with ions: its matrices and its plan on RBE-weighted dose, in one file.

    python benchmarks/pyradplan_particles_program.py OUT.npz [--radiation protons]

Run by an interpreter that has pyRadPlan 0.5 (which needs pydantic < 2.12 and numpydantic < 2); this file imports
nothing else of the project. Carbon has α and β in its machine's kernels, and the matrices are pyRadPlan's own. Protons
have none there: their α is that of M. Wedenberg et al., Acta Oncol. 52 (2013) 580, αx (1 + 0.434 L / (αx/βx)), and
their β is βx, so that both matrices follow from pyRadPlan's dose and LET-weighted dose.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import time
from pathlib import Path

import numpy as np
import SimpleITK
from pyRadPlan import IonPlan, calc_dose_influence, fluence_optimization, generate_stf, load_tg119
from scipy import sparse

_WEDENBERG = 0.434  # Gy µm/keV
_ALPHA_X, _BETA_X = 0.1, 0.05  # pyRadPlan's for all tissues, 1/Gy and 1/Gy²


def main() -> None:
    """Make the case, plan it and write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--radiation", choices=("protons", "carbon"), default="protons")
    parser.add_argument("--bixel", type=float, default=8.0, help="distance of spots in mm")
    options = parser.parse_args()

    ct, structures = load_tg119()
    plan = IonPlan(radiation_mode=options.radiation, machine="Generic")
    plan.prop_stf = {
        "gantry_angles": np.array([90.0, 270.0]),
        "couch_angles": np.zeros(2),
        "bixel_width": options.bixel,
    }
    plan.prop_dose_calc = {
        "calc_bio_dose": options.radiation == "carbon",
        "calc_let": options.radiation == "protons",
        "dose_grid": {"resolution": {"x": 5.0, "y": 5.0, "z": 5.0}},
    }
    steering = generate_stf(ct, structures, plan)
    influence = calc_dose_influence(ct, structures, steering, plan)
    if options.radiation == "protons":
        _add_wedenberg(influence)
    for voi in structures.vois:
        for objective in voi.objectives:
            objective.quantity = "rbe_x_dose"
    # By default it would put all objectives of protons back on dose.
    plan.prop_opt = {"convert_dose_objectives": False}

    info: dict = {}
    started = time.perf_counter()
    try:
        weights = fluence_optimization(ct, structures, steering, influence, plan, opt_info=info)
        failure = ""
    except Exception as error:  # what it cannot do is a result, too
        weights, failure = np.zeros(influence.total_num_of_bixels), f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started

    on_dose_grid = structures.apply_overlap_priorities().resample_on_new_ct(ct.resample_to_grid(influence.dose_grid))
    matrices = {}
    for name in ("physical_dose", "alpha_dose", "sqrt_beta_dose"):
        matrix = getattr(influence, name).flat[0].tocsc()
        matrices |= {f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
    np.savez(
        options.out,
        shape_xyz=np.array(influence.dose_grid.dimensions),
        spacing_xyz=np.array(influence.dose_grid.resolution_vector),
        origin_xyz=np.array(influence.dose_grid.origin),
        names=np.array([voi.name for voi in on_dose_grid.vois]),
        masks_zyx=np.stack([SimpleITK.GetArrayFromImage(voi.mask) > 0 for voi in on_dose_grid.vois]),
        rays=np.array([ray.ray_pos_bev for beam in steering.beams for ray in beam.rays])[:, [0, 2]],
        rays_per_beam=np.array([len(beam.rays) for beam in steering.beams]),
        energies=np.array([b.energy for beam in steering.beams for ray in beam.rays for b in ray.beamlets]),
        beam=np.asarray(influence.beam_num, dtype=np.int64),
        ray=np.asarray(influence.ray_num, dtype=np.int64),
        bixel_mm=np.array(options.bixel),
        alphax=np.array(_ALPHA_X),
        betax=np.array(_BETA_X),
        weights=np.asarray(weights),
        seconds=np.array(seconds),
        iterations=np.array(info.get("num_iter", 0)),
        failure=np.array(failure),
        version=np.array(importlib.metadata.version("pyRadPlan")),
        radiation=np.array(options.radiation),
        **matrices,
    )


def _add_wedenberg(influence: object) -> None:
    """Give a proton matrix those of α- and √β-weighted dose."""
    dose = influence.physical_dose
    alpha, root = dose.copy(), dose.copy()
    physical, let = dose.flat[0].tocsc(), influence.let_dose.flat[0].tocsc()
    alpha.flat[0] = sparse.csc_matrix(_ALPHA_X * physical + _WEDENBERG * _BETA_X * let, dtype=np.float32)
    root.flat[0] = sparse.csc_matrix(np.sqrt(_BETA_X) * physical, dtype=np.float32)
    influence.alpha_dose, influence.sqrt_beta_dose = alpha, root


if __name__ == "__main__":
    main()
