"""CT and structures on the dose grid, as the views draw them and as doses see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentps_brimstone.model.derived import derived_structure

if TYPE_CHECKING:
    from opentps_brimstone._typing import FloatArray
    from opentps_brimstone.model.influence import VoxelGrid
    from opentps_brimstone.model.structure import Structure

__all__ = ["DoseGridView"]


class DoseGridView:
    """CT and structures on one grid.

    Parameters
    ----------
    grid : VoxelGrid
    ct_hu : ndarray, shape (nx, ny, nz), or None
    structures : iterable of Structure
        On the grid; those that do not overlap it are among them.
    """

    def __init__(self, grid: VoxelGrid, ct_hu: FloatArray | None, structures: Iterable[Structure]) -> None:
        self.grid = grid
        self.ct_hu = ct_hu
        self._structures = {each.name: each for each in structures}
        self._derived: dict[tuple[str, tuple[str, ...]], Structure | None] = {}

    def derived(self, name: str, targets: tuple[str, ...]) -> Structure | None:
        """Make a structure that follows from others, once.

        Parameters
        ----------
        name : str
        targets : tuple of str

        Returns
        -------
        Structure or None
            None if the name does not describe one.

        Raises
        ------
        ValueError
            As `derived_structure`.
        """
        if (name, targets) not in self._derived:
            known = list(self._structures.values())
            made = derived_structure(name, known, [each for each in known if each.name in targets], self.grid)
            self._derived[name, targets] = made
        return self._derived[name, targets]

    def with_derived(self, names: Iterable[str], targets: tuple[str, ...]) -> dict[str, Structure]:
        """Give all structures, with those of some names that follow from others.

        Parameters
        ----------
        names : iterable of str
            Others than those of structures that follow from others are ignored, and so are those of empty ones.
        targets : tuple of str

        Returns
        -------
        dict of str to Structure
        """
        found = dict(self._structures)
        for name in names:
            if name not in found:
                try:
                    made = self.derived(name, targets)
                except ValueError:
                    continue
                if made is not None:
                    found[name] = made
        return found
