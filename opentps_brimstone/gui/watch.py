"""What a run tells while it runs: kept by the worker's thread, read by the window's, and played back later."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.engine.errors import DoseCanceledError
from opentps_brimstone.optimization.callbacks import OptimizationCallback

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.model.structure import Structure
    from opentps_brimstone.optimization.prescription import Prescription

__all__ = ["Frame", "Watch", "dvh_on", "dvh_sampler"]

_BINS = 240
_MOST_FRAMES = 2000
# Time after which a pace is known well enough to tell when doses will be there.
_LEAST_PACE_S = 1.0


@dataclass(frozen=True)
class Frame:
    """One moment of a run.

    Attributes
    ----------
    iteration, level : int
    cost : float
    dose_gy : ndarray, shape (n,)
        Doses of the DVHs.
    dvhs : dict of str to ndarray, shape (n,)
        Share of each structure's volume that gets at least these doses.
    plane : ndarray, shape (nx, ny)
        Dose in the slice that is shown, Gy.
    """

    iteration: int
    level: int
    cost: float
    dose_gy: FloatArray
    dvhs: dict[str, FloatArray]
    plane: FloatArray


class dvh_sampler:  # noqa: N801  # used like a function
    """Reads the DVH of one structure off a dose, quickly and on fixed doses.

    Parameters
    ----------
    structure : Structure
    highest_gy : float
        End of the doses.
    bins : int
    """

    def __init__(self, structure: Structure, highest_gy: float, bins: int = _BINS) -> None:
        share = np.asarray(structure.share).ravel()
        self._voxels = np.flatnonzero(share)
        self._share = share[self._voxels] / share.sum()
        self._bins = bins
        self._scale = bins / highest_gy
        self.dose_gy: FloatArray = np.linspace(0.0, highest_gy, bins + 1)

    def __call__(self, dose: FloatArray) -> FloatArray:
        """Share of the volume that gets at least each of `dose_gy`, shape (bins + 1,)."""
        numbers = (np.asarray(dose).ravel()[self._voxels] * self._scale).astype(np.int64)
        np.clip(numbers, 0, self._bins, out=numbers)
        counts = np.bincount(numbers, weights=self._share, minlength=self._bins + 1)
        above: FloatArray = np.cumsum(counts[::-1])[::-1]
        return np.minimum(above, 1.0)


def dvh_on(structure: Structure, dose: FloatArray, highest_gy: float) -> tuple[FloatArray, FloatArray]:
    """Sample a structure's DVH on evenly spaced doses.

    Parameters
    ----------
    structure : Structure
    dose : ndarray, shape (nx, ny, nz)
        Gy.
    highest_gy : float
        End of the doses.

    Returns
    -------
    dose_gy, share : ndarray, shape (n,)
    """
    sampler = dvh_sampler(structure, highest_gy)
    return sampler.dose_gy, sampler(dose)


class Watch(OptimizationCallback):
    """Keeps what a run went through, and stops it.

    Dose is read at most every `interval_s`, because it is computed only when it is read.

    Parameters
    ----------
    highest_gy : float
        End of the DVHs' doses.
    plane : int, optional
        Number of the axial slice that is shown; by default the middle of the targets.
    interval_s : float
        From frame to frame.
    """

    def __init__(self, highest_gy: float, plane: int | None = None, interval_s: float = 0.05) -> None:
        self.frames: list[Frame] = []
        self.costs: list[tuple[int, float]] = []
        self.progress: tuple[int, int] | None = None
        self._pace: tuple[int, float, int, float] | None = None  # done and when: at first, and last
        self._highest_gy = highest_gy
        self._plane = plane
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._samplers: dict[str, dvh_sampler] = {}
        self._last_s = -1e9

    # ------------------------------------------------------------------------------------------ the window's side

    def stop(self) -> None:
        """Ask the run to end as soon as it can."""
        self._stop.set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stop.is_set()

    @property
    def last(self) -> Frame | None:
        """The latest moment."""
        return self.frames[-1] if self.frames else None

    def time_left(self) -> str:
        """Say in words how long computing doses will still take, as ", about 40 s left".

        Returns
        -------
        str
            Empty if nobody can tell yet.
        """
        pace, progress = self._pace, self.progress
        if pace is None or progress is None:
            return ""
        first, began, done, now = pace
        if done <= first or now - began < _LEAST_PACE_S:
            return ""
        left = (now - began) / (done - first) * (progress[1] - done) - (time.perf_counter() - now)
        return f", about {_duration(max(left, 1.0))} left"

    # ------------------------------------------------------------------------------------------ the worker's side

    def on_progress(self, done: int, total: int) -> bool:
        """Hear how many beamlets are computed.

        Returns
        -------
        bool
            False once the run is to end.
        """
        now, known = time.perf_counter(), self.progress
        begins = self._pace is None or known is None or known[1] != total or done < known[0]
        first, began = (done, now) if begins or self._pace is None else self._pace[:2]
        self._pace = first, began, done, now
        self.progress = (done, total)
        return not self.is_stopping

    def check(self) -> None:
        """Raise `DoseCanceledError` if the run was stopped."""
        if self.is_stopping:
            raise DoseCanceledError("stopped before there was a plan")

    def on_start(self, plan: Plan, prescription: Prescription) -> None:  # noqa: ARG002
        """Prepare to read the DVHs of the structures that something is asked of."""
        structures: dict[int, Structure] = {
            id(term.structure): term.structure for term in prescription.objectives if term.structure is not None
        }
        self._samplers = {each.name: dvh_sampler(each, self._highest_gy) for each in structures.values()}
        if self._plane is None:
            self._plane = middle_plane([each for each in structures.values() if each.is_target])

    def on_iteration(
        self,
        iteration: int,  # noqa: ARG002  # begins anew where worst voxels are guarded
        level: int,
        cost: float,
        gradient_norm: float,  # noqa: ARG002
        beamlet_weights: FloatArray,  # noqa: ARG002
        dose: FloatArray,
    ) -> bool:
        """Keep a moment.

        Returns
        -------
        bool
            False once the run is to end.
        """
        self.costs.append((level, float(cost)))
        now = time.perf_counter()
        if now - self._last_s >= self._interval_s and len(self.frames) < _MOST_FRAMES:
            self._last_s = now
            self._keep(len(self.costs), level, float(cost), np.asarray(dose))
        return not self.is_stopping

    def on_end(self, result: Any) -> None:
        """Keep the result as the last moment."""
        level, cost = self.costs[-1] if self.costs else (0, float(result.final_cost))
        self._keep(len(self.costs), level, cost, np.asarray(result.dose))

    def _keep(self, iteration: int, level: int, cost: float, dose: FloatArray) -> None:
        assert self._plane is not None
        dvhs = {name: sampler(dose) for name, sampler in self._samplers.items()}
        doses = next(iter(self._samplers.values())).dose_gy
        self.frames.append(Frame(iteration, level, cost, doses, dvhs, np.array(dose[:, :, self._plane])))


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.0f} s"
    return f"{5 * round(seconds / 5)} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def middle_plane(structures: Sequence[Structure]) -> int:
    """Find the axial slice through the middle of structures.

    Parameters
    ----------
    structures : sequence of Structure
        At least one.

    Returns
    -------
    int
    """
    along = np.sum([each.share.sum(axis=(0, 1)) for each in structures], axis=0)
    return int(np.searchsorted(np.cumsum(along), along.sum() / 2))
