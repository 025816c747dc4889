"""Progress on a terminal."""

from __future__ import annotations

from tqdm import tqdm

__all__ = ["ProgressBar"]


class ProgressBar:
    """Iterations, level and cost on a terminal."""

    def __init__(self, *, show: bool) -> None:
        self._bar = tqdm(desc="Optimizing", unit=" iterations", disable=not show, dynamic_ncols=True)

    def update(self, level: int, cost: float) -> None:
        """Show one more iteration."""
        if self._bar.disable:
            return
        self._bar.set_postfix(level=level, cost=f"{cost:.4g}", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the last state on the terminal."""
        self._bar.close()
