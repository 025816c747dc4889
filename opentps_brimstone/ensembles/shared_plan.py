"""A plan in files, which worker processes map: the matrix is in memory once, however many work on it."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from opentps_brimstone._typing import AnyArray
from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence, VoxelGrid
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.structure import Structure

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["OWN_OF_HOST", "PlanFiles", "share_plan"]

_INFLUENCE = "influence"
_STRUCTURES = "structures"
OWN_OF_HOST = "core"
"""Folder of the optimizer's form of the matrix, which every host makes for itself."""
_ABOUT = "about.pickle"
# Matrices of a plan beside that of dose, as its attributes are called.
_MORE = ("alpha_dose", "sqrt_beta_dose", "let_dose")
_BYTES_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class PlanFiles:
    """Where the files of a plan lie; small enough to be sent with every variant.

    Attributes
    ----------
    folder : Path
    digest : str
        Of beamlets, grid, fractions and tissue: of all but the structures.
    structures : dict of str to str
        Digest of each structure by its name.
    """

    folder: Path
    digest: str
    structures: dict[str, str]

    def plan(self, structures: Iterable[str] | None = None, *, share_core: bool = True) -> Plan:
        """Make a plan of the files; its matrix is mapped.

        Parameters
        ----------
        structures : iterable of str, optional
            Names of those to have. Default: all.
        share_core : bool
            Whether the optimizer's form of the matrix is kept in files, too.

        Returns
        -------
        Plan
            Without a series, like any plan made from a matrix.
        """
        influence, about = _influence(self.folder, self.digest)
        influence = copy.copy(influence)
        influence.core_folder = self.folder / OWN_OF_HOST if share_core else None
        names = self.structures if structures is None else structures
        own = [_structure(self.folder / _STRUCTURES / self.structures[name], influence.grid) for name in names]
        plan = Plan.from_influence(influence, own, about["number_of_fractions"])
        for name, value in about["more"].items():
            setattr(plan, name, value)
        plan.set_intermediate_dose(about["intermediate_dose"])
        return plan

    @property
    def nbytes(self) -> int:
        """Size of the files, without those of the optimizer."""
        kept = (self.folder / _INFLUENCE, self.folder / _STRUCTURES)
        return sum(path.stat().st_size for top in kept for path in top.rglob("*") if path.is_file())


def share_plan(plan: Plan, folder: Path, structures: Iterable[str] | None = None) -> PlanFiles:
    """Write a plan into files for worker processes. Files that are there already stay as they are.

    Parameters
    ----------
    plan : Plan
        With its dose influence.
    folder : Path
        Made if it does not exist.
    structures : iterable of str, optional
        Names of those that variants have terms on. Default: all that overlap the dose grid.

    Returns
    -------
    PlanFiles

    Raises
    ------
    ValueError
        If the plan's matrix leaves out scatter from far away, and no intermediate dose stands for it.

    Examples
    --------
    >>> import tempfile
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> plan = three_voxel_plan()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = share_plan(plan, Path(folder))
    ...     again = files.plan()
    ...     (again.dose_influence.matrix != plan.dose_influence.matrix).nnz
    0
    """
    if plan.dose_influence.whole_dose is not None and plan.intermediate_dose is None:
        raise ValueError(
            "the plan's matrix leaves out scatter from far away, which worker processes cannot compute: give the plan "
            "weights like those to come and call its update_intermediate_dose, or compute its dose influence with "
            "scatter='opentps'"
        )
    names = [each.name for each in plan.structures if each.is_on_grid] if structures is None else list(structures)
    digests = {name: _write_structure(plan.structures[name], folder / _STRUCTURES) for name in names}
    return PlanFiles(folder.absolute(), _write_influence(plan, folder / _INFLUENCE), digests)


# ---------------------------------------------------------------------------------------------------------------- write


def _write_influence(plan: Plan, folder: Path) -> str:
    influence = plan.dose_influence
    matrices = {"dose": influence.matrix}
    matrices |= {name: sp.csc_matrix(more) for name in _MORE if (more := getattr(plan, name)) is not None}
    about = {
        "grid": (influence.grid.shape, influence.grid.spacing_mm, influence.grid.origin_mm),
        "layout": (influence.layout.xy_mm, influence.layout.beam_index, influence.layout.spacing_mm),
        "number_of_fractions": plan.number_of_fractions,
        "more": {"alphax": plan.alphax, "betax": plan.betax},
        "intermediate_dose": None if plan.intermediate_dose is None else np.asarray(plan.intermediate_dose),
        "shapes": {name: tuple(map(int, matrix.shape)) for name, matrix in matrices.items()},
    }
    arrays = {
        f"{name}-{part}": getattr(matrix, part)
        for name, matrix in matrices.items()
        for part in ("data", "indices", "indptr")
    }
    digest = _digest(pickle.dumps(about), *arrays.values())
    if not (folder / digest).exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / _ABOUT).write_bytes(pickle.dumps(about))
        (folder / digest).touch()  # last: what is complete has it
    return digest


def _write_structure(structure: Structure, folder: Path) -> str:
    about = pickle.dumps(
        {
            "name": structure.name,
            "is_target": structure.is_target,
            "alpha_beta": structure.alpha_beta,
            "alpha": structure.alpha,
            "previous_dose": structure.previous_dose,
        }
    )
    digest = _digest(about, structure.share)
    place = folder / digest
    if not (place / _ABOUT).exists():
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / "share.npy", structure.share, allow_pickle=False)
        (place / _ABOUT).write_bytes(about)
    return digest


def _digest(*parts: ReadableBuffer | AnyArray) -> str:
    digest = hashlib.sha256()
    for part in parts:
        whole = memoryview(
            np.ascontiguousarray(part).reshape(-1).view(np.uint8) if isinstance(part, np.ndarray) else part
        )
        for begin in range(0, len(whole), _BYTES_AT_ONCE):
            digest.update(whole[begin : begin + _BYTES_AT_ONCE])
    return digest.hexdigest()[:32]


# ----------------------------------------------------------------------------------------------------------------- read


@lru_cache(maxsize=2)
def _influence(folder: Path, digest: str) -> tuple[DoseInfluence, dict[str, Any]]:
    """Map the matrices of a plan; a process does so once."""
    place = folder / _INFLUENCE
    if not (place / digest).exists():
        raise FileNotFoundError(f"the plan's files are not in {place}: they were removed, or belong to another host")
    about = pickle.loads((place / _ABOUT).read_bytes())  # noqa: S301  # written by the process that asks for the work
    matrices = {name: _matrix(place, name, shape) for name, shape in about["shapes"].items()}
    influence = DoseInfluence(matrices.pop("dose"), VoxelGrid(*about["grid"]), BeamletLayout(*about["layout"]))
    about["more"] |= matrices
    return influence, about


def _matrix(place: Path, name: str, shape: tuple[int, int]) -> Any:
    parts = (_mapped(place / f"{name}-{part}.npy") for part in ("data", "indices", "indptr"))
    return sp.csc_matrix(tuple(parts), shape=shape, copy=False)


def _structure(place: Path, grid: VoxelGrid) -> Structure:
    about = pickle.loads((place / _ABOUT).read_bytes())  # noqa: S301  # as above
    structure = Structure(about["name"], _mapped(place / "share.npy"), about["is_target"], grid=grid)
    structure.alpha_beta, structure.alpha = about["alpha_beta"], about["alpha"]
    structure.previous_dose = about["previous_dose"]
    return structure


def _mapped(path: Path) -> AnyArray:
    array: AnyArray = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    return array
