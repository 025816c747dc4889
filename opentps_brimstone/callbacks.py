"""Watching and stopping an optimisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

FloatArray = npt.NDArray[np.float64]


class OptimizationCallback:
    """Base of callbacks: subclass it and override `on_iteration`."""

    def on_iteration(
        self,
        iteration: int,
        level: int,
        cost: float,
        gradient_norm: float,
        beamlet_weights: FloatArray,
        dose: FloatArray,
    ) -> bool | None:
        """See one iteration.

        Parameters
        ----------
        iteration : int
            From 1, over all levels.
        level : int
            Of the pyramid; 0 is the finest.
        cost : float
            Of this iteration.
        gradient_norm : float
            Euclidean norm of the gradient with respect to the optimiser's parameters.
        beamlet_weights : ndarray, shape (n_beamlets,)
            MU per fraction, interpolated from the level's beamlets.
        dose : ndarray, shape (nx, ny, nz)
            Gy over all fractions in the voxels that some objective is on, 0 elsewhere; at a coarse level every voxel
            has its block's dose.

        Returns
        -------
        bool or None
            False stops the optimisation.
        """
        raise TypeError(f"{type(self).__name__} must override on_iteration")


Callback = OptimizationCallback | Callable[..., bool | None]


def as_function(callback: Callback) -> Callable[..., bool | None]:
    """Return the function to call, of a callback object or a plain function.

    Parameters
    ----------
    callback : OptimizationCallback or callable
        A function takes the same keyword arguments as `OptimizationCallback.on_iteration`.

    Raises
    ------
    TypeError
        When it is neither.
    """
    method: Any = getattr(callback, "on_iteration", callback)
    if not callable(method):
        raise TypeError(f"a callback must be callable or have an on_iteration method; {callback!r} is neither")
    function: Callable[..., bool | None] = method
    return function


class ProgressBar:
    """Iterations, level and cost on a terminal."""

    def __init__(self, *, show: bool) -> None:
        self._bar = tqdm(desc="Optimising", unit=" iterations", disable=not show, dynamic_ncols=True)

    def update(self, level: int, cost: float) -> None:
        """Show one more iteration."""
        self._bar.set_postfix(level=level, cost=f"{cost:.4g}", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the last state on the terminal."""
        self._bar.close()
