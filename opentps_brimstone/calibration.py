"""Monitor units that mean something: the dose engine's output in a reference field.

A MU of OpenTPS is a fluence in the units of its dose engine. What dose it gives is measured here as on a linac: an open
square field on water, the dose on its axis at a depth. The engine's dose depends on the size of the beamlets a field is
made of (it cuts each beamlet's dose off sideways) and on that of the voxels, by some percent, so the calibration is for
one size of either. Plans in OpenTPS's data classes carry engine MU, with which OpenTPS's own dose calculation agrees;
what leaves for a machine, and reports, carry `Calibration.machine_mu`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone.beamlet_cache import cache_root

__all__ = ["Calibration", "ReferenceField", "calibrate", "calibrate_plan"]

FloatArray = npt.NDArray[np.float64]

_FORMAT = 1


@dataclass(frozen=True)
class ReferenceField:
    """The field in water whose dose defines the MU.

    Attributes
    ----------
    field_mm : float
        Side of the square field in the isocentre plane.
    depth_mm : float
        Depth of the calibration point on the axis.
    sad_mm : float
        Distance of source and isocentre.
    ssd_mm : float
        Distance of source and water surface; by default the calibration point is the isocentre.
    gy_per_mu : float
        Dose that one MU of the machine gives at the point.
    """

    field_mm: float = 100.0
    depth_mm: float = 100.0
    sad_mm: float = 1000.0
    ssd_mm: float = math.nan
    gy_per_mu: float = 0.01

    def __post_init__(self) -> None:
        if math.isnan(self.ssd_mm):
            object.__setattr__(self, "ssd_mm", float(self.sad_mm - self.depth_mm))
        for name, unit in (
            ("field_mm", "mm"),
            ("depth_mm", "mm"),
            ("sad_mm", "mm"),
            ("ssd_mm", "mm"),
            ("gy_per_mu", "Gy"),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} of the reference field is {value:g} {unit}; it must be positive")
        if self.ssd_mm > self.sad_mm:
            raise ValueError(
                f"the water surface at {self.ssd_mm:g} mm lies beyond the isocentre at {self.sad_mm:g} mm; the dose "
                "engine needs the isocentre inside the tank"
            )

    def __str__(self) -> str:
        side = self.field_mm / 10
        return (
            f"{self.gy_per_mu * 100:g} cGy/MU in a {side:g} x {side:g} cm field, {self.depth_mm / 10:g} cm deep in "
            f"water, SSD {self.ssd_mm / 10:g} cm"
        )


@dataclass(frozen=True)
class Calibration:
    """What MU of the dose engine are worth.

    Attributes
    ----------
    gy_per_engine_mu : float
        Dose of one MU of the engine at the calibration point.
    beamlet_mm : (float, float)
        Size of the beamlets this is for.
    voxel_mm : (float, float, float)
        Size of the voxels this is for.
    reference : ReferenceField
    """

    gy_per_engine_mu: float
    beamlet_mm: tuple[float, float]
    voxel_mm: tuple[float, float, float]
    reference: ReferenceField = field(default_factory=ReferenceField)

    @property
    def factor(self) -> float:
        """Machine MU of one engine MU."""
        return self.gy_per_engine_mu / self.reference.gy_per_mu

    def machine_mu(self, engine_mu: npt.ArrayLike) -> Any:
        """Convert MU of OpenTPS's plan into those of the machine.

        Parameters
        ----------
        engine_mu : float or array_like

        Returns
        -------
        float or ndarray
        """
        return np.multiply(engine_mu, self.factor)

    def engine_mu(self, machine_mu: npt.ArrayLike) -> Any:
        """Convert MU of the machine into those of OpenTPS's plan.

        Parameters
        ----------
        machine_mu : float or array_like

        Returns
        -------
        float or ndarray
        """
        return np.divide(machine_mu, self.factor)

    def __str__(self) -> str:
        beamlet = " x ".join(f"{size:g}" for size in self.beamlet_mm)
        voxel = " x ".join(f"{size:g}" for size in self.voxel_mm)
        return (
            f"{self.reference}; 1 engine MU is {self.factor:.4f} MU with beamlets of {beamlet} mm "
            f"and voxels of {voxel} mm"
        )


def calibrate(
    beamlet_mm: float | tuple[float, float],
    voxel_mm: float | tuple[float, float, float],
    reference: ReferenceField | None = None,
    *,
    cache: bool = True,
    processes: int | None = None,
    progress: bool = False,
) -> Calibration:
    """Calibrate the dose engine for beamlets and voxels of a size.

    Parameters
    ----------
    beamlet_mm : float or (float, float)
        Beamlet size in x and y at the isocentre plane.
    voxel_mm : float or (float, float, float)
        Voxel size of the dose grid.
    reference : ReferenceField, optional
        Default: 10 × 10 cm², 10 cm deep at the isocentre, 1 cGy/MU.
    cache : bool
        Look the result up in the user's cache, and keep a new one there.
    processes, progress
        As for `opentps_brimstone.engine.compute_dose`.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If a size is not positive or the field is smaller than a beamlet or voxel.
    EngineError
        If the dose engine fails.
    """
    chosen = reference or ReferenceField()
    width, height = _sizes("beamlet", beamlet_mm, 2, chosen)
    dx, dy, dz = _sizes("voxel", voxel_mm, 3, chosen)
    # The dose of a machine's MU does not enter what the engine gives.
    question = {
        **{name: value for name, value in asdict(chosen).items() if name != "gy_per_mu"},
        "beamlet_mm": [width, height],
        "voxel_mm": [dx, dy, dz],
    }

    def measure() -> float:
        return _measured(chosen, (width, height), (dx, dy, dz), processes, progress)

    gy = _cached(question, measure) if cache else measure()
    return Calibration(gy, (width, height), (dx, dy, dz), chosen)


def calibrate_plan(photon_plan: Any, ct: Any, reference: ReferenceField | None = None, **options: Any) -> Calibration:
    """Calibrate the dose engine for the beamlets of a plan and the voxels of its CT.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        All its segments have beamlets of one size.
    ct : opentps CTImage
    reference : ReferenceField, optional
        By default that of `calibrate`, at the SAD of the plan.
    **options
        For `calibrate`.

    Returns
    -------
    Calibration

    Raises
    ------
    TypeError, ValueError
        If the plan cannot be optimised, or its segments have beamlets of different sizes.
    EngineError
        If the dose engine fails.
    """
    from opentps_brimstone.adapters.plan import validate_photon_plan, voxel_grid

    validate_photon_plan(photon_plan)
    sizes = {(float(s.xBeamletSpacing_mm), float(s.yBeamletSpacing_mm)) for s in photon_plan.beamSegments}
    if len(sizes) > 1:
        raise ValueError(
            f"the plan {photon_plan.name!r} has beamlets of different sizes, {sorted(sizes)} mm; a calibration is "
            "for one"
        )
    chosen = reference or ReferenceField(sad_mm=float(photon_plan.SAD_mm))
    return calibrate(sizes.pop(), voxel_grid(ct).spacing_mm, chosen, **options)


def _sizes(what: str, given: Any, count: int, reference: ReferenceField) -> tuple[float, ...]:
    sizes = tuple(float(size) for size in np.broadcast_to(np.asarray(given, dtype=np.float64), (count,)))
    if not all(math.isfinite(size) and 0 < size <= reference.field_mm / 2 for size in sizes):
        raise ValueError(
            f"the {what} size is {given} mm; a field of {reference.field_mm:g} mm is calibrated with sizes above 0 "
            f"and up to {reference.field_mm / 2:g} mm"
        )
    return sizes


def _measured(
    reference: ReferenceField,
    beamlet_mm: tuple[float, float],
    voxel_mm: tuple[float, float, float],
    processes: int | None,
    progress: bool,
) -> float:
    from opentps_brimstone.adapters.water import add_open_field, water_tank
    from opentps_brimstone.engine import compute_dose

    tank = water_tank(reference, voxel_mm)
    plan = add_open_field(tank, reference, beamlet_mm)
    dose = compute_dose(tank.ct, plan, calibration=tank.density_table, processes=processes, progress=progress)
    return tank.dose_at_point(dose)


# ---------------------------------------------------------------------------------------------------------- the cache


def _cached(question: dict[str, Any], measure: Callable[[], float]) -> float:
    """Return what was measured before with this engine, or measure and keep it."""
    text = json.dumps({"format": _FORMAT, "engine": _engine_digest(), **question}, sort_keys=True)
    path = cache_root() / "calibration" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(path.read_text(encoding="utf-8"))
        gy = float(known["gy_per_engine_mu"])
        if known["question"] == json.loads(text) and math.isfinite(gy) and gy > 0:
            return gy
    gy = measure()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not the result
        _write(path, json.dumps({"question": json.loads(text), "gy_per_engine_mu": gy}, indent=2))
    return gy


def _engine_digest() -> str:
    """Digest the engine and its kernels."""
    from opentps_brimstone.ccc_process import engine_file, kernel_folder

    digest = hashlib.sha256(engine_file().read_bytes())
    for path in sorted(kernel_folder().iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file such that no process ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix="unfinished-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
