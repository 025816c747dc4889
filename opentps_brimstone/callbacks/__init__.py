"""Watching and stopping an optimisation."""

from __future__ import annotations

from opentps_brimstone.callbacks.base import Callback, CallbackList, OptimizationCallback, as_callback
from opentps_brimstone.callbacks.progress import ProgressBar
from opentps_brimstone.callbacks.recorder import Recorder
from opentps_brimstone.callbacks.stopping import StopWhenGoalsMet, TimeLimit

__all__ = [
    "Callback",
    "CallbackList",
    "OptimizationCallback",
    "ProgressBar",
    "Recorder",
    "StopWhenGoalsMet",
    "TimeLimit",
    "as_callback",
]
