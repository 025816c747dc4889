"""Doses of a plan's beams, spread over workers."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.progress import Progress, following
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone._util.threads import thread_count
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.ensembles.cluster import ClusterPool
from opentps_brimstone.ensembles.pool import WorkerPool
from opentps_brimstone.ensembles.results import EnsembleError
from opentps_brimstone.integration.plan_dose import compute_dose
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure

__all__ = ["spread_dose", "spread_dose_influence"]

_SERIES = "series.pickle"


@dataclass(frozen=True)
class _SeriesFiles:
    folder: Path


@dataclass(frozen=True)
class _BeamTask:
    """One beam of a plan, and what is computed of it."""

    files: _SeriesFiles
    number_of_fractions: int
    grid_mm: tuple[float, float, float]
    beam: Mapping[str, Any]
    options: Mapping[str, Any]
    layout: BeamletLayout | None = None
    weights: FloatArray | None = None

    def plan(self) -> Plan:
        plan = Plan(_series(self.files.folder), self.number_of_fractions, dose_grid_mm=self.grid_mm)
        plan.add_beam(**self.beam)
        return plan


def spread_dose_influence(
    plan: Plan,
    client: Any = None,
    target: Structure | str | Iterable[Structure | str] | None = None,
    beamlet_spacing_mm: float = 5.0,
    margin_mm: float = 5.0,
    *,
    workers: int | None = None,
    threads: int | None = None,
    progress: Progress = True,
    **options: Any,
) -> DoseInfluence:
    """Compute the beamlet doses of a plan's beams on workers, and gather them into one matrix.

    The plan has it afterwards; it is bitwise that of `Plan.compute_dose_influence`.

    Parameters
    ----------
    plan : Plan
        Made from a Series, with beams.
    client : dask.distributed.Client, optional
        Whose workers compute. Default: processes on this machine.
    target, beamlet_spacing_mm, margin_mm
        As for `Plan.compute_dose_influence`.
    workers, threads, progress
        As for `run_ensemble`; progress counts beams.
    **options
        ``engine``, ``kernels``, ``density_table``, ``overrides`` and ``cache`` of `Plan.compute_dose_influence`.

    Returns
    -------
    DoseInfluence

    Raises
    ------
    ValueError
        If the plan has no beams, or was not made from a Series; if full scatter is asked for, which is of all beams
        together.
    EnsembleError
        Naming a beam whose doses could not be computed.

    Examples
    --------
    >>> from opentps_brimstone.model.example import water_plan
    >>> plan = water_plan()
    >>> influence = spread_dose_influence(plan, None, beamlet_spacing_mm=20.0, workers=1, progress=False)
    >>> plan.dose_influence is influence
    True
    """
    asked_options = DoseOptions.from_keywords(**options)
    if asked_options.choice.scatter == "full":
        raise ValueError(
            "scatter='full' computes scatter from far away for all beams together: use Plan.compute_dose_influence"
        )
    if target is None:
        names = None
    else:
        several = [target] if isinstance(target, Structure | str) else list(target)
        names = [each if isinstance(each, str) else plan.own_structure(each).name for each in several]
    asked = {"target": names, "beamlet_spacing_mm": beamlet_spacing_mm, "margin_mm": margin_mm, **options}
    parts: list[tuple[sp.csc_matrix, BeamletLayout]] = _of_beams(
        plan, client, _beamlets, asked, workers, threads, progress
    )
    layouts = [layout for _, layout in parts]
    index = np.repeat(np.arange(len(parts)), [layout.n_beamlets for layout in layouts])
    layout = BeamletLayout(
        np.concatenate([each.xy_mm for each in layouts]), index, np.concatenate([each.spacing_mm for each in layouts])
    )
    influence = DoseInfluence(sp.hstack([matrix for matrix, _ in parts], format="csc"), plan.grid, layout)
    plan.set_dose_influence(influence, names)
    own = plan.density_overrides if asked_options.overrides is None else asked_options.overrides
    plan.dose_options = replace(asked_options, overrides=own)
    return influence


def spread_dose(
    plan: Plan,
    client: Any = None,
    *,
    workers: int | None = None,
    threads: int | None = None,
    progress: Progress = True,
    **options: Any,
) -> DoseArray:
    """Recalculate the dose of a plan's beamlet weights, its beams spread over workers.

    Parameters
    ----------
    plan : Plan
        Made from a Series, with beamlet weights.
    client, workers, threads, progress
        As for `spread_dose_influence`.
    **options
        ``scatter``, ``kernels``, ``beam_model``, ``density_table`` and ``overrides`` of `compute_dose`.

    Returns
    -------
    DoseArray, shape (nx, ny, nz)
        Gy over all fractions: that of `compute_dose`, up to rounding in the sum of the beams.

    Raises
    ------
    ValueError
        If the plan has no weights, or was not made from a Series.
    EnsembleError
        Naming a beam whose dose could not be computed.

    Examples
    --------
    >>> from opentps_brimstone.model.example import water_plan
    >>> plan = water_plan()
    >>> plan.beamlet_weights = [1.0] * plan.dose_influence.layout.n_beamlets
    >>> spread_dose(plan, workers=1, progress=False).grid == plan.grid
    True
    """
    if plan.beamlet_weights is None:
        raise ValueError("the plan has no beamlet weights yet: set beamlet_weights, or optimize it")
    doses: list[FloatArray] = _of_beams(plan, client, _dose, options, workers, threads, progress)
    total = np.zeros(plan.grid.shape)
    for dose in doses:
        total += dose
    return DoseArray(total, plan.grid)


def _of_beams(
    plan: Plan,
    client: Any,
    function: Callable[[_BeamTask], Any],
    options: Mapping[str, Any],
    workers: int | None,
    threads: int | None,
    progress: Progress,
) -> list[Any]:
    """Run a function on each beam of a plan; the results are in the order of the beams."""
    if plan.series is None or plan.source is not None:
        raise ValueError("this plan came with its dose influence; its beams' doses cannot be computed again")
    if not plan.beams:
        raise ValueError("the plan has no beams: add some with add_beam")
    count = min(thread_count(workers, "workers"), len(plan.beams))
    each = threads or (1 if client is not None else max(1, thread_count() // count))
    answers: dict[int, Any] = {}
    pool = WorkerPool(count) if client is None else ClusterPool(client)
    with tempfile.TemporaryDirectory(prefix="brimstone-", ignore_cleanup_errors=True) as folder, pool:
        Path(folder, _SERIES).write_bytes(pickle.dumps(plan.series, protocol=pickle.HIGHEST_PROTOCOL))
        tasks = _tasks(plan, Path(folder), {"processes": each, "progress": False, **options})
        if function is _dose:
            tasks = _with_weights(plan, tasks)
        with following(progress, len(tasks), "beams", "beam") as report:
            for answer in pool.run(function, tasks):
                if isinstance(answer.value, BaseException):
                    name = plan.beams[answer.number].name
                    raise EnsembleError(f"the dose of {name} could not be computed: {answer.value}") from answer.value
                answers[answer.number] = answer.value
                if not report(len(answers)):
                    raise EnsembleError(f"stopped after {len(answers)} of {len(tasks)} beams")
    return [answers[number] for number in range(len(tasks))]


def _tasks(plan: Plan, folder: Path, options: Mapping[str, Any]) -> list[_BeamTask]:
    return [
        _BeamTask(
            _SeriesFiles(folder),
            plan.number_of_fractions,
            plan.grid.spacing_mm,
            {
                "gantry_angle": beam.gantry_angle,
                # Of beamlets, the targets may be others than before.
                "isocenter": beam.given_isocenter,
                "couch_angle": beam.couch_angle,
                "collimator_angle": beam.collimator_angle,
                "name": beam.name,
            },
            options,
        )
        for beam in plan.beams
    ]


def _with_weights(plan: Plan, tasks: Sequence[_BeamTask]) -> list[_BeamTask]:
    index = plan.dose_influence.layout.beam_index
    made = []
    for number, (beam, task) in enumerate(zip(plan.beams, tasks, strict=True)):
        own = np.zeros(int((index == number).sum()), dtype=np.int64)
        layout = BeamletLayout(beam.beamlet_xy_mm, own, np.array([beam.beamlet_spacing_mm]))
        at = {**task.beam, "isocenter": beam.isocenter}
        made.append(replace(task, beam=at, layout=layout, weights=beam.beamlet_weights))
    return made


def _beamlets(task: _BeamTask) -> tuple[sp.csc_matrix, BeamletLayout]:
    with silent_opentps():
        influence = task.plan().compute_dose_influence(**task.options)
    return influence.matrix, influence.layout


def _dose(task: _BeamTask) -> FloatArray:
    plan = task.plan()
    assert task.layout is not None
    nothing = sp.csc_matrix((plan.grid.n_voxels, task.layout.n_beamlets), dtype=np.float32)
    plan.set_dose_influence(DoseInfluence(nothing, plan.grid, task.layout))
    assert task.weights is not None
    plan.beamlet_weights = task.weights
    with silent_opentps():
        return np.asarray(compute_dose(plan, **task.options))


@lru_cache(maxsize=1)
def _series(folder: Path) -> Series:
    series: Series = pickle.loads((folder / _SERIES).read_bytes())  # noqa: S301  # from the process that asks
    return series
