"""Shares of plans in a mixture."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from opentps_brimstone._typing import FloatArray

__all__ = ["best_shares"]

# What exceeding a bound costs, relative to a criterion's range.
_PENALTY = 1e3


def best_shares(costs: FloatArray, limits: FloatArray, wanted: FloatArray) -> FloatArray:
    """Mix plans within limits, at the lowest cost.

    Parameters
    ----------
    costs : ndarray, shape (n_plans, n_criteria)
        Less is better.
    limits : ndarray, shape (n_criteria,)
        Of the mixed costs; infinite where there is none. They are exceeded only if no mixture keeps them.
    wanted : ndarray, shape (n_criteria,)
        Weights of the criteria.

    Returns
    -------
    ndarray, shape (n_plans,)
        Not negative; they sum to 1.

    Examples
    --------
    >>> plans = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> best_shares(plans, np.array([0.25, np.inf]), np.array([0.0, 1.0])).tolist()
    [0.75, 0.25]
    """
    n = len(costs)
    bounded = np.flatnonzero(np.isfinite(limits))
    # Behind the shares follow the amounts by which limits are exceeded.
    price = np.concatenate([costs @ wanted, np.full(len(bounded), _PENALTY * max(1.0, float(wanted.max())))])
    found = linprog(
        price,
        A_ub=np.hstack([costs[:, bounded].T, -np.eye(len(bounded))]) if len(bounded) else None,
        b_ub=limits[bounded] if len(bounded) else None,
        A_eq=np.concatenate([np.ones(n), np.zeros(len(bounded))])[None],
        b_eq=[1.0],
        method="highs",
    )
    shares = np.maximum(found.x[:n], 0.0)
    result: FloatArray = shares / shares.sum()
    return result
