"""Coarser grids of beamlets and voxels.

Beamlets: per fluence map, nodes of a grid with twice the spacing; finer weights are interpolated bilinearly between
nodes (the separable [½ 1 ½] filter of multi-resolution pyramids, for beamlets of any position and outline).
Voxels: blocks of 2 × 2 × 2 are averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from opentps_brimstone._typing import AnyIntArray
from opentps_brimstone.model.influence import BeamletLayout
from opentps_brimstone.optimization.voxel_bricks import consecutive

__all__ = ["CoarserGrid", "coarsen", "coarsen_beamlets", "coarsen_voxels"]

# Positions are often rounded decimals: a beamlet this close to a node, in units of the spacing, is on it.
_ON_NODE = 1e-6


@dataclass(frozen=True)
class CoarserGrid:
    """A grid derived from the next finer one.

    Attributes
    ----------
    voxel_of : ndarray of int, shape (n_finer_voxels,)
        Block of each finer voxel.
    voxel_ijk : ndarray of int, shape (n_voxels, 3)
        Index of each block in units of blocks.
    interpolation : csr_matrix, shape (n_finer_beamlets, n_beamlets)
        P; its rows sum to 1.
    """

    voxel_of: AnyIntArray
    voxel_ijk: AnyIntArray
    interpolation: sp.csr_matrix
    layout: BeamletLayout


def coarsen(layout: BeamletLayout, voxel_ijk: AnyIntArray) -> CoarserGrid:
    """Make the next coarser grid from the finer beamlets and the grid index of each finer voxel."""
    voxel_of, blocks = coarsen_voxels(voxel_ijk)
    interpolation, coarser = coarsen_beamlets(layout)
    return CoarserGrid(voxel_of, blocks, interpolation, coarser)


def coarsen_voxels(voxel_ijk: AnyIntArray) -> tuple[AnyIntArray, AnyIntArray]:
    """Group voxels, any subset of a grid, in blocks of 2 × 2 × 2.

    The block of each voxel is returned, numbered in C order, and the index of each block in units of blocks.
    """
    block_ijk = np.ascontiguousarray(voxel_ijk.T) >> 1
    extent = tuple(int(highest) + 1 for highest in block_ijk.max(axis=1))
    if math.prod(extent) > np.iinfo(block_ijk.dtype).max:
        block_ijk = block_ijk.astype(np.int64)
    voxel_of, blocks = consecutive((block_ijk[0] * extent[1] + block_ijk[1]) * extent[2] + block_ijk[2])
    return voxel_of, np.stack(np.unravel_index(blocks, extent), axis=1).astype(voxel_ijk.dtype)


def coarsen_beamlets(layout: BeamletLayout) -> tuple[sp.csr_matrix, BeamletLayout]:
    """Lay nodes of twice the spacing over each fluence map; only those that a finer beamlet needs.

    The bilinear interpolation from the nodes to the finer beamlets is returned, whose rows sum to 1, and the nodes.
    """
    spacing = 2.0 * layout.spacing_mm
    low_end = np.full((layout.n_beams, 2), np.inf)
    high_end = np.full((layout.n_beams, 2), -np.inf)
    np.minimum.at(low_end, layout.beam_index, layout.xy_mm)
    np.maximum.at(high_end, layout.beam_index, layout.xy_mm)
    # Nodes lie symmetrically about the middle of the map, so that a symmetric case stays symmetric.
    intervals = np.ceil((high_end - low_end) / spacing - _ON_NODE)
    anchor = (low_end + high_end - intervals * spacing) / 2
    position = (layout.xy_mm - anchor[layout.beam_index]) / spacing[layout.beam_index]
    nearest = np.round(position)
    position = np.where(np.abs(position - nearest) < _ON_NODE, nearest, position)
    low = np.floor(position).astype(np.int64)
    fraction = position - low

    finer = np.arange(layout.n_beamlets)
    rows, nodes, shares = [], [], []
    for dx in (0, 1):
        for dy in (0, 1):
            share = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1])
            used = share > 0
            rows.append(finer[used])
            nodes.append(np.column_stack([layout.beam_index, low[:, 0] + dx, low[:, 1] + dy])[used])
            shares.append(share[used])
    node = np.concatenate(nodes)
    extent = tuple(node.max(axis=0) + 1)
    node_of, used_nodes = consecutive(np.ravel_multi_index(tuple(node.T), extent))
    interpolation = sp.csr_matrix(
        (np.concatenate(shares), (np.concatenate(rows), node_of)), shape=(layout.n_beamlets, len(used_nodes))
    )
    interpolation.sort_indices()
    beam, *number = np.unravel_index(used_nodes, extent)
    xy = anchor[beam] + np.stack(number, axis=1) * spacing[beam]
    return interpolation, BeamletLayout(xy, beam, spacing)
