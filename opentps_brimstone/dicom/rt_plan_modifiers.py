"""RT Plan: what stands in a beam beside jaws and leaves."""

from __future__ import annotations

from dataclasses import dataclass

from opentps_brimstone.dicom.rt_plan_item import Item

__all__ = ["MODIFIERS", "Modifier"]


@dataclass(frozen=True)
class Modifier:
    """A thing in the beam that is not calculated.

    Attributes
    ----------
    name : str
        With its article.
    count, sequence : str
        Elements of a beam that state it; either may be missing in a file.
    shapes_beam : bool
        Whether a beam without it would be another beam, so that it is an error unless the user wants that.
    """

    name: str
    count: str
    sequence: str
    shapes_beam: bool = True

    def stated_by(self, beam: Item) -> str:
        """Name the element by which a beam says that it has one; empty if it has none."""
        if self.sequence == "WedgeSequence" and (positions := _wedge_positions(beam)):
            return "" if positions == {"OUT"} else "WedgePositionSequence"
        if self.count and beam.integer(self.count, 0, 1000):
            return self.count
        return self.sequence if beam.items(self.sequence) else ""


MODIFIERS = (
    Modifier("a wedge", "NumberOfWedges", "WedgeSequence"),
    Modifier("a compensator", "NumberOfCompensators", "CompensatorSequence"),
    Modifier("a block", "NumberOfBlocks", "BlockSequence"),
    Modifier("an applicator (cone)", "", "ApplicatorSequence"),
    Modifier("an accessory", "", "GeneralAccessorySequence", shapes_beam=False),
    Modifier("a bolus", "NumberOfBoli", "ReferencedBolusSequence", shapes_beam=False),
)


def _wedge_positions(beam: Item) -> set[str]:
    """Where the file says that wedges are at any time; empty if it does not say it."""
    return {
        position.text("WedgePosition").upper()
        for point in beam.items("ControlPointSequence")
        for position in point.items("WedgePositionSequence")
    }
