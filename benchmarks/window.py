"""What somebody in front of OpenTPS's window waits for, measured in the real window.

    xvfb-run -s "-screen 0 1500x1000x24" python benchmarks/window.py [--nonzeros 16e6] [--repeats 5] [--json FILE]

- How late a timer of 50 ms comes in the window's thread, from a worker's start to its end, while a plan of so many
  nonzeros is optimized, and while the engine computes beamlets.
- How long a stop takes, of the optimizer and of the engine.
- How long after a target point is dragged the first and the last DVH of a new plan are drawn, on the C-shape of TG-119.

Minimum, median and maximum of the repeats. Beside them, the processor time of this process, how late the timer comes
while nothing runs, and the load of the machine before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from opentps.gui.main import app, viewController
from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtTest import QTest
from synthetic import synthetic_plan

import opentps_brimstone as pb
from opentps_brimstone.dicom.series_writer import write_dicom_folder
from opentps_brimstone.gui.asked import falling_body, organ, target
from opentps_brimstone.gui.opentps_data import load_folder
from opentps_brimstone.gui.planner import Planner
from opentps_brimstone.gui.request import BeamRow, Request, beam_set
from opentps_brimstone.phantoms import make_phantom

TICK_MS = 50
BEAMLET_MM = 5.0
GRID_MM = 4.0
DRAGGED_BY = (0.7, 0.9, 0.8, 0.6, 1.0)


class Lateness:
    """How late a timer of the window's thread comes, in ms."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        now = time.perf_counter()
        self._late.append(1000 * (now - self._last) - TICK_MS)
        self._last = now

    def worst(self) -> float:
        """Stop, and tell the latest tick."""
        self._timer.stop()
        return max(self._late, default=0.0)


def wait_for(happens: Callable[[], bool], most_s: float = 900.0) -> None:
    """Let the window live until something happens."""
    began = time.perf_counter()
    while not happens():
        QTest.qWait(5)
        if time.perf_counter() - began > most_s:
            raise SystemExit(f"nothing happened for {most_s:g} s")


def ended(planner: Planner) -> float:
    """Wait until the worker has ended; how late the timer was at most until then."""
    lateness, worst = Lateness(), [0.0]
    worker = planner._worker
    assert worker is not None
    worker.finished.connect(lambda: worst.append(lateness.worst()))
    wait_for(lambda: not planner.is_busy)
    wait_for(lambda: len(worst) > 1)
    return worst[-1]


def stopped(planner: Planner) -> float:
    """Stop what runs; how many seconds it takes."""
    began = time.perf_counter()
    planner.stop()
    wait_for(lambda: not planner.is_busy)
    return time.perf_counter() - began


def measure_optimizer(planner: Planner, nonzeros: float, repeats: int) -> dict[str, list[float]]:
    """Lateness during whole runs of a large synthetic plan, and time to stop one."""
    plan, _ = synthetic_plan(nonzeros)
    asked = (target("PTV", 50.0), organ("Core", 25.0), falling_body("Body", 50.0))
    request = Request(beams=(BeamRow(0.0),), asked=asked, fractions=plan.number_of_fractions)
    found: dict[str, list[float]] = {"late_ms": [], "run_s": [], "stop_s": [], "stop_processor_s": []}
    for _ in range(repeats):
        planner.session.use_plan(plan, request)
        planner.planned_changed.emit()
        planner.request_changed.emit()
        began = time.perf_counter()
        planner.start()
        found["late_ms"].append(ended(planner))
        found["run_s"].append(time.perf_counter() - began)
        planner.ask(replace(request, fractions=request.fractions + 1))
        if not planner.is_busy:
            planner.start()
        wait_for(lambda: planner.watch is not None and len(planner.watch.costs) > 2)
        used = time.process_time()
        found["stop_s"].append(stopped(planner))
        found["stop_processor_s"].append(time.process_time() - used)
    return found


def measure_engine(planner: Planner, repeats: int) -> dict[str, list[float]]:
    """Lateness while the engine computes the beamlets of the C-shape, and time to stop it."""
    found: dict[str, list[float]] = {"late_ms": [], "stop_s": [], "late_until_stop_ms": []}
    request = planner.request
    for number in range(repeats):
        planner.ask(replace(request, margin_mm=5.0 + 0.1 * (number + 1)))  # other beamlets
        planner.start()
        lateness = Lateness()
        wait_for(lambda: planner.watch is not None and (planner.watch.progress or (0, 0))[0] > 20)
        found["stop_s"].append(stopped(planner))
        found["late_until_stop_ms"].append(lateness.worst())
    planner.ask(request)
    planner.start()
    found["late_ms"].append(ended(planner))
    return found


def measure_nothing(repeats: int, seconds: float = 3.0) -> dict[str, list[float]]:
    """Lateness while nothing runs in this process: what the machine alone does."""
    found: dict[str, list[float]] = {"late_ms": []}
    for _ in range(repeats):
        lateness = Lateness()
        QTest.qWait(int(1000 * seconds))
        found["late_ms"].append(lateness.worst())
    return found


def measure_drag(panel: Any, repeats: int) -> dict[str, list[float]]:
    """From the moment a point of the core's target is let go to DVHs of the plan that follows: the first, the last."""
    planner, board = panel.planner, panel.board
    found: dict[str, list[float]] = {"first_drawn_s": [], "drawn_s": [], "processor_s": []}
    place = next(h for h in board.dvh.handles if h.structure == "Core" and h.number == 2).pos()
    dose_gy, share = place.x(), place.y() / 100
    for number in range(repeats):
        before, drawn = planner.session.planned, board._drawn
        began, used = time.perf_counter(), time.process_time()
        board.dvh.point_moved.emit("Core", 2, dose_gy * DRAGGED_BY[number % len(DRAGGED_BY)], share)
        wait_for(partial(_is_drawn, board, drawn))
        app.processEvents()
        found["first_drawn_s"].append(time.perf_counter() - began)
        wait_for(partial(_is_another, planner, before))
        app.processEvents()
        found["drawn_s"].append(time.perf_counter() - began)
        found["processor_s"].append(time.process_time() - used)
        wait_for(lambda: not planner.is_busy)
    return found


def _is_drawn(board: Any, before: Any) -> bool:
    return board._drawn is not before


def _is_another(planner: Planner, before: Any) -> bool:
    return planner.session.planned is not before


def open_window() -> Any:
    """OpenTPS's window with Brimstone in it; returns the panel."""
    controller = viewController()
    controller.mainWindow.resize(1400, 900)
    controller.mainWindow.show()
    return pb.add_to_gui(controller).panel


def plan_c_shape(panel: Any) -> None:
    """Load the C-shape, and ask for nine fields."""
    with tempfile.TemporaryDirectory() as folder:
        write_dicom_folder(make_phantom("c-shape", GRID_MM), folder)
        load_folder(panel._view_controller, folder)
    asked = (target("PTV", 50.0), organ("Core", 25.0), falling_body("Body", 50.0))
    panel.planner.follows_changes = False
    panel.planner.ask(
        replace(
            panel.planner.request,
            beams=beam_set("9 fields"),
            beamlet_mm=BEAMLET_MM,
            dose_grid_mm=GRID_MM,
            asked=asked,
        )
    )


def summary(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "n": len(values)}


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nonzeros", type=float, default=16e6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    panel = open_window()
    load = [os.getloadavg()[0]]
    found: dict[str, Any] = {}
    plan_c_shape(panel)
    found["nothing"] = measure_nothing(options.repeats)
    found["engine"] = measure_engine(panel.planner, options.repeats)
    panel.planner.follows_changes = True
    influence = panel.planner.session.planned.plan.dose_influence
    found["drag"] = measure_drag(panel, options.repeats)
    found["optimizer"] = measure_optimizer(panel.planner, options.nonzeros, options.repeats)
    load.append(os.getloadavg()[0])
    measured = {
        "processors": os.cpu_count(),
        "load": load,
        "c_shape": {"beamlets": influence.layout.n_beamlets, "nonzeros": int(influence.matrix.nnz)},
        "nonzeros": options.nonzeros,
        **{name: {what: summary(values) for what, values in each.items()} for name, each in found.items()},
    }
    print(json.dumps(measured, indent=1))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    panel._view_controller.mainWindow.close()
    app.quit()


if __name__ == "__main__":
    main()
