"""Constants of the algorithm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from opentps_brimstone._util.options import POSITIVE, Bounds, Options, above, at_least, each, one_of, option, or_none

__all__ = ["DIRECTIONS", "Direction", "OptimizerSettings"]

Direction = Literal["calc_target", "target_calc"]

DIRECTIONS: tuple[Direction, ...] = ("calc_target", "target_calc")


@dataclass(frozen=True, repr=False)
class OptimizerSettings(Options):
    """Constants of the algorithm. Levels are counted from 0, the finest.

    "Published" means the description of Brimstone (registry keys and constants of the original program);
    "measured" means chosen by the resulting plans.

    Examples
    --------
    >>> settings = OptimizerSettings(max_iterations=100, threads=2)
    >>> settings
    OptimizerSettings(max_iterations=100, threads=2)
    >>> settings.number_of_levels, settings.search
    (4, 'lbfgs')
    >>> OptimizerSettings(number_of_levels=9)
    Traceback (most recent call last):
    ValueError: number_of_levels is 9; it must be from 1 to 5
    """

    gaussian_bin_sigma: float = option(
        0.2,
        "Width of the wide histogram kernel at a level sigma of 1, relative to the reference dose, which is the "
        "highest dose bound of the target terms. Published (GBinSigma).",
        POSITIVE,
    )
    level_sigma: tuple[float, ...] = option(
        (8.0, 3.2, 1.3, 0.5, 0.25),
        "Resolution of each level: the wide kernel has the standard deviation gaussian_bin_sigma / level_sigma. "
        "Published (LevelSigma).",
        each(POSITIVE),
    )
    number_of_levels: int = option(
        4, "Levels of the pyramid, at most as many as `level_sigma` has entries. Published (4).", at_least(1)
    )
    grid_of_level: tuple[int, ...] = option(
        (0, 0, 1, 1, 1),
        "Grid of each level: 0 is the plan's own, each further one has twice the spacing. A grid too coarse for the "
        "plan is replaced by the next finer one. Measured: grids coarser than the target's detail hurt.",
        each(at_least(0)),
    )
    start_level: int | None = option(
        None,
        "First level to run, for a start from weights that are already good; None is the coarsest.",
        or_none(at_least(0)),
    )
    variance_ratio: float = option(
        4.0, "Variance of the wide kernel over that of the narrow one. Published (4).", above(1)
    )
    bins_per_sigma: float = option(
        4.0,
        "Bins in one standard deviation of the narrow kernel. Measured: halving the bins changes the cost by less "
        "than 1 %.",
        POSITIVE,
    )
    kernel_reach: float = option(
        5.0, "Where kernels are cut off, in standard deviations. Chosen for a truncation below 1e-6.", POSITIVE
    )
    kl_floor: float = option(
        1e-3, "ε of the Kullback-Leibler divergence, per unit of relative dose. Published (1e-3).", POSITIVE
    )
    tail_length: float = option(
        0.0,
        "Decay of the floor outside the target's doses, in units of the reference dose, so that far outliers are "
        "drawn in too; 0 is a constant floor. Measured.",
        at_least(0),
    )
    target_smoothing: str = option(
        "calculated",
        "Share of each kernel in smoothing the target DVH: that of the structure's calculated histogram, or half. "
        "Measured: with half, the error of recovered DVHs doubles.",
        one_of("calculated", "half"),
    )
    kl_direction: str = option(
        "calc_target",
        "Default direction of terms. target_calc is published; calc_target held the cold tail better. Measured.",
        one_of(*DIRECTIONS),
    )
    cost_offset: float = option(
        0.1, "Constant in the cost that keeps relative changes meaningful near zero. Published (0.1).", at_least(0)
    )
    input_scale: float = option(
        0.5, "s of the transform w = w_max sigmoid(s x), per unit of the parameter. Published (InputScale).", POSITIVE
    )
    uniform_share: float = option(
        0.2,
        "Uniform weight that gives the targets their mean prescribed dose, as a share of the highest weight w_max: "
        "beamlets may reach 1 / uniform_share times that weight. Measured.",
        Bounds("between 0 and 1", lambda value: 0 < value < 1),
    )
    roughness_weight: float = option(
        0.0,
        "Weight in the cost of the jumps between neighboring beamlets of a fluence map, in units of the uniform "
        "weight and per beamlet: their total variation, smoothed where they are small. Part of the cost that is "
        "minimized, but not of `Prescription.evaluate`. 0 is published.",
        at_least(0),
    )
    inclusion_threshold: float = option(
        0.01,
        "Beamlets whose mean dose in every target is below this share of the strongest beamlet's are not optimized.",
        Bounds("at least 0 and below 1", lambda value: 0 <= value < 1),
    )
    slope_variance: bool = option(
        True, "Narrow the variance by the slope of the transform, at all levels but the coarsest. Published."
    )
    dynamic_covariance: bool = option(True, "Adapt the variance to the directions already searched. Published.")
    covariance_base: float = option(
        4.0, "Factor by which the variance of a direction falls from search to search. Published (4).", above(1)
    )
    covariance_memory: int = option(
        12,
        "Number of directions with a variance of their own; older ones have reached the narrow variance to 1e-7.",
        at_least(1),
    )
    cg_tolerance: float | tuple[float, ...] = option(
        1e-3,
        "Relative change of the cost that ends a level; one number for all levels, or one per level. Published "
        "(CGTolerance).",
        each(POSITIVE),
    )
    line_tolerance: float | tuple[float, ...] = option(
        1e-3,
        "Relative precision of a line minimum; one number for all levels, or one per level. Published (Tolerance).",
        each(POSITIVE),
    )
    gradient_tolerance: float = option(
        1e-9, "Norm of the gradient, relative to the cost, that counts as vanished.", at_least(0)
    )
    max_iterations: int = option(500, "Iterations per level. Published (500).", at_least(1))
    search: str = option(
        "lbfgs",
        "Limited-memory BFGS, with full steps and hardly a line minimization, or conjugate gradient, the published "
        "method. Measured: better plans in a third of the time.",
        one_of("lbfgs", "conjugate_gradient"),
    )
    line_search: str = option(
        "interpolated",
        "Brent's method on doses interpolated between a few steps, or on true evaluations, the reference. Measured: "
        "same plans, in a quarter of the matrix products.",
        one_of("interpolated", "brent"),
    )
    precision: str = option(
        "fast",
        "Of sums in products with the dose matrix: single within a block of voxels, or double throughout, several "
        "times slower. Measured: the same plans.",
        one_of("fast", "reference"),
    )
    threads: int | None = option(
        None, "Threads of the core; None is one per processor. The result does not depend on it.", or_none(at_least(1))
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = self.number_of_levels
        self._require("number_of_levels", levels <= len(self.level_sigma), f"from 1 to {len(self.level_sigma)}")
        self._require("grid_of_level", len(self.grid_of_level) >= levels, f"of at least {levels} entries")
        self._require("grid_of_level", list(self.grid_of_level) == sorted(self.grid_of_level), "non-decreasing")
        self._require("start_level", self.start_level is None or self.start_level < levels, f"below {levels}")
        for name in ("cg_tolerance", "line_tolerance"):
            values = getattr(self, name)
            self._require(name, not isinstance(values, tuple) or len(values) >= levels, f"one or {levels} numbers")

    @staticmethod
    def at_level(values: float | tuple[float, ...], level: int) -> float:
        """Value at one level of a setting that may differ from level to level."""
        return values[level] if isinstance(values, tuple) else values

    def single_grid(self) -> OptimizerSettings:
        """Return the same settings with every level on the plan's own grid."""
        return replace(self, grid_of_level=(0,) * len(self.grid_of_level))
