"""Bodies, beams and OpenTPS's own program for the tests of the dose engine."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from opentps_brimstone.adapters.versions import set_source_distance

TABLES = ("radii", "angles", "energies", "fluence", "mu", "mu_en")
SCATTER = ("primary", "first_scatter", "second_scatter", "multiple_scatter", "brem_annih")


def kernel_folder(name="Kernels_differentFluence") -> Path:
    core = importlib.util.find_spec("opentps.core")
    return Path(core.submodule_search_locations[0]) / "processing" / "doseCalculation" / "photons" / name


def read_kernels(folder: Path | None = None) -> dict[str, np.ndarray]:
    """Tables of a kernel folder; the kernel is [energy, angle, radius], summed over its parts."""
    folder = kernel_folder() if folder is None else folder
    tables = {name: np.fromfile(folder / f"{name}.bin", np.float32) for name in TABLES}
    shape = (tables["energies"].size, tables["angles"].size, tables["radii"].size)
    parts = [np.fromfile(folder / f"{name}.bin", np.float32).reshape(shape) for name in SCATTER]
    return tables | {"kernel": np.sum(parts, axis=0, dtype=np.float64)}


@dataclass(frozen=True)
class Body:
    """Densities in g/cm³ on a grid."""

    density: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    @classmethod
    def box(cls, shape, spacing):
        """Air around the middle of which everything else is placed: the position (0, 0, 0)."""
        origin = tuple(-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True))
        return cls(np.full(shape, 0.0012, np.float32), tuple(map(float, spacing)), origin)

    def positions(self):
        return np.meshgrid(
            *(o + np.arange(n) * s for o, n, s in zip(self.origin, self.density.shape, self.spacing, strict=True)),
            indexing="ij",
            sparse=True,
        )

    def fill_ellipse(self, center, half_axes, density):
        """Fill an elliptical cylinder along z, limited in z if there is a third half axis."""
        x, y, z = self.positions()
        inside = ((x - center[0]) / half_axes[0]) ** 2 + ((y - center[1]) / half_axes[1]) ** 2 <= 1.0
        if len(half_axes) == 3:
            inside = inside & (np.abs(z - center[2]) <= half_axes[2])
        self.density[np.broadcast_to(inside, self.density.shape)] = density


def thorax(shape=(84, 60, 48), spacing=(3.0, 3.0, 3.0)) -> Body:
    """A body with two lungs of different size, a spine of bone and a windpipe of air, uneven from every side."""
    body = Body.box(shape, spacing)
    width, height = shape[0] * spacing[0], shape[1] * spacing[1]
    body.fill_ellipse((2.0, 1.0), (0.42 * width, 0.41 * height), 1.0)
    body.fill_ellipse(
        (-0.2 * width, -0.05 * height, 0.0), (0.12 * width, 0.2 * height, 0.35 * shape[2] * spacing[2]), 0.26
    )
    body.fill_ellipse(
        (0.21 * width, -0.03 * height, 5.0), (0.1 * width, 0.17 * height, 0.3 * shape[2] * spacing[2]), 0.3
    )
    body.fill_ellipse((3.0, 0.24 * height), (15.0, 12.0), 1.5)
    body.fill_ellipse((4.0, -0.06 * height), (8.0, 7.0), 0.0012)
    return body


@dataclass(frozen=True)
class Beam:
    """Beamlets of one beam, with OpenTPS's angles."""

    gantry: float
    couch: float
    collimator: float
    xy: np.ndarray
    size: tuple[float, float] = (5.0, 5.0)
    isocenter: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sad: float = 1000.0
    mu: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def axes(self):
        from opentps.core.io.CCCdoseEngineIO import getRotatedVersors

        # The program's axes are (y, x, z) of the image.
        i, j, k = (np.asarray(v)[[1, 0, 2]] for v in getRotatedVersors(self.gantry, self.couch, self.collimator))
        return i, j, k

    def source(self):
        return np.asarray(self.isocenter) - self.sad * self.axes()[2]


def lattice(half_width_x, half_width_y=None, size=5.0, shift=(0.0, 0.0)):
    """Centers of a rectangle of beamlets."""
    half_width_y = half_width_x if half_width_y is None else half_width_y
    x = np.arange(-half_width_x + size / 2, half_width_x, size) + shift[0]
    y = np.arange(-half_width_y + size / 2, half_width_y, size) + shift[1]
    return np.stack(np.meshgrid(x, y, indexing="xy"), axis=-1).reshape(-1, 2)


# ------------------------------------------------------------------------------------------------- OpenTPS's program


def _calibration():
    from opentps.core.data.CTCalibrations._piecewiseHU2Density import PiecewiseHU2Density

    return PiecewiseHU2Density(([-1000.0, 9000.0], [0.0, 10.0]))


def _photon_plan(beams):
    from opentps.core.data.plan import PhotonPlan, PhotonPlanDesign, PlanPhotonBeam

    plan = PhotonPlan(name="scene")
    plan.planDesign = PhotonPlanDesign()
    plan.planDesign.calibration = _calibration()
    for number, beam in enumerate(beams):
        own = PlanPhotonBeam()
        own.name = f"{number}"
        own.gantryAngle_degree, own.couchAngle_degree = beam.gantry, beam.couch
        own.isocenterPosition_mm = list(beam.isocenter)
        own.xBeamletSpacing_mm, own.yBeamletSpacing_mm = beam.size
        segment = own.createBeamSegment()
        segment.beamLimitingDeviceAngle_degree = beam.collimator
        for x, y in beam.xy:
            segment.appendBeamlet(x, y, 1.0)
        plan.appendBeam(own)
    set_source_distance(plan, beams[0].sad)
    return plan


def compute_by_opentps(body: Body, beams) -> sp.csc_matrix:
    """Beamlet doses by OpenTPS's program, rows in C order of the grid."""
    from opentps.core.data.images import CTImage

    from opentps_brimstone.engine import compute_beamlets

    hu = 1000.0 * body.density.astype(np.float64) - 1000.0
    ct = CTImage(imageArray=hu, name="scene", origin=body.origin, spacing=body.spacing)
    result = compute_beamlets(ct, _photon_plan(beams), engine="opentps", cache=False, progress=False)
    return in_c_order(result.toSparseMatrix(), body.density.shape)


def in_c_order(matrix, shape) -> sp.csc_matrix:
    """Rows of OpenTPS's matrix, which are in Fortran order of the image flipped along x and y, in C order."""
    rows = np.arange(int(np.prod(shape))).reshape(shape, order="F")[::-1, ::-1].ravel()
    place = np.empty(rows.size, np.int64)
    place[rows] = np.arange(rows.size)
    coo = matrix.tocoo()
    return sp.csc_matrix((coo.data, (place[coo.row], coo.col)), shape=matrix.shape)
