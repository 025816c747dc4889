# Types of the compiled dose engine.

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Vector: TypeAlias = npt.ArrayLike
_Progress: TypeAlias = Callable[[int, int], bool | None]

class Canceled(RuntimeError): ...  # noqa: N818

class KernelStart:
    falling: KernelStart
    rising: KernelStart

class StepDensity:
    lower_corner: StepDensity
    nearest: StepDensity

class DepthRule:
    first_ray: DepthRule
    center: DepthRule

class DoseSettings:
    @staticmethod
    def opentps() -> DoseSettings: ...
    @staticmethod
    def full() -> DoseSettings: ...
    polar: int
    azimuth: int
    pi: float
    azimuth_turn: float
    step_voxels: float
    near_steps: int
    far_step: int
    kernel_start: KernelStart
    step_density: StepDensity
    depth_rule: DepthRule
    sub_voxels: int
    sub_voxel_shift: float
    reach_mm: float
    cutoff: float

class KernelTables:
    def __init__(
        self,
        *,
        radii: npt.ArrayLike,
        angles: npt.ArrayLike,
        energies: npt.ArrayLike,
        fluence: npt.ArrayLike,
        mu: npt.ArrayLike,
        mu_en: npt.ArrayLike,
        kernel: npt.ArrayLike,
    ) -> None: ...

class DosePatient:
    def __init__(
        self,
        density: npt.ArrayLike,
        *,
        spacing: _Vector,
        origin: _Vector,
        also_wanted: npt.NDArray[np.bool_] | None = None,
        air_density: float = 0.1,
    ) -> None: ...
    def wanted(self) -> npt.NDArray[np.bool_]: ...

class DoseBeam:
    def __init__(self, *, source: _Vector, x_axis: _Vector, y_axis: _Vector, axis: _Vector, sad: float) -> None: ...

def beamlet_doses(
    patient: DosePatient,
    kernel: KernelTables,
    beam: DoseBeam,
    xy: npt.ArrayLike,
    size: tuple[float, float],
    settings: DoseSettings,
    progress: _Progress | None = None,
    threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]: ...
def estimate_beamlets(
    patient: DosePatient, beam: DoseBeam, xy: npt.ArrayLike, size: tuple[float, float], settings: DoseSettings
) -> dict[str, Any]: ...
def field_dose(
    patient: DosePatient,
    kernel: KernelTables,
    beam: DoseBeam,
    x_edges: npt.ArrayLike,
    y_edges: npt.ArrayLike,
    fluence: npt.ArrayLike,
    settings: DoseSettings,
    progress: _Progress | None = None,
    threads: int = 1,
) -> npt.NDArray[np.float32]: ...
