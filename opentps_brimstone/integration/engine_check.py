"""Whether OpenTPS's own program agrees with a dose of this package's engine: in full, or for a part of the beamlets."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone.adapters.copies import copy_plan
from opentps_brimstone.adapters.plan import remove_beamlets, write_beamlet_mu
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.compute import beamlet_influence, photon_dose
from opentps_brimstone.engine.ct_input import mass_density
from opentps_brimstone.evaluation import gamma_analysis, gamma_pass_rate
from opentps_brimstone.evaluation.extremes import largest_difference

if TYPE_CHECKING:
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.model.influence import VoxelGrid

__all__ = ["VERIFY", "EngineCheck", "check_engine"]

_log = logging.getLogger(__name__)

VERIFY = ("auto", "full", "sample", "none")
"""Recalculate a plan with OpenTPS's program in full, or a part of its beamlets, or nothing; "auto" is in full if that
takes less than half a minute, else a part."""

LARGEST_RMS = 2e-2
"""How far the doses of beamlets may be from the program's in root mean square, as a share of each beamlet's maximum.

Where edges of beamlets fall on the program's samples it counts these twice, or not at all: single voxels then differ by
up to 40 % with beamlets of 2.5 mm on voxels of 4 mm, and 32 such beamlets by 1.3 % in root mean square. In the sum of
neighbors it cancels."""

LARGEST_EXCESS = 2e-2
"""How much more or less dose than the program's all voxels together may have; 1 % is seen with voxels of 10 mm."""

LEAST_PASS_PERCENT = 95.0
"""What share of the voxels above 10 % of the maximum must agree in a plan's dose, by gamma 3 %/2 mm.

The tolerance limits of AAPM Task Group 218 (Miften et al., Med. Phys. 45 (2018) e53)."""

FULL_WITHIN_S = 30.0
"""How long a full recalculation may take unless it is asked for; a planning then stays below a minute."""

_SAMPLE = 32
_SEED = 119
_AIR_G_CM3 = 0.1  # what the program gives to lighter voxels depends on a defect of its kernel near zero


@dataclass(frozen=True)
class EngineCheck:
    """How a dose of this package's engine compares with OpenTPS's program.

    Attributes
    ----------
    mode : {"full", "sample", "none"}
    n_beamlets : int
        Of the plan.
    n_checked : int
        Those that the program computed.
    difference : float
        Largest difference: of the plan's dose as a share of its maximum ("full"), or of a beamlet's dose as a share of
        that beamlet's maximum ("sample"), in voxels denser than 0.1 g/cm³.
    rms : float
        The same in root mean square over the voxels that get dose.
    excess : float
        How much more dose all voxels together have than the program gives, as a share of it.
    gamma_pass_percent : float or None
        Of the plan's dose, 3 %/2 mm above 10 % of the maximum ("full").
    """

    mode: str
    n_beamlets: int
    n_checked: int = 0
    difference: float = 0.0
    rms: float = 0.0
    excess: float = 0.0
    gamma_pass_percent: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the program agrees; true if it was not asked."""
        if self.gamma_pass_percent is not None and self.gamma_pass_percent < LEAST_PASS_PERCENT:
            return False
        return abs(self.excess) <= LARGEST_EXCESS and (self.mode == "full" or self.rms <= LARGEST_RMS)

    def __str__(self) -> str:
        if self.mode == "none":
            return "not recalculated"
        if self.mode == "full":
            return (
                f"in full, {self.n_beamlets} beamlets: gamma 3 %/2 mm {self.gamma_pass_percent:.2f} % pass; differs by "
                f"{100 * self.rms:.2f} % of the maximum (rms), at most {100 * self.difference:.1f} %"
            )
        return (
            f"a sample, {self.n_checked} of {self.n_beamlets} beamlets: differ by {100 * self.rms:.2f} % of their "
            f"maximum (rms), at most {100 * self.difference:.1f} %"
        )


def check_engine(
    photon_plan: Any,
    ct: Any,
    dose: FloatArray,
    grid: VoxelGrid,
    verify: str,
    options: DoseOptions,
) -> EngineCheck:
    """Compare a dose of this package's engine with OpenTPS's program.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Whose segments have beamlets. Not changed.
    ct : opentps CTImage
    dose : ndarray, shape (nx, ny, nz)
        Of the plan, Gy over all fractions.
    grid : VoxelGrid
        Of the dose.
    verify : {"auto", "full", "sample", "none"}
        As `VERIFY` explains. The beamlets of a sample are drawn from those with MU, the same ones for the same plan.
    options : DoseOptions
        With which this package's engine computed it; nothing is taken from the cache.

    Returns
    -------
    EngineCheck

    Raises
    ------
    ValueError
        If `verify` is unknown.
    EngineError
        If the program fails.
    """
    n_beamlets = int(np.count_nonzero(np.array(photon_plan.beamletMUs) > 0))
    if checked_choice("verify", verify, VERIFY) == "none":
        return EngineCheck("none", n_beamlets)
    own = options.running(cache=False)
    program = replace(own, choice=EngineChoice("opentps"))
    counted = mass_density(np.asarray(ct.imageArray), own.density_table, own.overrides, photon_plan) > _AIR_G_CM3
    if verify != "full":
        started = time.perf_counter()
        sample, n_checked = _sampled(photon_plan)
        theirs = beamlet_influence(ct, sample, program).matrix
        full_s = (time.perf_counter() - started) * n_beamlets / n_checked
        if verify == "sample" or full_s > FULL_WITHIN_S:
            ours = beamlet_influence(ct, sample, own).matrix
            return EngineCheck("sample", n_beamlets, n_checked, *_of_columns(ours, theirs, counted.ravel()))
        _log.debug("a full recalculation by OpenTPS's program takes about %.0f s", full_s)
    image = photon_dose(ct, photon_plan, program)
    expected = np.where(counted, np.asarray(image.imageArray, dtype=np.float64), 0.0)
    found = np.where(counted, dose, 0.0)
    gamma = gamma_analysis(
        expected,
        found,
        dose_percent=3.0,
        distance_mm=2.0,
        dose_threshold=0.1,
        reference_grid=grid,
        evaluation_grid=grid,
    )
    rms = float(np.sqrt(np.mean((found - expected)[expected > 0] ** 2))) / float(expected.max())
    largest = largest_difference(found, expected)
    excess = float(found.sum() / expected.sum()) - 1.0
    return EngineCheck("full", n_beamlets, n_beamlets, largest, rms, excess, gamma_pass_rate(gamma))


def _sampled(photon_plan: Any) -> tuple[Any, int]:
    """Copy a plan with some of its beamlets, drawn from those with MU; also their number."""
    sample = copy_plan(photon_plan)
    mu = np.array(sample.beamletMUs, dtype=np.float64)
    drawn = np.random.default_rng(_SEED).permutation(np.flatnonzero(mu > 0))[:_SAMPLE]
    chosen = np.zeros_like(mu)
    chosen[drawn] = mu[drawn]
    write_beamlet_mu(sample, chosen)
    remove_beamlets(sample, 0.0)
    return sample, len(drawn)


def _of_columns(ours: Any, theirs: Any, counted: Any) -> tuple[float, float, float]:
    """Compare columns in the rows that count, each as a share of its maximum: largest difference, rms, and excess."""
    ours, theirs = ours[counted], theirs[counted]
    highest = theirs.max(axis=0).toarray().ravel()
    weight = np.divide(1.0, highest, out=np.zeros(highest.size), where=highest > 0)
    difference = (ours - theirs).multiply(weight)
    largest = float(abs(difference).max()) if difference.nnz else 0.0
    rms = float(np.sqrt(difference.power(2).sum() / max(theirs.nnz, 1)))
    return largest, rms, float(difference.sum() / max(theirs.multiply(weight).sum(), 1e-30))
