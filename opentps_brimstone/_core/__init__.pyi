# Types of the compiled core. It checks every number that it is given and raises ValueError; the Python layer checks
# first, in the words of its users.

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import dose as dose

_Floats: TypeAlias = npt.NDArray[np.float64]

def build_info() -> dict[str, Any]: ...

# Gamma of every voxel of the reference, NaN below the threshold; lengths in mm, doses in Gy.
def gamma(
    *,
    reference: _Floats,
    reference_spacing: Sequence[float],
    reference_origin: Sequence[float],
    evaluation: _Floats,
    evaluation_spacing: Sequence[float],
    evaluation_origin: Sequence[float],
    dose: float,
    distance: float,
    threshold: float,
    local: bool,
    highest: float,
    threads: int,
) -> _Floats: ...

# Rows of the dose matrix that should be a compact brick of voxels, and those that are worked on at once.
BRICK_VOXELS: int
REGION_VOXELS: int
# Row of the coarser grid for a row that stands for no voxel.
NO_ROW: int

# Each option is an enum whose members can be constructed from their names; ValueError lists the names.

class Precision:
    fast: Precision
    reference: Precision
    def __init__(self, name: str) -> None: ...

class KlDirection:
    target_calc: KlDirection
    calc_target: KlDirection
    def __init__(self, name: str) -> None: ...

class TargetSmoothing:
    half: TargetSmoothing
    calculated: TargetSmoothing
    def __init__(self, name: str) -> None: ...

class SearchMethod:
    conjugate_gradient: SearchMethod
    lbfgs: SearchMethod
    def __init__(self, name: str) -> None: ...

class LineSearchMethod:
    interpolated: LineSearchMethod
    brent: LineSearchMethod
    def __init__(self, name: str) -> None: ...

class DoseLimitKind:
    maximum_dose: DoseLimitKind
    minimum_dose: DoseLimitKind
    mean_dose: DoseLimitKind
    def __init__(self, name: str) -> None: ...

class Channel:
    dose: Channel
    alpha_dose: Channel
    sqrt_beta_dose: Channel
    effect: Channel
    rbe_dose: Channel
    let_dose: Channel
    let: Channel
    def __init__(self, name: str) -> None: ...

class Stop:
    converged: Stop
    gradient_vanished: Stop
    iterations_exhausted: Stop
    callback: Stop
    def __init__(self, name: str) -> None: ...

class BinSettings:
    def __init__(
        self,
        *,
        reference_dose: float,
        bin_width: float,
        variance_min: float,
        variance_max: float,
        target_smoothing: TargetSmoothing,
        kernel_reach: float,
        floor: float,
        tail_length: float,
    ) -> None: ...

class ParameterSettings:
    def __init__(
        self,
        *,
        input_scale: float,
        weight_limit: float,
        variance_min: float,
        variance_max: float,
        slope_variance: bool,
        dynamic_covariance: bool,
        covariance_base: float,
        covariance_memory: int,
    ) -> None: ...

class SearchSettings:
    def __init__(
        self,
        *,
        method: SearchMethod,
        tolerance: float,
        line_tolerance: float,
        gradient_tolerance: float,
        max_iterations: int,
    ) -> None: ...

class LevelSettings:
    def __init__(
        self,
        *,
        grid: int,
        bins: BinSettings,
        parameters: ParameterSettings,
        search: SearchSettings,
    ) -> None: ...

class DoseMap:
    def __init__(self, *, coefficients: npt.ArrayLike, typical: npt.ArrayLike, fixed: npt.ArrayLike) -> None: ...

class TermSpecification:
    @staticmethod
    def kl_divergence(
        *, quantity: int, weight: float, target: npt.ArrayLike, direction: KlDirection
    ) -> TermSpecification: ...
    @staticmethod
    def dose_limit(*, kind: DoseLimitKind, quantity: int, weight: float, limit: float) -> TermSpecification: ...
    @staticmethod
    def function(
        *, quantity: int, weight: float, evaluate: Callable[[_Floats, _Floats], tuple[float, _Floats]]
    ) -> TermSpecification: ...
    def in_scenario(self, *, group: int, scenario: int) -> TermSpecification: ...

class ScenarioRisk:
    def __init__(self, *, probability: npt.ArrayLike, tail: float, smoothing: float) -> None: ...
    def combine(self, cost: npt.ArrayLike) -> tuple[float, _Floats]: ...

class DoseMatrix:
    def __init__(
        self,
        rows: int,
        column_start: npt.NDArray[np.int64],
        row: npt.NDArray[np.integer[Any]],
        value: npt.NDArray[np.float32],
        row_map: npt.ArrayLike,
        kept_rows: int,
        columns: npt.ArrayLike,
        threads: int = 1,
    ) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nonzeros(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def arrays(self) -> dict[str, npt.NDArray[Any]]: ...
    @staticmethod
    def from_blocks(
        *,
        rows: int,
        blocks: Sequence[
            tuple[npt.NDArray[np.int64], npt.NDArray[np.integer[Any]], npt.NDArray[np.float32], npt.NDArray[np.int32]]
        ],
        kept_rows: int,
        columns: npt.ArrayLike,
        threads: int = 1,
    ) -> DoseMatrix: ...
    @staticmethod
    def from_arrays(
        *, rows: int, columns: int, nonzeros: int, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> DoseMatrix: ...
    def multiply(self, weight: npt.ArrayLike, precision: Precision = ..., threads: int = 1) -> _Floats: ...
    def multiply_transposed(self, residual: npt.ArrayLike, precision: Precision = ..., threads: int = 1) -> _Floats: ...

def weighted_column_sums(
    rows: int,
    column_start: npt.NDArray[np.int64],
    row: npt.NDArray[np.integer[Any]],
    value: npt.NDArray[np.float32],
    row_weight: npt.ArrayLike,
    threads: int = 1,
) -> _Floats: ...
def vector_paths() -> list[str]: ...
def vector_path() -> str: ...
def use_vector_path(name: str) -> None: ...

class KlDivergenceTerm:
    def __init__(
        self,
        *,
        share: npt.ArrayLike,
        target: npt.ArrayLike,
        direction: KlDirection,
        weight: float,
        bins: BinSettings,
        dose_map: DoseMap | None = None,
    ) -> None: ...
    @property
    def first_bin(self) -> int: ...
    def target(self, wide_share: float) -> _Floats: ...
    def histogram(self, dose: npt.ArrayLike, wide_share: npt.ArrayLike) -> _Floats: ...
    def cost(self, dose: npt.ArrayLike, wide_share: npt.ArrayLike) -> float: ...
    def cost_and_gradient(self, dose: npt.ArrayLike, wide_share: npt.ArrayLike) -> tuple[float, _Floats]: ...

class LevelObjective:
    @property
    def variance(self) -> _Floats: ...
    def cost(self, parameter: npt.ArrayLike) -> float: ...
    def cost_and_gradient(self, parameter: npt.ArrayLike) -> tuple[float, _Floats]: ...
    def add_searched_direction(self, direction: npt.ArrayLike) -> None: ...
    def weight(self, parameter: npt.ArrayLike) -> _Floats: ...
    def parameter(self, weight: npt.ArrayLike) -> _Floats: ...

class Biology:
    def __init__(
        self,
        *,
        alpha: tuple[DoseMatrix, npt.ArrayLike] | None = None,
        sqrt_beta: tuple[DoseMatrix, npt.ArrayLike] | None = None,
        let: tuple[DoseMatrix, npt.ArrayLike] | None = None,
        alpha_x: npt.ArrayLike,
        beta_x: npt.ArrayLike,
    ) -> None: ...

class MultilevelPlan:
    def __init__(
        self,
        *,
        matrix: DoseMatrix,
        quantities: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, DoseMap | None, Channel]],
        base_dose: npt.ArrayLike,
        terms: Sequence[TermSpecification],
        cost_offset: float,
        precision: Precision,
        threads: int,
        biology: Biology | None = None,
        groups: Sequence[ScenarioRisk] = ...,
    ) -> None: ...
    def add_coarser_grid(
        self,
        *,
        voxel: npt.ArrayLike,
        n_voxels: int,
        row_start: npt.ArrayLike,
        beamlet: npt.ArrayLike,
        share: npt.ArrayLike,
        n_beamlets: int,
        matrix: DoseMatrix | None = None,
    ) -> None: ...
    def matrix(self, grid: int) -> DoseMatrix: ...
    def with_terms(self, terms: Sequence[TermSpecification]) -> MultilevelPlan: ...
    def penalize_roughness(self, *, grid: int, neighbors: npt.ArrayLike, weight: float, unit: float) -> None: ...
    @property
    def n_grids(self) -> int: ...
    def matrix_shape(self, grid: int) -> tuple[int, int, int]: ...
    def grid_dose(self, grid: int, weights: npt.ArrayLike, threads: int = 1) -> _Floats: ...
    def rows_on_grid(self, rows: npt.NDArray[np.uint32], grid: int) -> npt.NDArray[np.uint32]: ...
    def transfer(self, weights: npt.ArrayLike, from_grid: int, to_grid: int) -> _Floats: ...
    def evaluate(self, bins: BinSettings, weights: npt.ArrayLike, wide_share: float) -> tuple[float, _Floats]: ...
    def objective(self, level: LevelSettings) -> LevelObjective: ...

class Progress:
    @property
    def level(self) -> int: ...
    @property
    def grid(self) -> int: ...
    @property
    def cost(self) -> float: ...
    @property
    def gradient_norm(self) -> float: ...
    def weights(self) -> _Floats: ...
    def dose(self) -> _Floats: ...
    def checkpoint(self) -> dict[str, _Floats]: ...

class LevelResult:
    @property
    def stop(self) -> Stop: ...
    @property
    def iterations(self) -> int: ...
    @property
    def cost(self) -> float: ...

class MultilevelResult:
    @property
    def weights(self) -> _Floats: ...
    @property
    def levels(self) -> list[LevelResult]: ...

def optimize(
    plan: MultilevelPlan,
    levels: Sequence[LevelSettings],
    line_search: LineSearchMethod,
    weights: npt.ArrayLike,
    on_iteration: Callable[[Progress], bool],
    checkpoint: dict[str, _Floats] | None = None,
) -> MultilevelResult: ...
