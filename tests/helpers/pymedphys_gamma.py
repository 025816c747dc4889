"""Gamma by pymedphys, as a reference."""

from __future__ import annotations

import contextlib
import logging

import numpy as np
import pymedphys
from pymedphys._gamma.implementation import shell

_STEPS = 25


def gamma_of_pymedphys(reference, evaluation, dose_percent, distance_mm, dose_threshold, local):
    """Gamma up to 2, by points as many steps apart as the distance has; what it does not find at all is 2."""
    axes = [
        tuple(o + s * np.arange(n) for o, s, n in zip(g.origin_mm, g.spacing_mm, g.shape, strict=True))
        for g in (reference.grid, evaluation.grid)
    ]
    with _interpolation_by_scipy() as options:
        gamma = pymedphys.gamma(
            axes[0],
            np.asarray(reference),
            axes[1],
            np.asarray(evaluation),
            dose_percent,
            distance_mm,
            lower_percent_dose_cutoff=100 * dose_threshold,
            interp_fraction=_STEPS,
            max_gamma=2.0,
            local_gamma=local,
            ram_available=2**29,
            **options,
        )
    judged = np.asarray(reference) >= dose_threshold * np.max(reference)
    return np.where(judged, np.nan_to_num(gamma, nan=2.0), np.nan)


@contextlib.contextmanager
def _interpolation_by_scipy():
    """Keep pymedphys from the package `interpolation`, which extrapolates, and from logging."""
    first_choice = getattr(shell, "_run_interp_with_econforge", None)

    def not_this_way(*_):
        raise ImportError

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.setLevel(logging.WARNING)
    if first_choice is not None:
        shell._run_interp_with_econforge = not_this_way
    try:
        yield {} if first_choice is not None else {"interp_algo": "scipy"}
    finally:
        if first_choice is not None:
            shell._run_interp_with_econforge = first_choice
        root.setLevel(level)
        root.handlers[:] = handlers
