"""pyRadPlan's TG-119 case, its plan, and all that another program needs to plan the same, in one file.

    python benchmarks/pyradplan_program.py OUT.npz [--beams 7] [--bixel 5]

Run by an interpreter that has pyRadPlan 0.5 (which needs pydantic < 2.12 and numpydantic < 2); this file imports
nothing else of the project. Everything is pyRadPlan's own: the phantom TG119 that it comes with, the objectives stored
in it, the photon machine "Generic", its pencil beam engine, and `fluence_optimization` with its default problem and
solver.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from pyRadPlan import PhotonPlan, calc_dose_influence, fluence_optimization, generate_stf, load_tg119
from pyRadPlan.optimization.problems import get_problem_from_pln


def main() -> None:
    """Make the case, plan it and write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--beams", type=int, default=7)
    parser.add_argument("--bixel", type=float, default=5.0, help="beamlet size in mm")
    options = parser.parse_args()

    ct, structures = load_tg119()
    plan = PhotonPlan(machine="Generic")
    plan.prop_stf = {
        "gantry_angles": np.linspace(0, 360, options.beams, endpoint=False),
        "couch_angles": np.zeros(options.beams),
        "bixel_width": options.bixel,
    }
    steering = generate_stf(ct, structures, plan)
    started = time.perf_counter(), time.process_time()
    influence = calc_dose_influence(ct, structures, steering, plan)
    influence_s = time.perf_counter() - started[0], time.process_time() - started[1]

    info: dict[str, Any] = {}
    started = time.perf_counter()
    weights = fluence_optimization(ct, structures, steering, influence, plan, opt_info=info)
    seconds = time.perf_counter() - started

    dose = SimpleITK.GetArrayFromImage(influence.compute_result_dose_grid(weights)["physical_dose"])
    # As the planning problem prepares them: each voxel belongs to one structure, on the grid of the dose.
    on_dose_grid = structures.apply_overlap_priorities().resample_on_new_ct(ct.resample_to_grid(influence.dose_grid))
    matrix = influence.physical_dose.flat[0].tocsc()
    hounsfield = ct.resample_to_grid(influence.dose_grid).cube_hu
    rays = [ray.ray_pos_bev for beam in steering.beams for ray in beam.rays]
    np.savez(
        options.out,
        indptr=matrix.indptr,
        indices=matrix.indices,
        data=matrix.data,
        shape_xyz=np.array(influence.dose_grid.dimensions),
        spacing_xyz=np.array(influence.dose_grid.resolution_vector),
        origin_xyz=np.array(influence.dose_grid.origin),
        names=np.array([voi.name for voi in on_dose_grid.vois]),
        masks_zyx=np.stack([SimpleITK.GetArrayFromImage(voi.mask) > 0 for voi in on_dose_grid.vois]),
        mean_doses=np.array([dose.ravel()[voi.indices_numpy].mean() for voi in on_dose_grid.vois]),
        objectives=np.array([_described(voi, objective) for voi in structures.vois for objective in voi.objectives]),
        beamlet_xy=np.array(rays)[:, [0, 2]],
        beam_index=np.asarray(influence.beam_num, dtype=np.int64),
        bixel_mm=np.array(options.bixel),
        gantry_deg=np.array([beam.gantry_angle for beam in steering.beams]),
        isocenters=np.array([beam.iso_center for beam in steering.beams]),
        hu_zyx=SimpleITK.GetArrayFromImage(hounsfield),
        influence_wall_cpu_s=np.array(influence_s),
        weights=np.asarray(weights),
        dose_zyx=dose,
        seconds=np.array(seconds),
        iterations=np.array(info["num_iter"]),
        evaluations=np.array(len(info["obj_history"])),
        solver=np.array(str(get_problem_from_pln(plan).solver)),
        version=np.array(importlib.metadata.version("pyRadPlan")),
    )


def _described(structure: Any, objective: Any) -> str:
    values = ", ".join(f"{value:g} Gy" for value in objective.parameters)
    return f"{structure.name}: {objective.name} {values}, priority {objective.priority:g}"


if __name__ == "__main__":
    main()
