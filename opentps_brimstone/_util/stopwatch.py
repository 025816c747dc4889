"""Wall time of stages that follow each other."""

from __future__ import annotations

import time

__all__ = ["StageTimes"]


class StageTimes:
    """A stopwatch; it starts when it is made.

    Attributes
    ----------
    times_s : dict of str to float
        Wall time of each stage that has ended, in their order.
    """

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> float:
        """End a stage, and begin the next one.

        Parameters
        ----------
        stage : str
            Name of the one that ends.

        Returns
        -------
        float
            What it took, in s.
        """
        now = time.perf_counter()
        self.times_s[stage] = now - self._since
        self._since = now
        return self.times_s[stage]
