"""Every constant of the algorithm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["calc_target", "target_calc"]


DIRECTIONS: tuple[Direction, ...] = ("calc_target", "target_calc")


PerLevel = float | tuple[float, ...]


LINE_SEARCHES = ("interpolated", "brent")


SEARCHES = ("lbfgs", "conjugate_gradient")


@dataclass(frozen=True)
class OptimizerSettings:
    """Every constant of the algorithm. Levels are counted from 0, the finest.

    "Published" means the description of Brimstone (registry keys and constants of the original program);
    "measured" means chosen by the plans that came out.

    Attributes
    ----------
    gaussian_bin_sigma : float
        Width of the wide histogram kernel at a level sigma of 1, relative to the reference dose, which is the highest
        dose bound of the target terms. Published (GBinSigma).
    level_sigma : tuple of float
        Resolution of each level: the wide kernel has the standard deviation gaussian_bin_sigma / level_sigma.
        Published (LevelSigma).
    number_of_levels : int
        Levels of the pyramid, at most as many as `level_sigma` has entries. Published (4).
    grid_of_level : tuple of int
        Grid that each level runs on: 0 is the plan's own, each further one has twice the spacing. A grid that makes no
        sense for the plan is replaced by the next finer one. Measured: grids coarser than the target's detail hurt.
    start_level : int or None
        First level to run, for a start from weights that are already good; None is the coarsest.
    variance_ratio : float
        Variance of the wide kernel over that of the narrow one. Published (4).
    bins_per_sigma : float
        Bins in one standard deviation of the narrow kernel. Measured: halving the bins changes the
        cost by less than 1 %.
    kernel_reach : float
        Where kernels are cut off, in standard deviations. Chosen for a truncation below 1e-6.
    kl_floor : float
        ε of the Kullback-Leibler divergence, per unit of relative dose. Published (1e-3).
    tail_length : float
        Decay of the floor outside the target's doses, in units of the reference dose, so that far outliers are
        drawn in too; 0 is a constant floor. Measured.
    target_smoothing : {"calculated", "half"}
        How the target DVH is smoothed: each kernel with the share that it has of the structure's calculated histogram,
        or half each. Measured: with half each, known DVHs come back with twice the error.
    kl_direction : {"calc_target", "target_calc"}
        Default of terms that name none. target_calc is published; calc_target held the cold tail better. Measured.
    cost_offset : float
        Constant in the cost that keeps relative changes meaningful near zero. Published (0.1).
    input_scale : float
        s of the transform w = u S σ(s x), per unit of the parameter. Published (InputScale).
    sigmoid_scale : float
        S of the transform. Published (0.2).
    uniform_share : float
        Where the uniform weight that gives the targets their mean prescribed dose lies, as a share of the highest
        weight u S: beamlets may reach 1 / uniform_share times that weight. Measured.
    roughness_weight : float
        Weight in the cost of the jumps between neighboring beamlets of a fluence map, in units of the uniform weight
        and per beamlet: their total variation, smoothed where they are small. Part of the cost that is minimized, but
        not of `Prescription.evaluate`. 0 is published.
    inclusion_threshold : float
        Beamlets whose mean dose in every target is below this share of the strongest beamlet's do not take part.
    slope_variance : bool
        Narrow the variance by the slope of the transform, at all levels but the coarsest. Published.
    dynamic_covariance : bool
        Adapt the variance to the directions already searched. Published.
    covariance_base : float
        Factor by which the variance of a direction falls from search to search. Published (4).
    covariance_memory : int
        Directions whose variance is kept apart; older ones have reached the narrow variance to 1e-7.
    cg_tolerance : float or tuple of float
        Relative change of the cost that ends a level; one for all, or one per level. Published (CGTolerance).
    line_tolerance : float or tuple of float
        Relative precision of a line minimum; one for all, or one per level. Published (Tolerance).
    gradient_tolerance : float
        Norm of the gradient, relative to the cost, that counts as vanished.
    max_iterations : int
        Iterations per level. Published (500).
    search : {"lbfgs", "conjugate_gradient"}
        How the minimum is looked for: limited-memory BFGS, with full steps and hardly a line minimization, or conjugate
        gradient, the published method. Measured: better plans in a third of the time.
    line_search : {"interpolated", "brent"}
        Brent's method on doses interpolated between a few steps, or on true evaluations, the reference. Measured: same
        plans, in a quarter of the matrix products.
    precision : {"fast", "reference"}
        In what numbers products with the dose matrix are summed: single precision within a block of voxels, or double
        precision throughout, several times slower. Measured: the same plans.
    threads : int or None
        Threads of the core; None is one per processor. The result does not depend on it.

    Examples
    --------
    >>> settings = OptimizerSettings(max_iterations=100, threads=2)
    >>> settings.number_of_levels, settings.search
    (4, 'lbfgs')
    >>> OptimizerSettings(number_of_levels=9)
    Traceback (most recent call last):
    ValueError: number_of_levels is 9; it must be from 1 to 5
    """

    gaussian_bin_sigma: float = 0.2
    level_sigma: tuple[float, ...] = (8.0, 3.2, 1.3, 0.5, 0.25)
    number_of_levels: int = 4
    grid_of_level: tuple[int, ...] = (0, 0, 1, 1, 1)
    start_level: int | None = None
    variance_ratio: float = 4.0
    bins_per_sigma: float = 4.0
    kernel_reach: float = 5.0
    kl_floor: float = 1e-3
    tail_length: float = 0.0
    target_smoothing: str = "calculated"
    kl_direction: Direction = "calc_target"
    cost_offset: float = 0.1
    input_scale: float = 0.5
    sigmoid_scale: float = 0.2
    uniform_share: float = 0.2
    roughness_weight: float = 0.0
    inclusion_threshold: float = 0.01
    slope_variance: bool = True
    dynamic_covariance: bool = True
    covariance_base: float = 4.0
    covariance_memory: int = 12
    cg_tolerance: PerLevel = 1e-3
    line_tolerance: PerLevel = 1e-3
    gradient_tolerance: float = 1e-9
    max_iterations: int = 500
    search: str = "lbfgs"
    line_search: str = "interpolated"
    precision: str = "fast"
    threads: int | None = None

    def __post_init__(self) -> None:
        positive = (
            "gaussian_bin_sigma",
            "bins_per_sigma",
            "kernel_reach",
            "kl_floor",
            "input_scale",
            "sigmoid_scale",
        )
        for name in positive:
            self._require(name, getattr(self, name) > 0, "positive")
        self._require("level_sigma", all(s > 0 for s in self.level_sigma), "all positive")
        levels = self.number_of_levels
        self._require("number_of_levels", 1 <= levels <= len(self.level_sigma), f"from 1 to {len(self.level_sigma)}")
        self._require("grid_of_level", len(self.grid_of_level) >= levels, f"of at least {levels} entries")
        rising = all(a <= b for a, b in zip(self.grid_of_level, self.grid_of_level[1:], strict=False))
        self._require("grid_of_level", rising and min(self.grid_of_level) >= 0, "not falling, from 0")
        start_ok = self.start_level is None or 0 <= self.start_level < levels
        self._require("start_level", start_ok, f"None or from 0 to {levels - 1}")
        self._require("variance_ratio", self.variance_ratio > 1, "above 1")
        self._require("tail_length", self.tail_length >= 0, "at least 0")
        smoothings = ("calculated", "half")
        self._require("target_smoothing", self.target_smoothing in smoothings, f"one of {smoothings}")
        self._require("kl_direction", self.kl_direction in DIRECTIONS, f"one of {DIRECTIONS}")
        self._require("cost_offset", self.cost_offset >= 0, "at least 0")
        self._require("uniform_share", 0 < self.uniform_share < 1, "between 0 and 1")
        self._require("roughness_weight", self.roughness_weight >= 0, "at least 0")
        self._require("inclusion_threshold", 0 <= self.inclusion_threshold < 1, "at least 0 and below 1")
        self._require("covariance_base", self.covariance_base > 1, "above 1")
        self._require("covariance_memory", self.covariance_memory >= 1, "at least 1")
        self._require("gradient_tolerance", self.gradient_tolerance >= 0, "at least 0")
        self._require("max_iterations", self.max_iterations >= 1, "at least 1")
        self._require("search", self.search in SEARCHES, f"one of {SEARCHES}")
        self._require("line_search", self.line_search in LINE_SEARCHES, f"one of {LINE_SEARCHES}")
        precisions = ("fast", "reference")
        self._require("precision", self.precision in precisions, f"one of {precisions}")
        self._require("threads", self.threads is None or self.threads >= 1, "None or at least 1")
        for name in ("cg_tolerance", "line_tolerance"):
            values = getattr(self, name)
            values = values if isinstance(values, tuple) else (values,) * levels
            self._require(name, len(values) >= levels and all(v > 0 for v in values), f"positive, one or {levels}")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {rule}")

    @staticmethod
    def at_level(values: PerLevel, level: int) -> float:
        """One level's value of a setting that may differ from level to level."""
        return values[level] if isinstance(values, tuple) else values

    def single_grid(self) -> OptimizerSettings:
        """Return the same settings with every level on the plan's own grid."""
        return replace(self, grid_of_level=(0,) * len(self.grid_of_level))
