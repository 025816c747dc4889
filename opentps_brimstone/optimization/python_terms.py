"""Objectives written in Python, checked whenever the core calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from opentps_brimstone._typing import FloatArray

if TYPE_CHECKING:
    from opentps_brimstone.optimization.terms import ObjectiveTerm

__all__ = ["checked_evaluate"]

Evaluate = Callable[[FloatArray, FloatArray], tuple[float, FloatArray]]


def checked_evaluate(term: ObjectiveTerm) -> Evaluate:
    """Wrap a term's `evaluate`, of dose and share or of the dose alone, and check what it returns.

    What is not a finite number and a finite gradient of the dose's shape is an error that names the term and its
    structure.
    """
    evaluate = _with_share(term)
    name = f"{type(term).__name__} on {term.structure.name!r}" if term.structure else type(term).__name__

    def call(dose: FloatArray, share: FloatArray) -> tuple[float, FloatArray]:
        answer = evaluate(dose, share)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError(f"{name}: evaluate must return (value, gradient), not {type(answer).__name__}")
        value = float(answer[0])
        gradient = np.asarray(answer[1], dtype=np.float64)
        if gradient.shape != dose.shape:
            raise ValueError(f"{name}: the gradient has the shape {gradient.shape}; the dose has {dose.shape}")
        if not np.isfinite(value):
            raise ValueError(f"{name}: the value is {value}; it must be finite")
        if not np.isfinite(gradient).all():
            worst = int(np.flatnonzero(~np.isfinite(gradient))[0])
            raise ValueError(
                f"{name}: the gradient is {gradient[worst]} where the dose is {dose[worst]:g} Gy; it must be finite"
            )
        return value, gradient

    return call


def _with_share(term: ObjectiveTerm) -> Callable[..., object]:
    taken = [
        parameter
        for parameter in inspect.signature(term.evaluate).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    if len(taken) >= 2 or any(parameter.kind is parameter.VAR_POSITIONAL for parameter in taken):
        return term.evaluate
    return lambda dose, _: term.evaluate(dose)  # type: ignore[call-arg]
