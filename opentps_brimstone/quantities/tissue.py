"""Published α/β of tissues, and which of them fits a structure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ALPHA_BETA", "PublishedAlphaBeta", "SuggestedAlphaBeta", "suggest_alpha_beta"]


@dataclass(frozen=True)
class PublishedAlphaBeta:
    """α/β of a kind of tissue.

    Attributes
    ----------
    endpoint : str
        What it was found, or is used, for.
    interval_gy : tuple of float, optional
        95 % confidence interval, if the value is an estimate with one.
    """

    value_gy: float
    endpoint: str
    source: str
    interval_gy: tuple[float, float] | None = None


_TEXTBOOK = "Bentzen and Joiner, in: Basic Clinical Radiobiology, 4th ed., 2009, table 9.1"
_FOWLER = "convention; Fowler, Br J Radiol 62 (1989) 679-694"
_START_A = "START Trialists' Group (trial A), Lancet Oncol 9 (2008) 331-341"
_NIEDER = "value used by Nieder et al., Int J Radiat Oncol Biol Phys 66 (2006) 1446-1449"
_THAMES = "Thames et al., Radiother Oncol 19 (1990) 219-235"

ALPHA_BETA: dict[str, PublishedAlphaBeta] = {
    # Normal tissues.
    "late-responding tissue": PublishedAlphaBeta(3.0, "late effects in general", _FOWLER),
    "early-responding tissue": PublishedAlphaBeta(10.0, "early effects in general", _FOWLER),
    "spinal cord": PublishedAlphaBeta(2.0, "myelopathy, cervical and thoracic cord", _NIEDER),
    "lumbar cord": PublishedAlphaBeta(4.0, "myelopathy, lumbar cord", _NIEDER),
    "lung": PublishedAlphaBeta(
        4.0, "pneumonitis", f"Bentzen et al., Int J Radiat Biol 76 (2000) 453-462, in {_TEXTBOOK}", (2.2, 5.8)
    ),
    "rectum": PublishedAlphaBeta(
        4.8, "late toxicity of grade 2 or more", "Tucker et al., Int J Radiat Oncol Biol Phys 81 (2011) 600-605"
    ),
    "skin, early": PublishedAlphaBeta(8.8, "erythema", f"Turesson and Thames 1989, in {_TEXTBOOK}", (6.9, 11.6)),
    "skin, late": PublishedAlphaBeta(2.8, "telangiectasia", f"Turesson and Thames 1989, in {_TEXTBOOK}", (1.7, 3.8)),
    "breast": PublishedAlphaBeta(3.4, "late change of appearance", _START_A, (2.3, 4.5)),
    # Tumors.
    "tumor": PublishedAlphaBeta(10.0, "control of tumors in general", _FOWLER),
    "head and neck carcinoma": PublishedAlphaBeta(
        10.5, "tumor control", "Stuschke and Thames, Radiother Oncol 51 (1999) 113-121", (6.5, 29.0)
    ),
    "breast carcinoma": PublishedAlphaBeta(4.6, "local-regional relapse", _START_A, (1.1, 8.1)),
    "prostate carcinoma": PublishedAlphaBeta(
        1.5, "biochemical control", "Brenner and Hall, Int J Radiat Oncol Biol Phys 43 (1999) 1095-1101", (0.8, 2.2)
    ),
    "melanoma": PublishedAlphaBeta(0.6, "tumor control", _THAMES, (-1.1, 2.5)),
    "liposarcoma": PublishedAlphaBeta(0.4, "tumor control", _THAMES, (-1.4, 5.4)),
}

# Parts of names that tell the tissue, in any case and without spaces, dots and underscores. The first that fits counts.
_ORGANS = (
    (r"lumbar(spinal)?cord|cordlumbar", "lumbar cord"),
    (r"spinalcord|^cord|myelon|medulla", "spinal cord"),
    (r"^lungs?(l|r|left|right)?$|^(left|right)lung$", "lung"),
    (r"^rectum", "rectum"),
    (r"^skin$", "skin, late"),
    (r"^breasts?(l|r|left|right)?$|^(left|right)breast$", "breast"),
)
_TARGET_NAME = re.compile(r"^(i|p|c|g)tv", re.IGNORECASE)


class SuggestedAlphaBeta(NamedTuple):
    """An α/β for a structure, and a note on where it comes from, to be shown wherever the value is used."""

    value_gy: float
    note: str


def suggest_alpha_beta(name: str, *, is_target: bool = False) -> SuggestedAlphaBeta:
    """Suggest α/β for a structure by its name.

    Targets get that of tumors in general: a name does not tell the histology. Other structures get that of their organ
    if the name tells it, and else that of late effects in general. The decision is the planner's: show the note.

    Parameters
    ----------
    name : str
        Of the structure; a target is recognized by a name that begins with GTV, CTV, ITV or PTV, too.

    Returns
    -------
    SuggestedAlphaBeta
        (value in Gy, note)

    Examples
    --------
    >>> value, note = suggest_alpha_beta("SpinalCord")
    >>> value
    2.0
    >>> print(note)  # doctest: +NORMALIZE_WHITESPACE
    'SpinalCord': alpha/beta = 2 Gy of spinal cord (myelopathy, cervical and thoracic cord; value used by Nieder et al.,
    Int J Radiat Oncol Biol Phys 66 (2006) 1446-1449), by its name; set your own where you know better
    """
    plain = re.sub(r"[\s._-]+", "", name.lower())
    if is_target or _TARGET_NAME.match(plain):
        tissue, reason = "tumor", "as a target, whatever its histology"
    else:
        tissue = next((tissue for pattern, tissue in _ORGANS if re.search(pattern, plain)), "late-responding tissue")
        reason = "whose tissue its name does not tell" if tissue == "late-responding tissue" else "by its name"
    published = ALPHA_BETA[tissue]
    note = (
        f"{name!r}: alpha/beta = {published.value_gy:g} Gy of {tissue} ({published.endpoint}; {published.source}), "
        f"{reason}; set your own where you know better"
    )
    return SuggestedAlphaBeta(published.value_gy, note)
