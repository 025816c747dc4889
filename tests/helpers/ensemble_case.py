"""A small plan and variants of it, and terms that only tests have."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from problems import random_plan

import opentps_brimstone as pb

RANGE_GY = (48.0, 52.0)


class Failing(pb.ObjectiveTerm):
    """Cannot be evaluated."""

    def evaluate(self, dose, share):
        """Fail."""
        raise ArithmeticError("no value today")


class EndsItsProcess(pb.ObjectiveTerm):
    """Kills the process that evaluates it, as long as a file is not there; it makes the file first."""

    def __init__(self, once: str) -> None:
        super().__init__()
        self.once = once

    def evaluate(self, dose, share):
        """Kill the process, or cost nothing."""
        if self.once != "never" and not Path(self.once).exists():
            Path(self.once).touch()
            os.kill(os.getpid(), 9)
        if self.once == "never":
            os.kill(os.getpid(), 9)
        return 0.0, np.zeros_like(dose)


class Slow(pb.ObjectiveTerm):
    """Takes its time, and costs nothing."""

    def evaluate(self, dose, share):
        """Wait."""
        time.sleep(0.0005)
        return 0.0, np.zeros_like(dose)


def ensemble_plan() -> pb.Plan:
    """Three beams on a target beside an organ, in five fractions."""
    return random_plan(3, number_of_fractions=5)


def objectives(organ_weight: float = 0.5, *more: tuple[str, pb.ObjectiveTerm]) -> list[tuple[str, pb.ObjectiveTerm]]:
    """Ask for a dose in the target and little elsewhere."""
    return [
        ("PTV", pb.KLDivergenceTerm(dose_range=RANGE_GY)),
        ("organ", pb.KLDivergenceTerm(dvh=[(0, 1), (20, 0.4), (40, 0)], weight=organ_weight)),
        ("body", pb.KLDivergenceTerm(dvh=[(0, 1), (15, 0.4), (48, 0)], weight=0.1)),
        *more,
    ]


def variants(count: int) -> list[dict[str, object]]:
    """Vary the organ's weight."""
    return [{"objectives": objectives(weight)} for weight in np.geomspace(0.05, 5.0, count)]


def one_after_another(plan: pb.Plan, asked: list[dict[str, object]]) -> list[np.ndarray]:
    """Beamlet weights of variants, found in this process."""
    found = []
    for variant in asked:
        optimizer = pb.PlanOptimizer(plan, variant.get("settings"))
        for name, term in variant["objectives"]:
            optimizer.add_objective(plan.structures[name], term)
        result = optimizer.optimize(variant.get("initial_weights"), beams=variant.get("beams"))
        found.append(result.beamlet_weights)
    return found
