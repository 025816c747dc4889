"""Time and memory of reading a large patient: a CT of 512 x 512 x 150 voxels and 2,000 outlines.

    python benchmarks/reading.py

Each reading is a process of its own, whose user CPU time and peak memory are those of the whole process, imports
included. The files are made first, in a folder that is removed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

SHAPE, SPACING = (512, 512, 150), (0.98, 0.98, 2.0)
ORGANS, PLANES, VERTICES = 20, 93, 200


def write_patient(folder: Path) -> int:
    """Write the files; give the number of outlines."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
    import made_ct

    origin = tuple(-step * (n - 1) / 2 for n, step in zip(SHAPE, SPACING, strict=True))
    made_ct.SHAPE, made_ct.SPACING, made_ct.ORIGIN = SHAPE, SPACING, origin
    made_ct.PLANES = origin[2] + SPACING[2] * np.arange(SHAPE[2])
    x, y = (origin[axis] + SPACING[axis] * np.arange(SHAPE[axis]) for axis in (0, 1))
    disc = np.where((x[:, None] / 200) ** 2 + (y[None] / 130) ** 2 < 1, 0.0, -1000.0)
    ct = made_ct.made_ct(np.repeat(disc[:, :, None], SHAPE[2], axis=2), planes=made_ct.PLANES)
    rois = [("BODY", "EXTERNAL", made_ct.rod(130.0, n=2 * VERTICES))]
    for number in range(ORGANS):
        outlines = made_ct.rod(20.0, (5.0 * number - 50, 3.0 * number - 30), n=VERTICES)
        rois.append((f"organ {number}", "ORGAN", list(outlines)[:PLANES]))
    made_ct.write_case(folder, ct, rois=rois)
    return sum(len(list(outlines)) for *_, outlines in rois)


def read_once(folder: str) -> dict[str, float]:
    """Read the patient in this process."""
    import opentps_brimstone as pb

    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series = pb.Series.from_dicom(folder)
    assert series.grid.shape == SHAPE
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"wall": time.perf_counter() - begin, "cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024}


def _in_process(step: str, folder: str) -> Any:
    """Run a step in a process of its own: a child's peak memory begins with that of its parent."""
    command = [sys.executable, __file__, step, folder]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="readings (default: %(default)s)")
    parser.add_argument("--once", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--write", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once or arguments.write:
        print(json.dumps(read_once(arguments.once) if arguments.once else write_patient(Path(arguments.write))))
        return
    with tempfile.TemporaryDirectory() as folder:
        outlines = _in_process("--write", folder)
        runs = [_in_process("--once", folder) for _ in range(arguments.repeat)]
    print(f"CT of {' x '.join(map(str, SHAPE))} voxels, {outlines} outlines")
    for name, unit in (("cpu", "s CPU"), ("wall", "s on the clock"), ("mib", "MiB at most")):
        print(f"  {min(run[name] for run in runs):8.1f} {unit}")


if __name__ == "__main__":
    main()
