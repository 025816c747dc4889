"""Recording the course of an optimization."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.optimization.callbacks.base import OptimizationCallback

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.prescription import Prescription
    from opentps_brimstone.optimization.result import OptimizationResult

__all__ = ["Recorder"]

DVH = tuple[FloatArray, FloatArray]

_EVERY_ITERATION = ("iteration", "level", "cost", "gradient_norm", "time_s")
_DVH_POINTS = 500


class Recorder(OptimizationCallback):
    """Records the course of an optimization, and snapshots of dose, DVHs and weights at regular iterations.

    A snapshot is taken at the first iteration, at every multiple of `every`, and of the result. Its dose is that of the
    snapshot's beamlet weights in all voxels, with or without an objective. Every optimization starts a new history; in
    one resumed from a checkpoint, iterations keep their numbers.

    Parameters
    ----------
    every : int
        Iterations from snapshot to snapshot.
    doses, dvhs, weights : bool
        Contents of a snapshot.

    Attributes
    ----------
    history : dict
        For every iteration: lists ``iteration``, ``level``, ``cost``, ``gradient_norm`` and ``time_s``.
        For every snapshot: lists ``snapshot_iteration``, ``doses`` (float32 arrays of shape (nx, ny, nz), Gy over all
        fractions) and ``weights`` (arrays of shape (n_beamlets,), MU per fraction), and ``dvhs``, a dict from the name
        of each structure on the dose grid to the list of its cumulative DVHs (Gy, volume share).

    Raises
    ------
    ValueError
        If `every` is less than 1.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.optimization.example import three_voxel_optimizer
    >>> optimizer = three_voxel_optimizer()  # of a target that is to get 9 to 11 Gy
    >>> recorder = pb.Recorder(every=5, dvhs=True, weights=True)
    >>> result = optimizer.optimize(callback=recorder)
    >>> len(recorder.history["cost"]) == result.iterations
    True
    >>> recorder.history["snapshot_iteration"][:2]
    [1, 5]
    >>> dose_gy, volume = recorder.history["dvhs"]["PTV"][-1]
    """

    def __init__(self, every: int = 1, *, doses: bool = False, dvhs: bool = False, weights: bool = False) -> None:
        if int(every) != every or every < 1:
            raise ValueError(f"snapshots are taken every {every!r} iterations; it must be a whole number from 1")
        self.every = int(every)
        self._keeps = {"doses": doses, "dvhs": dvhs, "weights": weights}
        self._plan: Plan | None = None
        self._prescription: Prescription | None = None
        self._restart()

    def _restart(self) -> None:
        self.history: dict[str, Any] = {name: [] for name in _EVERY_ITERATION}
        self.history |= {"snapshot_iteration": [], "doses": [], "weights": [], "dvhs": {}}
        self._started = time.perf_counter()

    def on_start(self, plan: Plan, prescription: Prescription) -> None:
        """Start a new history."""
        self._plan, self._prescription = plan, prescription
        self._restart()

    def on_iteration(
        self,
        iteration: int,
        level: int,
        cost: float,
        gradient_norm: float,
        beamlet_weights: FloatArray,
        dose: FloatArray,
    ) -> bool:
        """Record an iteration; True, as a recorder never stops."""
        entry = (iteration, level, cost, gradient_norm, time.perf_counter() - self._started)
        for name, value in zip(_EVERY_ITERATION, entry, strict=True):
            self.history[name].append(value)
        if len(self.history["iteration"]) == 1 or iteration % self.every == 0:
            self._snapshot(iteration, beamlet_weights, dose)
            self._on_snapshot()
        return True

    def _on_snapshot(self) -> None:
        """Do nothing; a subclass may show the snapshot of an iteration."""

    def on_end(self, result: OptimizationResult) -> None:
        """Record the result, unless the last snapshot is of it."""
        taken = self.history["snapshot_iteration"]
        if not taken or taken[-1] != result.iterations:
            self._snapshot(result.iterations, result.beamlet_weights, result.dose)

    def _snapshot(self, iteration: int, weights: FloatArray, dose: FloatArray) -> None:
        if not any(self._keeps.values()):
            return
        self.history["snapshot_iteration"].append(iteration)
        if self._keeps["weights"]:
            self.history["weights"].append(np.array(weights))
        if not (self._keeps["doses"] or self._keeps["dvhs"]):
            return
        plan = self._plan
        whole = dose if plan is None else plan.dose_of(weights)
        if self._keeps["doses"]:
            self.history["doses"].append(np.array(whole, dtype=np.float32))
        if self._keeps["dvhs"] and plan is not None:
            for structure in plan.structures:
                if structure.is_on_grid:
                    self.history["dvhs"].setdefault(structure.name, []).append(_dvh(whole, structure))

    def __repr__(self) -> str:
        taken = len(self.history["snapshot_iteration"])
        return f"{type(self).__name__}({len(self.history['iteration'])} iterations, {taken} snapshots)"


def _dvh(dose: FloatArray, structure: Structure) -> DVH:
    from opentps_brimstone.evaluation import cumulative_dvh

    doses, volumes = structure.sample(dose)
    axis = np.linspace(0.0, float(doses.max()) * 1.01, _DVH_POINTS)
    return axis, cumulative_dvh(doses, volumes, axis)
