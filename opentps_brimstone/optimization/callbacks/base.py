"""The interface of callbacks, and several callbacks as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.answers import asks_to_stop
from opentps_brimstone._util.lazy_array import LazyArray

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.checkpoint import OptimizationState
    from opentps_brimstone.optimization.prescription import Prescription
    from opentps_brimstone.optimization.result import OptimizationResult

__all__ = ["Callback", "CallbackList", "OptimizationCallback", "as_callback"]


class OptimizationCallback:
    """Base of callbacks: subclass it and override `on_iteration`, and other methods as needed.

    An exception in any of the methods ends the optimization and reaches the caller of `PlanOptimizer.optimize`; the
    plan keeps its earlier weights, and the exception's ``result_so_far`` is the `OptimizationResult` of the last
    iteration, if any.

    Examples
    --------
    >>> class Printer(OptimizationCallback):
    ...     def on_iteration(self, iteration, cost, **_):
    ...         print(iteration, cost)
    ...         return cost > 0.2  # stops once the cost is below
    """

    def on_start(self, plan: Plan, prescription: Prescription) -> None:
        """Called before the first iteration.

        Parameters
        ----------
        plan : Plan
            The plan, still with its earlier beamlet weights.
        prescription : Prescription
            Its objectives.
        """

    def on_iteration(
        self,
        iteration: int,
        level: int,
        cost: float,
        gradient_norm: float,
        beamlet_weights: FloatArray,
        dose: FloatArray,
    ) -> bool | None:
        """Called after each iteration.

        Parameters
        ----------
        iteration : int
            From 1, over all levels.
        level : int
            Of the pyramid; 0 is the finest.
        cost : float
        gradient_norm : float
            Euclidean norm of the gradient with respect to the optimizer's parameters.
        beamlet_weights : ndarray, shape (n_beamlets,)
            MU per fraction, interpolated from the level's beamlets.
        dose : ndarray, shape (nx, ny, nz)
            Gy over all fractions in voxels with an objective, 0 elsewhere; at a coarse level every voxel has the dose
            of its block.

        Returns
        -------
        bool or None
            False stops the optimization.
        """
        raise TypeError(f"{type(self).__name__} must override on_iteration")

    def on_state(self, state: OptimizationState) -> None:
        """Called after each `on_iteration`, with the state that a checkpoint saves.

        Parameters
        ----------
        state : OptimizationState
            Valid until this method returns.
        """

    def on_end(self, result: OptimizationResult) -> None:
        """Called at the end, whether the optimization converged or was stopped, but not after an exception.

        Parameters
        ----------
        result : OptimizationResult
        """


Callback = OptimizationCallback | Callable[..., bool | None] | Sequence["Callback"]
"""A callback, a function like `OptimizationCallback.on_iteration`, or several of them."""


class CallbackList(OptimizationCallback):
    """Several callbacks as one, called in order.

    Parameters
    ----------
    callbacks : sequence of OptimizationCallback or callable

    Raises
    ------
    TypeError
        If one is neither callable nor has an ``on_iteration`` method.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> recorder = pb.Recorder()
    >>> both = CallbackList([recorder, lambda cost, **_: cost > 0.2])  # the second one stops below a cost of 0.2
    >>> both.on_iteration(iteration=1, level=0, cost=0.1, gradient_norm=1.0, beamlet_weights=None, dose=None)
    False
    >>> recorder.history["cost"]
    [0.1]
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(as_callback(callback) for callback in callbacks)

    def on_start(self, plan: Plan, prescription: Prescription) -> None:
        """Forward to all callbacks."""
        for callback in self.callbacks:
            callback.on_start(plan, prescription)

    def on_iteration(self, *args: Any, **state: Any) -> bool:
        """Forward to all callbacks, with arrays of their own; False if any of them returns False."""
        answers = [
            callback.on_iteration(*map(_own, args), **{name: _own(value) for name, value in state.items()})
            for callback in self.callbacks
        ]
        return not any(asks_to_stop(answer) for answer in answers)

    def on_state(self, state: OptimizationState) -> None:
        """Forward to all callbacks."""
        for callback in self.callbacks:
            callback.on_state(state)

    def on_end(self, result: OptimizationResult) -> None:
        """Forward to all callbacks."""
        for callback in self.callbacks:
            callback.on_end(result)

    def __repr__(self) -> str:
        return f"CallbackList({list(self.callbacks)!r})"


def _own(value: Any) -> Any:
    """Keep a callback's changes in place from the others."""
    return value.own_copy() if isinstance(value, LazyArray) else value


class _Adapted(OptimizationCallback):
    """A plain function, or an object with some of the methods."""

    def __init__(self, watcher: Any) -> None:
        self._watcher = watcher
        self.on_iteration = getattr(watcher, "on_iteration", watcher)  # type: ignore[method-assign]
        for name in ("on_start", "on_state", "on_end"):
            setattr(self, name, getattr(watcher, name, getattr(self, name)))

    def __repr__(self) -> str:
        return repr(self._watcher)


def as_callback(callback: Callback) -> OptimizationCallback:
    """Convert a callback, a function, or a list of them to a single callback.

    A function takes the keyword arguments of `OptimizationCallback.on_iteration`.
    """
    if isinstance(callback, OptimizationCallback):
        return callback
    if isinstance(callback, list | tuple):
        return CallbackList(callback)
    if not callable(getattr(callback, "on_iteration", callback)):
        raise TypeError(
            f"a callback must be callable, have an on_iteration method, or be a list of such; {callback!r} is not"
        )
    return _Adapted(callback)
