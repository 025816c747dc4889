"""What an optimization tells those who watch it, and how several may watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentps_brimstone._typing import FloatArray

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.prescription import Prescription
    from opentps_brimstone.optimization.result import OptimizationResult
    from opentps_brimstone.optimization.state import OptimizationState

__all__ = ["Callback", "CallbackList", "OptimizationCallback", "as_callback"]


class OptimizationCallback:
    """Base of callbacks: subclass it and override `on_iteration`, and the others if they are of use.

    An exception in any of the methods ends the optimization and reaches the caller of `PlanOptimizer.optimize`; the
    plan keeps the weights it had, and the exception's ``result_so_far`` is the `OptimizationResult` of the last
    iteration, if there was one.

    Examples
    --------
    >>> class Printer(OptimizationCallback):
    ...     def on_iteration(self, iteration, cost, **_):
    ...         print(iteration, cost)
    ...         return cost > 0.2  # stops once the cost is below
    """

    def on_start(self, plan: Plan, prescription: Prescription) -> None:
        """Learn what is optimized, before the first iteration.

        Parameters
        ----------
        plan : Plan
            With structures, grid and beamlet layout; its beamlet weights are those of before.
        prescription : Prescription
            What is asked of it.
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
            Euclidean norm of the gradient with respect to the optimizer's parameters.
        beamlet_weights : ndarray, shape (n_beamlets,)
            MU per fraction, interpolated from the level's beamlets.
        dose : ndarray, shape (nx, ny, nz)
            Gy over all fractions in the voxels that some objective is on, 0 elsewhere; at a coarse level every voxel
            has its block's dose.

        Returns
        -------
        bool or None
            False stops the optimization.
        """
        raise TypeError(f"{type(self).__name__} must override on_iteration")

    def on_state(self, state: OptimizationState) -> None:
        """Save where the optimization stands, if wanted; called after each `on_iteration`.

        Parameters
        ----------
        state : OptimizationState
            Valid until this method returns.
        """

    def on_end(self, result: OptimizationResult) -> None:
        """See the result, of an optimization that converged, ended or was stopped; not after an exception.

        Parameters
        ----------
        result : OptimizationResult
        """


Callback = OptimizationCallback | Callable[..., bool | None] | Sequence["Callback"]
"""What `PlanOptimizer.optimize` takes: a callback, a function like `OptimizationCallback.on_iteration`, or several."""


class CallbackList(OptimizationCallback):
    """Several callbacks as one; each sees every iteration, in their order.

    Parameters
    ----------
    callbacks : sequence of OptimizationCallback or callable

    Raises
    ------
    TypeError
        When one is neither callable nor has an ``on_iteration`` method.

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
        """Tell all."""
        for callback in self.callbacks:
            callback.on_start(plan, prescription)

    def on_iteration(self, *args: Any, **state: Any) -> bool:
        """Ask all, also after one has said stop.

        Returns
        -------
        bool
            False if any of them stops.
        """
        answers = [callback.on_iteration(*args, **state) for callback in self.callbacks]
        return not any(answer is False for answer in answers)

    def on_state(self, state: OptimizationState) -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_state(state)

    def on_end(self, result: OptimizationResult) -> None:
        """Tell all."""
        for callback in self.callbacks:
            callback.on_end(result)

    def __repr__(self) -> str:
        return f"CallbackList({list(self.callbacks)!r})"


class _Adapted(OptimizationCallback):
    """A plain function, or an object of a class of its own with some of the methods."""

    def __init__(self, watcher: Any) -> None:
        self._watcher = watcher
        self._see: Callable[..., bool | None] = getattr(watcher, "on_iteration", watcher)

    def on_start(self, plan: Plan, prescription: Prescription) -> None:
        if hasattr(self._watcher, "on_start"):
            self._watcher.on_start(plan, prescription)

    def on_iteration(self, *args: Any, **state: Any) -> bool | None:
        return self._see(*args, **state)

    def on_state(self, state: OptimizationState) -> None:
        if hasattr(self._watcher, "on_state"):
            self._watcher.on_state(state)

    def on_end(self, result: OptimizationResult) -> None:
        if hasattr(self._watcher, "on_end"):
            self._watcher.on_end(result)

    def __repr__(self) -> str:
        return repr(self._watcher)


def as_callback(callback: Callback) -> OptimizationCallback:
    """Make one callback of whatever may watch.

    Parameters
    ----------
    callback : OptimizationCallback, callable, or a list or tuple of them
        A function takes the same keyword arguments as `OptimizationCallback.on_iteration`.

    Returns
    -------
    OptimizationCallback

    Raises
    ------
    TypeError
        When it is none of these.
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
