"""Wall time of successive stages."""

from __future__ import annotations

import time

__all__ = ["StageTimes"]


class StageTimes:
    """A stopwatch that starts on construction, with the wall time of each finished stage, in order."""

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> float:
        """End a stage, return its time in s, and begin the next."""
        now = time.perf_counter()
        self.times_s[stage] = now - self._since
        self._since = now
        return self.times_s[stage]
