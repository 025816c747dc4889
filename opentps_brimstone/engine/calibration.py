"""Calibration of monitor units: the dose engine's output in a reference field.

A MU of OpenTPS is a fluence in the units of its dose engine. Its dose is measured here as on a linac: an open square
field on water, the dose on its axis at a depth. The engine's dose depends by a few percent on the size of the beamlets
that a field is made of (it cuts off each beamlet's dose at the sides) and of the voxels, so a calibration is for one
size of both. Plans in OpenTPS's data classes have engine MU, with which OpenTPS's own dose calculation agrees; plan
files and reports have `Calibration.machine_mu`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone.adapters.plan import validate_photon_plan, voxel_grid
from opentps_brimstone.adapters.versions import source_distance_mm
from opentps_brimstone.engine.cache import cache_root
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.collapsed_cones import BeamView, ConeEngine
from opentps_brimstone.engine.collimation import LeafOpening
from opentps_brimstone.engine.ct_input import mass_density
from opentps_brimstone.engine.kernel_tables import kernel_digest, kernel_folder
from opentps_brimstone.engine.monitor_units import Calibration
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.engine.process import engine_file
from opentps_brimstone.engine.reference_field import ReferenceField

if TYPE_CHECKING:
    from opentps_brimstone._util.run_options import RunOptions
    from opentps_brimstone.engine.beam_model import BeamModel
    from opentps_brimstone.engine.water_tank import WaterTank

__all__ = ["Calibration", "ReferenceField", "calibrate", "calibrate_plan"]


_FORMAT = 1


def calibrate(
    beamlet_mm: float | tuple[float, float],
    voxel_mm: float | tuple[float, float, float],
    reference: ReferenceField | None = None,
    options: DoseOptions | None = None,
) -> Calibration:
    """Calibrate the dose engine for a size of beamlets and voxels.

    Parameters
    ----------
    beamlet_mm : float or (float, float)
        Beamlet size in x and y at the isocenter plane.
    voxel_mm : float or (float, float, float)
        Voxel size of the dose grid.
    reference : ReferenceField, optional
        Default: 10 × 10 cm², 10 cm deep at the isocenter, 1 cGy/MU.
    options : DoseOptions, optional
        What computes doses; densities are those of the tank. With ``scatter="full"`` the size of beamlets makes no
        difference. With a cache, what OpenTPS's program gives is looked up in the user's, and a new result stored
        there; this package's engine measures once in a process.

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
    # The engine's dose does not depend on the dose per machine MU.
    question = {
        **{name: value for name, value in asdict(chosen).items() if name != "gy_per_mu"},
        "beamlet_mm": [width, height],
        "voxel_mm": [dx, dy, dz],
    }
    options = options or DoseOptions()

    def measure() -> float:
        return _measured(chosen, (width, height), (dx, dy, dz), options)

    if options.choice.is_native:
        gy = _remembered((chosen, (width, height), (dx, dy, dz), options.choice), measure)
    else:
        gy = _cached(question, measure) if options.run.cache else measure()
    return Calibration(gy, (width, height), (dx, dy, dz), chosen, options.choice)


def calibrate_plan(
    photon_plan: Any, ct: Any, reference: ReferenceField | None = None, options: DoseOptions | None = None
) -> Calibration:
    """Calibrate the dose engine for the beamlets of a plan and the voxels of its CT.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        All its segments have beamlets of one size.
    ct : opentps CTImage
    reference : ReferenceField, optional
        By default that of `calibrate`, at the SAD of the plan.
    options : DoseOptions, optional
        As for `calibrate`.

    Returns
    -------
    Calibration

    Raises
    ------
    TypeError, ValueError
        If the plan cannot be optimized, or its segments have beamlets of different sizes.
    EngineError
        If the dose engine fails.
    """
    validate_photon_plan(photon_plan)
    sizes = {(float(s.xBeamletSpacing_mm), float(s.yBeamletSpacing_mm)) for s in photon_plan.beamSegments}
    if len(sizes) > 1:
        raise ValueError(
            f"the plan {photon_plan.name!r} has beamlets of different sizes, {sorted(sizes)} mm; a calibration is "
            "for one"
        )
    chosen = reference or ReferenceField(sad_mm=source_distance_mm(photon_plan))
    return calibrate(sizes.pop(), voxel_grid(ct).spacing_mm, chosen, options)


def engine_mu_in_full_scatter(
    beamlet_mm: float | tuple[float, float],
    voxel_mm: float | tuple[float, float, float],
    reference: ReferenceField,
    options: DoseOptions,
) -> float:
    """MU of full scatter that give the reference field the dose of one engine MU, which is one of OpenTPS's beamlets.

    Parameters
    ----------
    beamlet_mm, voxel_mm, reference
        As for `calibrate`.
    options : DoseOptions
        With full scatter.

    Returns
    -------
    float
    """
    here = calibrate(beamlet_mm, voxel_mm, reference, options)
    as_planned = replace(options, choice=EngineChoice(kernels=options.choice.kernels))
    return calibrate(beamlet_mm, voxel_mm, reference, as_planned).factor / here.factor


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
    options: DoseOptions,
) -> float:
    from opentps_brimstone.engine.compute import photon_dose
    from opentps_brimstone.engine.water_tank import MARGIN_MM, add_open_field, water_tank

    tank = water_tank(reference, voxel_mm, MARGIN_MM[options.choice.scatter])
    if options.choice.machine is not None:
        return _measured_between_jaws(tank, reference, options.choice.machine, options.run)
    plan = add_open_field(tank, reference, beamlet_mm)
    in_water = replace(options, density_table=tank.density_table, overrides=None)
    dose = photon_dose(tank.ct, plan, in_water.running(cache=False))
    return tank.dose_at_point(dose)


def _measured_between_jaws(tank: WaterTank, reference: ReferenceField, model: BeamModel, run: RunOptions) -> float:
    """Dose of one MU of a machine whose jaws make the reference field."""
    from opentps_brimstone.adapters.images import ct_image

    grid = voxel_grid(tank.ct)
    engine = ConeEngine(
        mass_density(tank.ct.imageArray, tank.density_table, None),
        grid,
        scatter="full",
        beam_model=model,
        threads=run.threads,
    )
    view = BeamView.from_angles((0.0, 0.0, 0.0), tank.isocenter_mm, reference.sad_mm)
    jaws = (-reference.field_mm / 2, reference.field_mm / 2)
    retracted = np.array([[-1.0, 1.0]]) * model.collimator.largest_field_mm / 2
    opened = LeafOpening(retracted, retracted, jaws, jaws, 1.0).fluence(model.collimator)
    return tank.dose_at_point(ct_image(engine.fluence_dose([(view, opened)]), grid, "dose"))


# ---------------------------------------------------------------------------------------------------------- the cache


_measured_here: dict[Any, float] = {}


def _remembered(question: tuple[Any, ...], measure: Callable[[], float]) -> float:
    """Return what this process measured before with the same kernels, or measure."""
    choice: EngineChoice = question[-1]
    key = (*question, kernel_digest(choice.kernels if choice.machine is None else choice.machine.kernels))
    if key not in _measured_here:
        _measured_here[key] = measure()
    return _measured_here[key]


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
    with contextlib.suppress(OSError):  # without a cache it only takes longer
        _write(path, json.dumps({"question": json.loads(text), "gy_per_engine_mu": gy}, indent=2))
    return gy


def _engine_digest() -> str:
    """SHA-256 digest of the engine and its kernels."""
    digest = hashlib.sha256(engine_file().read_bytes())
    for path in sorted(kernel_folder().iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file so that no process ever sees a partial one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(prefix="unfinished-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
