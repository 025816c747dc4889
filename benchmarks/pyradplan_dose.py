"""Time per beamlet beside pyRadPlan's pencil beam, on pyRadPlan's own TG-119 case, in one run.

pyRadPlan computes its case in an interpreter of its own (`pyradplan_program`), and this package's engine the same beams
and beamlets on the same grid right after it. That it is the same geometry is checked by the dose of the open fields.

    python benchmarks/pyradplan_dose.py --pyradplan-python ~/pyradplan/bin/python
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "tests" / "helpers")]

import dose_scene  # noqa: E402
from dose import core_beam  # noqa: E402

from opentps_brimstone import _core  # noqa: E402

LARGEST_MEDIAN_DIFFERENCE = 0.05  # of the dose of open fields in the target: two engines, two machines


def native_doses(case, threads: int) -> tuple[np.ndarray, float, float]:
    """Dose of all beamlets with one MU each (z, y, x), and the wall and CPU seconds that computing them took."""
    wall, cpu = time.perf_counter(), time.process_time()
    density = np.interp(case["hu_zyx"].T, [-1000.0, 0.0, 9000.0], [0.0, 1.0, 10.0])
    patient = _core.dose.DosePatient(density, spacing=tuple(case["spacing_xyz"]), origin=tuple(case["origin_xyz"]))
    kernel = _core.dose.KernelTables(**dose_scene.read_kernels())
    parts = []
    for number, gantry in enumerate(case["gantry_deg"]):
        xy = case["beamlet_xy"][case["beam_index"] == number]
        beam = dose_scene.Beam(gantry, 0, 0, xy, isocenter=case["isocenters"][number])
        size = (float(case["bixel_mm"]),) * 2
        settings = _core.dose.DoseSettings.opentps()
        parts.append(_core.dose.beamlet_doses(patient, kernel, core_beam(beam), xy, size, settings, threads=threads))
    took = time.perf_counter() - wall, time.process_time() - cpu
    return sum(_open_field(part, density.shape) for part in parts).T, *took


def _open_field(doses, shape: tuple[int, int, int]) -> np.ndarray:
    offsets, rows, values = doses
    matrix = sp.csc_matrix((values, rows, offsets), shape=(int(np.prod(shape)), len(offsets) - 1))
    return np.asarray(matrix.sum(axis=1), dtype=float).reshape(shape)


def pyradplan_open_field(case) -> np.ndarray:
    """Dose of all of pyRadPlan's beamlets (z, y, x)."""
    shape = (int(np.prod(case["shape_xyz"])), len(case["indptr"]) - 1)
    matrix = sp.csc_matrix((case["data"], case["indices"], case["indptr"]), shape=shape)
    return np.asarray(matrix.sum(axis=1), dtype=float).reshape(case["hu_zyx"].shape)


def check_same_beams(ours: np.ndarray, theirs: np.ndarray, target: np.ndarray) -> float:
    """Median difference of the open fields' doses in the target, each over its mean there.

    Raises
    ------
    SystemExit
        If it is so large that the beams cannot be the same.
    """
    difference = float(np.median(np.abs(ours[target] / ours[target].mean() - theirs[target] / theirs[target].mean())))
    if difference > LARGEST_MEDIAN_DIFFERENCE:
        raise SystemExit(f"the open fields differ by {100 * difference:.1f} % in the target: these are other beams")
    return difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pyradplan-python", type=Path, required=True, help="interpreter that has pyRadPlan 0.5")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.npz"
        program = Path(__file__).with_name("pyradplan_program.py")
        subprocess.run([options.pyradplan_python, program, file], check=True, capture_output=True)
        with np.load(file) as content:
            case = {name: content[name] for name in content.files}
    ours, wall, cpu = native_doses(case, options.threads)
    target = case["masks_zyx"][list(case["names"]).index("OuterTarget")]
    difference = check_same_beams(ours, pyradplan_open_field(case), target)

    n = len(case["beamlet_xy"])
    their_wall, their_cpu = case["influence_wall_cpu_s"]
    print(f"{n} beamlets of {len(case['gantry_deg'])} beams; open fields differ by {100 * difference:.1f} % (median)")
    print("ms per beamlet        |   wall |    CPU")
    print(f"pyRadPlan {case['version']}       | {1e3 * their_wall / n:6.2f} | {1e3 * their_cpu / n:6.2f}")
    print(f"opentps-brimstone     | {1e3 * wall / n:6.2f} | {1e3 * cpu / n:6.2f}")
    print(f"pyRadPlan over ours   | {their_wall / wall:6.1f} | {their_cpu / cpu:6.1f}")


if __name__ == "__main__":
    main()
