"""States that can be gone back to."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["History"]

State = TypeVar("State")


class History(Generic[State]):
    """A state with those before it, to undo, and those undone, to redo.

    Parameters
    ----------
    state : object
        Immutable; the first one.
    limit : int
        States kept to undo.

    Examples
    --------
    >>> history = History(1)
    >>> history.put(2)
    >>> history.undo(), history.now, history.redo()
    (1, 1, 2)
    """

    def __init__(self, state: State, limit: int = 200) -> None:
        self._states = [state]
        self._place = 0
        self._limit = limit

    @property
    def now(self) -> State:
        """The state that holds."""
        return self._states[self._place]

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._place > 0

    @property
    def can_redo(self) -> bool:
        """Whether a state was undone."""
        return self._place < len(self._states) - 1

    def put(self, state: State) -> None:
        """Make a state the one that holds; what was undone is forgotten."""
        if state == self.now:
            return
        self._states = [*self._states[: self._place + 1], state][-self._limit - 1 :]
        self._place = len(self._states) - 1

    def undo(self) -> State:
        """Go back to the state before, if there is one."""
        self._place = max(0, self._place - 1)
        return self.now

    def redo(self) -> State:
        """Go forward to the state that was undone, if there is one."""
        self._place = min(len(self._states) - 1, self._place + 1)
        return self.now
