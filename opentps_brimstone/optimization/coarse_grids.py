"""Coarser grids of beamlets and voxels.

Beamlets: per fluence map, nodes of a grid with twice the spacing; finer weights are interpolated bilinearly between
nodes (the separable [½ 1 ½] filter of multi-resolution pyramids, for beamlets of any position and outline).
Voxels: blocks of 2 × 2 × 2 are averaged.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from opentps_brimstone._typing import AnyIntArray
from opentps_brimstone.model.influence import BeamletLayout
from opentps_brimstone.optimization.voxel_bricks import consecutive

__all__ = ["coarsen_beamlets", "coarsen_voxels"]

# Positions are often rounded decimals: a beamlet this close to a node, in units of the spacing, is on it.
_ON_NODE = 1e-6


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
