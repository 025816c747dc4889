"""Leaf sequencing: from a beam's fluence to apertures of a multileaf collimator."""

from __future__ import annotations

from opentps_brimstone.sequencing.alignment import leaf_aligned_beamlets, leaf_pairs_of_rows, leaf_rows
from opentps_brimstone.sequencing.aperture_refinement import ApertureTask, RefinedApertures, refine_apertures
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings
from opentps_brimstone.sequencing.decomposition import Decomposition
from opentps_brimstone.sequencing.longest_path import least_total
from opentps_brimstone.sequencing.methods import METHODS, get_method
from opentps_brimstone.sequencing.mlc import AGILITY, HD_120, MILLENNIUM_120, MLC, MLCS, JawTravel, get_mlc
from opentps_brimstone.sequencing.quantization import Quantization, quantize
from opentps_brimstone.sequencing.segments import Aperture, JawPositions, SequencedBeam, open_shares
from opentps_brimstone.sequencing.sequencer import SequencingSettings, sequence_beam, sequence_plan

__all__ = [
    "AGILITY",
    "HD_120",
    "METHODS",
    "MILLENNIUM_120",
    "MLC",
    "MLCS",
    "Aperture",
    "ApertureSettings",
    "ApertureTask",
    "Decomposition",
    "JawPositions",
    "JawTravel",
    "Quantization",
    "RefinedApertures",
    "SequencedBeam",
    "SequencingSettings",
    "get_method",
    "get_mlc",
    "leaf_aligned_beamlets",
    "leaf_pairs_of_rows",
    "leaf_rows",
    "least_total",
    "open_shares",
    "quantize",
    "refine_apertures",
    "sequence_beam",
    "sequence_plan",
]
