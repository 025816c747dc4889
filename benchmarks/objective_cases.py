"""Cases with objectives as users type them in OpenTPS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from opentps_brimstone.model.influence import VoxelGrid
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.phantoms import AIR_HU, PHANTOMS, WATER_HU, Phantom, centered_grid, make_phantom

__all__ = ["CASES", "Case", "Typed"]

TARGET_WEIGHT, ORGAN_WEIGHT, BODY_WEIGHT = 1.0, 0.1, 0.1  # of TG-119's goals, as in tg119_opentps.py


@dataclass(frozen=True)
class Typed:
    """An objective: metric, ROI, limit in Gy, weight, and the share of the volume that DVHMax is about."""

    metric: str
    roi: str
    limit_gy: float
    weight: float = 1.0
    volume: float = 1.0

    def __str__(self) -> str:
        share = f" {100 * self.volume:g} %" if self.metric == "DVHMax" else ""
        return f"{self.roi} {self.metric}{share} {self.limit_gy:g} Gy, weight {self.weight:g}"

    def value(self, dose: np.ndarray, inside: np.ndarray) -> float:
        """What a dose has for it."""
        doses = np.sort(dose[inside])
        if self.metric == "DMin":
            return float(doses[0])
        if self.metric == "DMax":
            return float(doses[-1])
        if self.metric == "DMean":
            return float(doses.mean())
        return float(doses[max(len(doses) - 1 - int(self.volume * len(doses)), 0)])

    def miss(self, value: float) -> float:
        """By how many Gy a value misses it, 0 if it meets it."""
        return max(0.0, self.limit_gy - value if self.metric == "DMin" else value - self.limit_gy)


@dataclass(frozen=True)
class Case:
    """A patient, beams, and what is typed.

    Attributes
    ----------
    name : str
    make : callable
        Returns the phantom and the objectives.
    beamlet_mm : float
    tuned : bool
        Whether the constants of the translation were chosen on it.
    """

    name: str
    make: Callable[[], tuple[Phantom, list[Typed]]]
    beamlet_mm: float
    tuned: bool = False


def _phantom(
    name: str, grid: VoxelGrid, body: np.ndarray, structures: list[Structure], angles: Any, prescription_gy: float
) -> Phantom:
    target = next(each for each in structures if each.is_target)
    center = np.argwhere(target.mask).mean(axis=0) * grid.spacing_mm + grid.origin_mm
    x, y, z = (float(value) for value in center)
    return Phantom(
        name=name,
        title=name,
        ct_hu=np.where(body, WATER_HU, AIR_HU),
        grid=grid,
        structures=tuple(structures),
        gantry_angles=tuple(float(angle) for angle in angles),
        isocenter_mm=(x, y, z),
        prescription_gy=prescription_gy,
        number_of_fractions=1,
        goals=(),
        target_margin_mm=5.0,
    )


def _coordinates(grid: VoxelGrid) -> tuple[np.ndarray, ...]:
    axes = (
        origin + step * np.arange(n)
        for origin, step, n in zip(grid.origin_mm, grid.spacing_mm, grid.shape, strict=True)
    )
    return tuple(np.meshgrid(*axes, indexing="ij"))


# ------------------------------------------------------------------------------------------------- the cases


def opentps_example() -> tuple[Phantom, list[Typed]]:
    """OpenTPS's photon example: a cube in water, two beams, a minimum above the maximum; voxels of 2 mm, not of 1."""
    grid = VoxelGrid((75, 75, 75), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    body = np.zeros(grid.shape, dtype=bool)
    body[:, 25:, :] = True
    cube = np.zeros(grid.shape, dtype=bool)
    cube[50:60, 50:60, 50:60] = True
    phantom = _phantom("OpenTPS's example", grid, body, [Structure("TV", cube, is_target=True)], (0, 90), 20.0)
    return phantom, [Typed("DMax", "TV", 20.0), Typed("DMin", "TV", 20.5)]


def sphere(n_beams: int, organ_weight: float = 10.0) -> tuple[Phantom, list[Typed]]:
    """A sphere and an organ beside it in a cylinder, with weights as typed in the window."""
    grid = VoxelGrid((40, 40, 20), (5.0, 5.0, 5.0), (-97.5, -97.5, -47.5))
    x, y, z = _coordinates(grid)
    body = x**2 + y**2 < 80**2
    structures = [
        Structure("PTV", x**2 + y**2 + z**2 < 25**2, is_target=True),
        Structure("OAR", (x**2 + (y - 42) ** 2 < 12**2) & (abs(z) < 35)),
        Structure("BODY", body),
    ]
    angles = np.arange(n_beams) * 360 / n_beams
    typed = [
        Typed("DMin", "PTV", 60.0, 100.0),
        Typed("DMax", "PTV", 63.0, 100.0),
        Typed("DMax", "OAR", 20.0, organ_weight),
        Typed("DMax", "BODY", 60.0, 1.0),
    ]
    return _phantom(f"sphere, {n_beams} beams", grid, body, structures, angles, 60.0), typed


def tg119(name: str) -> tuple[Phantom, list[Typed]]:
    """A case of TG-119 with its goals as objectives."""
    phantom = make_phantom(name, 5.0)
    typed = []
    for structure in phantom.structures:
        goals = [goal for goal in phantom.goals if goal.structure == structure.name]
        if structure.is_target:
            low = max(goal.value for goal in goals if goal.relation == ">=")
            high = min(goal.value for goal in goals if goal.relation == "<=")
            typed += [
                Typed("DMin", structure.name, round(1.01 * low, 2), TARGET_WEIGHT),
                Typed("DMax", structure.name, round(0.99 * high, 2), TARGET_WEIGHT),
            ]
            continue
        for goal in goals:
            metric = goal.metric.name
            if metric == "Dmax":
                typed.append(Typed("DMax", structure.name, goal.value, ORGAN_WEIGHT))
            else:
                typed.append(Typed("DVHMax", structure.name, goal.value, ORGAN_WEIGHT, float(metric[1:]) / 100))
        if not goals:
            typed.append(Typed("DMax", structure.name, phantom.prescription_gy, BODY_WEIGHT))
    return phantom, typed


def drawn(seed: int) -> tuple[Phantom, list[Typed]]:
    """A case drawn at random: an ellipsoidal target, two organs beside it, beams, limits and weights."""
    chance = np.random.default_rng(seed)
    grid = centered_grid((150.0, 120.0, 70.0), 10.0, 5.0)
    x, y, z = _coordinates(grid)
    body = (x / 75) ** 2 + (y / 60) ** 2 < 1
    center = chance.uniform(-20, 20, 2)
    axes = chance.uniform(14, 26, 3)

    def ellipsoid(at: np.ndarray, half: np.ndarray) -> np.ndarray:
        distance: np.ndarray = ((x - at[0]) / half[0]) ** 2 + ((y - at[1]) / half[1]) ** 2 + (z / half[2]) ** 2
        return distance < 1

    target = ellipsoid(center, axes)
    structures = [Structure("PTV", target, is_target=True)]
    prescription = float(chance.choice([30.0, 50.0, 66.0]))
    typed = [
        Typed("DMin", "PTV", prescription, float(chance.choice([1.0, 5.0, 20.0]))),
        Typed("DMax", "PTV", round(1.06 * prescription, 2), float(chance.choice([1.0, 5.0, 20.0]))),
    ]
    for name in ("left organ", "right organ"):
        angle = chance.uniform(0, 2 * np.pi)
        at = center + (axes[:2].mean() + chance.uniform(10, 22)) * np.array([np.cos(angle), np.sin(angle)])
        organ = ellipsoid(at, chance.uniform(8, 16, 3)) & ~target & body
        structures.append(Structure(name, organ))
        share, weight = chance.uniform(0.3, 0.6), float(chance.choice([0.5, 1.0, 5.0]))
        typed.append(Typed("DMax", name, round(share * prescription, 1), weight))
        if chance.random() < 0.5:
            typed.append(Typed("DMean", name, round(0.4 * share * prescription, 1), weight))
    structures.append(Structure("BODY", body))
    typed.append(Typed("DMax", "BODY", round(1.06 * prescription, 2), 1.0))
    angles = np.sort(chance.choice(np.arange(0, 360, 20), int(chance.integers(4, 8)), replace=False))
    return _phantom(f"random {seed}", grid, body, structures, angles, prescription), typed


CASES = (
    Case("sphere, 3 beams", lambda: sphere(3), 10.0, tuned=True),
    Case("sphere, 9 beams", lambda: sphere(9), 5.0, tuned=True),
    Case("random 1", lambda: drawn(1), 7.0, tuned=True),
    Case("random 2", lambda: drawn(2), 7.0, tuned=True),
    Case("random 3", lambda: drawn(3), 7.0),
    Case("random 4", lambda: drawn(4), 7.0),
    Case("OpenTPS's example", opentps_example, 5.0),
    Case("random 5", lambda: drawn(5), 7.0),
    Case("random 6", lambda: drawn(6), 7.0),
    *(
        Case(f"TG-119 {name}", partial(tg119, name), 10.0, tuned=name in ("head-neck", "c-shape", "c-shape-hard"))
        for name in PHANTOMS
    ),
)
