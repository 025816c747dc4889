"""Speed of the dose engine beside OpenTPS's program on a phantom of clinical size, in one run.

Beamlets: CPU time for each, ours for a whole field and the program's for a few of the same field. Field: time of a dose
with scatter over the whole patient. Profile: shares of what is left, if ``perf`` is there.

    python benchmarks/dose.py [--profile]
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "tests" / "helpers")]

import dose_scene  # noqa: E402
from bandwidth import Memory  # noqa: E402

from opentps_brimstone import _core  # noqa: E402

ANGLES = [(0, 0, 0), (25, 0, 0), (50, 0, 0), (90, 0, 0), (200, 0, 0), (137, 15, 45)]
ISOCENTER = (0.3, -0.2, 0.1)


def phantom() -> dose_scene.Body:
    """500 x 330 x 450 mm at 3 mm; a body of 400 x 260 mm with two lungs."""
    body = dose_scene.Body.box((167, 110, 150), (3.0, 3.0, 3.0))
    body.fill_ellipse((0, 0), (200, 130), 1.0)
    body.fill_ellipse((-85, -10), (60, 80), 0.3)
    body.fill_ellipse((85, -10), (60, 80), 0.3)
    return body


def core_beam(beam: dose_scene.Beam):
    x_axis, y_axis, axis = beam.axes()
    return _core.dose.DoseBeam(source=beam.source(), x_axis=x_axis, y_axis=y_axis, axis=axis, sad=beam.sad)


class Engines:
    def __init__(self) -> None:
        self.body = phantom()
        self.kernel = _core.dose.KernelTables(**dose_scene.read_kernels())
        self.patient = _core.dose.DosePatient(self.body.density, spacing=self.body.spacing, origin=self.body.origin)

    def beamlets_s(self, beam: dose_scene.Beam, threads: int = 1) -> float:
        """CPU seconds of ours for each beamlet."""
        core = core_beam(beam)
        started = time.process_time()
        _core.dose.beamlet_doses(
            self.patient,
            self.kernel,
            core,
            beam.xy,
            beam.size,
            _core.dose.DoseSettings.opentps(),
            threads=threads,
        )
        return (time.process_time() - started) / len(beam.xy)

    def program_s(self, beam: dose_scene.Beam) -> float:
        """User CPU seconds of OpenTPS's program for each beamlet; its start is not counted."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        dose_scene.compute_by_opentps(self.body, [beam])
        return (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / len(beam.xy)

    def field_s(self, beam: dose_scene.Beam, threads: int) -> tuple[float, float]:
        """Wall and CPU seconds of a 10 x 10 cm field with full scatter."""
        core = core_beam(beam)
        wall, cpu = time.perf_counter(), time.process_time()
        edges = [-50.0, 50.0]
        _core.dose.field_dose(
            self.patient,
            self.kernel,
            core,
            edges,
            edges,
            [[1.0]],
            _core.dose.DoseSettings.full(),
            threads=threads,
        )
        return time.perf_counter() - wall, time.process_time() - cpu


def compare(engines: Engines, few: int) -> None:
    print("gantry couch collimator | ms of CPU per beamlet: ours, OpenTPS | ratio | 10 x 10 cm, full scatter: s, CPU s")
    field = dose_scene.lattice(50.0, shift=(0.31, 0.17))
    for number, angles in enumerate(ANGLES):
        beam = dose_scene.Beam(*angles, field, isocenter=ISOCENTER)
        picked = field[np.random.default_rng(number).permutation(len(field))[:few]]
        ours = engines.beamlets_s(beam)
        theirs = engines.program_s(dose_scene.Beam(*angles, picked, isocenter=ISOCENTER))
        wall, cpu = engines.field_s(beam, threads=2)
        print(f"{angles!s:>15} | {1e3 * ours:6.2f} {1e3 * theirs:7.1f} | {theirs / ours:5.0f} | {wall:5.2f} {cpu:5.2f}")


def repeat(engines: Engines, seconds: float) -> None:
    """Beamlets at an oblique angle, again and again: what to profile."""
    beam = dose_scene.Beam(50, 0, 0, dose_scene.lattice(50.0), isocenter=ISOCENTER)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        engines.beamlets_s(beam)


def profile() -> None:
    if shutil.which("perf") is None:
        print("perf is not here: no profile")
        return
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "perf.data")
        command = ["perf", "record", "-q", "-o", data, sys.executable, __file__, "--repeat", "5"]
        subprocess.run(command, check=True, capture_output=True)
        report = ["perf", "report", "-i", data, "--no-children", "--stdio", "--percent-limit", "1"]
        lines = subprocess.run(report, check=True, capture_output=True, text=True).stdout.splitlines()
    print("\n".join(line[:140] for line in lines if line and not line.startswith("#")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=4, help="beamlets that OpenTPS's program computes at each angle")
    parser.add_argument("--profile", action="store_true", help="where the time of beamlets goes, by perf")
    parser.add_argument("--repeat", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repeat is not None:
        repeat(Engines(), options.repeat)
        return
    print(f"vector path {_core.vector_path()}")
    print("memory: {read_gb_s:.1f} GB/s read, {copy_gb_s:.1f} GB/s copied".format(**Memory(1, 256).measure(3)))
    compare(Engines(), options.few)
    if options.profile:
        profile()


if __name__ == "__main__":
    main()
