"""Exit codes of the commands."""

from __future__ import annotations

__all__ = ["BAD_ARGUMENTS", "DONE", "EXIT_CODES", "FAILED", "GOALS_MISSED", "INTERRUPTED"]

DONE, FAILED, BAD_ARGUMENTS, GOALS_MISSED, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = f"""exit codes:
  {DONE:<4} done; a plan met its goals and its recalculation agrees
  {FAILED:<4} failed, for instance because the dose engine did
  {BAD_ARGUMENTS:<4} wrong arguments or input
  {GOALS_MISSED:<4} done, but a goal is missed or the recalculation does not agree
  {INTERRUPTED:<4} ended by Ctrl-C; nothing unfinished was written
"""
