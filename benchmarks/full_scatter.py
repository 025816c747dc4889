"""Optimization with full scatter beside that of beamlets whose scatter ends 2 cm beside them.

    python benchmarks/full_scatter.py [--cases prostate c-shape] [--markdown table.md] [--json numbers.json]

Plans of TG-119's cases and of a toy patient, made from their goals with either reach of scatter. "Known" is by how much
D98, D95, D50, D2 or mean dose of any structure, in percent of the prescription, differed at the end of the rounds from
those of the final dose; "result" is the same for the dose that the planner returned, against `compute_dose` of its
weights; "beamlets alone" is that of a plan with scatter as OpenTPS has it, against its full-scatter dose. Goals are
judged by the full-scatter dose of either plan. Times are processor seconds, planned in turn: of the rounds with all
updates of scatter, of the final dose after them, and of beamlets.

Then square fields in water: the dose on the axis, 10 cm deep at SSD 90 cm, in cGy for a MU of the reference field; of
the matrix of 5 and 10 mm beamlets alone, with what is far from them added, and of one aperture.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import numpy as np
from tg119_arguments import study_parser

import opentps_brimstone as pb
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.engine.calibration import calibrate
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.fluence import Rectangles
from opentps_brimstone.engine.full_scatter import FieldDose
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.engine.plan_doses import beam_view
from opentps_brimstone.goal_planning.planner import GoalPlanner
from opentps_brimstone.integration.photon_plan import plan_from_opentps
from opentps_brimstone.optimization.whole_dose import largest_shift
from opentps_brimstone.phantoms import make_phantom
from opentps_brimstone.workflow.tg119 import CASES

TOY = "toy patient"
FIELDS_CM = (2, 4, 10, 20)
TOY_GOALS = ("PTV D95 >= 48 Gy", "PTV D2 <= 54 Gy", "Bladder Dmean <= 25 Gy")


def toy_patient() -> pb.Plan:
    """A target of 6 cm beside a bladder 7 mm away, in a body with two lungs."""
    spacing, shape = (4.0, 4.0, 4.0), (80, 60, 40)
    x, y, z = np.meshgrid(
        *(s * (np.arange(n) - (n - 1) / 2) for s, n in zip(spacing, shape, strict=True)), indexing="ij"
    )
    body = (x / 150) ** 2 + (y / 110) ** 2 <= 1
    lungs = ((np.abs(x) - 80) / 35) ** 2 + (y / 60) ** 2 + ((z + 40) / 45) ** 2 <= 1
    hu = np.where(body, np.where(lungs, -700.0, 0.0), -1000.0)
    target = x**2 + y**2 + z**2 <= 30**2
    bladder = x**2 + (y + 52) ** 2 + z**2 <= 15**2
    structures = [
        pb.Structure("PTV", target, is_target=True),
        pb.Structure("Bladder", bladder & body),
        pb.Structure("Body", body & ~target & ~bladder),
    ]
    series = pb.Series(hu, spacing, tuple(float(axis.flat[0]) for axis in (x, y, z)), structures)
    plan = pb.Plan(series, number_of_fractions=25)
    for angle in (0, 72, 144, 216, 288):
        plan.add_beam(gantry_angle=angle)
    return plan


def prepared(case: str, scatter: str, grid_mm: float, beamlet_mm: float) -> tuple[pb.Plan, Any, float]:
    """Plan of a case with its dose influence, its goals and its prescribed dose."""
    if case == TOY:
        plan = toy_patient()
        plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, scatter=scatter, progress=False)
        return plan, TOY_GOALS, 50.0
    phantom = make_phantom(case, grid_mm)
    with silent_opentps():
        ct, _, photon_plan = to_opentps(phantom, beamlet_mm)
        plan = plan_from_opentps(photon_plan, ct, phantom.structures, scatter=scatter, progress=False)
    return plan, phantom.goals, phantom.prescription_gy


class Updates:
    """Processor time of the updates of a plan's intermediate dose."""

    def __init__(self, plan: pb.Plan) -> None:
        self._update = plan.update_intermediate_dose
        self.final_s = 0.0
        plan.update_intermediate_dose = self.update  # type: ignore[method-assign]

    def update(self, weights: Any = None, *, effort: str = "full") -> Any:
        began = time.process_time()
        dose = self._update(weights, effort=effort)
        if effort == "full":
            self.final_s += time.process_time() - began
        return dose


def planned(case: str, scatter: str, grid_mm: float, beamlet_mm: float) -> dict[str, Any]:
    """Plan a case, and compare what the planner knew with the dose of `compute_dose`."""
    began = time.process_time()
    plan, goals, prescribed = prepared(case, scatter, grid_mm, beamlet_mm)
    beamlets = time.process_time() - began
    updates = Updates(plan)
    began = time.process_time()
    result = GoalPlanner(plan, goals).optimize()
    took = time.process_time() - began
    full = np.asarray(pb.compute_dose(plan, progress=False))
    known = 0.0 if result.last_update_gy is None else 100 * result.last_update_gy / prescribed
    return {
        "beamlets_s": beamlets,
        "rounds_s": took - updates.final_s,
        "final_s": updates.final_s,
        "known_percent": known,
        "result_percent": 100 * largest_shift(np.asarray(result.dose), full, plan.structures) / prescribed,
        "met": sum(row.met for row in pb.evaluate(full, plan.structures, goals, grid=plan.grid)),
        "goals": len(result.goals),
        "rounds": len(result.rounds),
        "iterations": result.iterations,
        "nonzeros": int(plan.dose_influence.matrix.nnz),
    }


def square_field(side_cm: float, beamlet_mm: float, voxel_mm: float = 5.0) -> dict[str, float]:
    """Dose on the axis in cGy for a MU of the reference field: of the matrix, and with what is far from beamlets."""
    shape = (61, 61, 61)
    water = np.zeros(shape)
    origin = (-150.0, -100.0 + voxel_mm / 2, -150.0)
    half = 5 * side_cm
    x, y, z = np.meshgrid(*(o + voxel_mm * np.arange(n) for o, n in zip(origin, shape, strict=True)), indexing="ij")
    field = (np.abs(x) < half) & (np.abs(z) < half) & (np.abs(y) < voxel_mm)
    series = pb.Series(water, (voxel_mm,) * 3, origin, [pb.Structure("field", field, is_target=True)])
    plan = pb.Plan(series)
    plan.add_beam(gantry_angle=0.0, isocenter=(0.0, 0.0, 0.0))
    centers = (np.arange(round(10 * side_cm / beamlet_mm)) + 0.5) * beamlet_mm - half
    plan._beamlets_of = lambda *_: np.array([(x, y) for y in centers for x in centers])  # type: ignore[method-assign]
    plan.compute_dose_influence(beamlet_spacing_mm=beamlet_mm, scatter="full", progress=False)
    mu = calibrate(beamlet_mm, voxel_mm, options=DoseOptions(EngineChoice())).engine_mu(1.0)
    plan.beamlet_weights = np.full(plan.dose_influence.layout.n_beamlets, float(mu))
    near = plan.get_dose()
    plan.update_intermediate_dose()

    def on_axis(dose: Any) -> float:
        """Mean of the two voxels before and behind 10 cm of depth."""
        return float(100 * np.asarray(dose)[30, 19:21, 30].mean())

    with_far = plan.get_dose()
    whole = plan.dose_influence.whole_dose
    assert isinstance(whole, FieldDose)
    aperture = Rectangles([(-half, half)], [(-half, half)], [float(mu)])
    in_one = whole.engine.fluence_dose([(beam_view(plan.beams[0]), aperture)]) * whole.factor
    return {"near": on_axis(near), "with_far": on_axis(with_far), "aperture": on_axis(in_one)}


PLANS = (
    "| case | known | result | beamlets alone | goals met, full / beamlets | rounds, s | ratio | final dose, s | "
    "beamlets, s |"
)
FIELDS = "| field | 5 mm, near | 5 mm, with far part | 10 mm, near | 10 mm, with far part | one aperture |"


def row_of(case: str, full: dict[str, Any], plain: dict[str, Any]) -> str:
    """Compare two plans in a line of the first table."""
    cells = (
        case,
        f"{full['known_percent']:.2f} %",
        f"{full['result_percent']:.3f} %",
        f"{plain['result_percent']:.1f} %",
        f"{full['met']} / {plain['met']} of {full['goals']}",
        f"{full['rounds_s']:.1f} / {plain['rounds_s']:.1f}",
        f"{full['rounds_s'] / plain['rounds_s']:.2f}",
        f"{full['final_s']:.1f}",
        f"{full['beamlets_s']:.1f} / {plain['beamlets_s']:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> None:
    """Print both tables."""
    asked = study_parser(__doc__, (*CASES,)).parse_args(arguments)
    logging.disable(logging.INFO)
    found: dict[str, Any] = {"plans": {}, "fields": {}}
    lines = [PLANS, "| --- " * PLANS.count(" |") + "|"]
    for scatter in ("opentps", "full"):  # calibrations are measured once in a process
        prepared(TOY, scatter, asked.grid, asked.beamlet)
    for case in (*asked.cases, TOY):
        full, plain = (planned(case, scatter, asked.grid, asked.beamlet) for scatter in ("full", "opentps"))
        found["plans"][case] = {"full": full, "opentps": plain}
        lines.append(row_of(case, full, plain))
        print(lines[-1], flush=True)
    lines += ["", FIELDS, "| --- " * FIELDS.count(" |") + "|"]
    for side in FIELDS_CM:
        small, large = (square_field(side, size) for size in (5.0, 10.0))
        found["fields"][side] = {"5 mm": small, "10 mm": large}
        doses = (small["near"], small["with_far"], large["near"], large["with_far"], small["aperture"])
        lines.append(f"| {side} cm | {' | '.join(f'{dose:.4f}' for dose in doses)} |")
        print(lines[-1], flush=True)
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
