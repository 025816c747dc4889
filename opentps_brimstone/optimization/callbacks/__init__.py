"""Watching and stopping an optimization."""

from __future__ import annotations

from opentps_brimstone.optimization.callbacks.base import Callback, CallbackList, OptimizationCallback, as_callback
from opentps_brimstone.optimization.callbacks.checkpoint import Checkpoint
from opentps_brimstone.optimization.callbacks.progress import ProgressBar
from opentps_brimstone.optimization.callbacks.recorder import Recorder
from opentps_brimstone.optimization.callbacks.stopping import StopWhenGoalsMet, TimeLimit

__all__ = [
    "Callback",
    "CallbackList",
    "Checkpoint",
    "OptimizationCallback",
    "ProgressBar",
    "Recorder",
    "StopWhenGoalsMet",
    "TimeLimit",
    "as_callback",
]
