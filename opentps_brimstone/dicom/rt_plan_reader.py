"""RT Plan: reading photon plans of any system into OpenTPS's objects.

Values that a control point does not repeat are those of the one before it. The monitor units between two control
points become a segment:

- If nothing moves in between (static fields, the pairs of step-and-shoot), it has the aperture and angles of both.
- If something moves (sliding window, arcs), the interval is cut into equal parts, so many that no leaf or jaw travels
  more than `maximum_travel_mm` and nothing turns more than `maximum_turn_degrees` in one. Each part is a segment with
  its share of the monitor units, and the leaves, jaws and angles of its middle. Motion is taken as uniform in meterset,
  which the standard leaves to the systems (PS3.3, C.8.8.14.5).

An interval without monitor units delivers nothing and makes no segment. Jaws that the machine does not have stand at
plus and minus infinity, and a field of jaws alone has a leaf bank of one pair, which is open; `write_rt_plan` knows
both.

Angles are turned from IEC's sense to OpenTPS's, which holds for patients lying head first supine; how else a patient
lies is turned into the angles that come from the same side of a supine one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.angles import opentps_from_iec
from opentps_brimstone.adapters.physics import MODELED_ENERGY_MV, energy_note
from opentps_brimstone.adapters.privates import set_number_of_fractions
from opentps_brimstone.dicom.errors import DicomError
from opentps_brimstone.dicom.files import quiet_pydicom, read_file
from opentps_brimstone.dicom.header import ION_PLAN_CLASS, RT_PLAN_CLASS
from opentps_brimstone.dicom.identity import (
    ACCEPT_HINT,
    Accepted,
    Identity,
    checked_accepted,
    contradictions,
    obstacles,
)
from opentps_brimstone.dicom.rt_plan_item import Item, Place, RTPlanError
from opentps_brimstone.dicom.rt_plan_machine import (
    ControlPoint,
    Devices,
    motion_parts,
    read_control_points,
    read_devices,
)
from opentps_brimstone.dicom.rt_plan_modifiers import MODIFIERS, Modifier
from opentps_brimstone.dicom.tags import Tags
from opentps_brimstone.model.patient_position import (
    HEAD_FIRST_SUPINE,
    POSITIONS,
    checked_patient_position,
    supine_angles,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.model.series import Series

__all__ = ["RTPlanError", "RTPlanWarning", "read_rt_plan"]


_FURTHEST_ISOCENTER_MM = 1e5
_LARGEST_MU = 1e6
_JAW_FIELD_SPACING_MM = 2.5
_WEIGHT_TOLERANCE = 1e-6
_FINAL_WEIGHT_TOLERANCE = 1e-3
_OPEN_JAW = (-np.inf, np.inf)

_TREATMENT = {"TREATMENT", "CONTINUATION", ""}
_NOT_TREATMENT = {"SETUP", "OPEN_PORTFILM", "TRMT_PORTFILM", "VERIFICATION"}


class RTPlanWarning(UserWarning):
    """What an RT Plan file leaves out, or what of it OpenTPS cannot hold and does without."""


@dataclass(frozen=True)
class _Fractions:
    """Fraction group: its fractions, and the meterset of its beams if it is said."""

    count: int
    metersets: dict[int, float | None] | None
    group: int | None = None


@dataclass(frozen=True)
class _Options:
    maximum_travel_mm: float
    maximum_turn_degrees: float
    beamlet_spacing_mm: float | None
    ignore_modifiers: bool
    patient_position: str | None


@quiet_pydicom()
def read_rt_plan(
    path: Path | str | Dataset,
    *,
    fraction_group: int | None = None,
    maximum_travel_mm: float = 10.0,
    maximum_turn_degrees: float = 6.0,
    beamlet_spacing_mm: float | None = None,
    ignore_modifiers: bool = False,
    patient_position: str | None = None,
    series: Series | None = None,
    accept: str | Iterable[str] = (),
) -> Any:
    """Read a photon RT Plan.

    Parameters
    ----------
    path : path or pydicom Dataset
        A static, step-and-shoot, sliding window or arc plan.
    fraction_group : int, optional
        Which one to read; needed when the file has several.
    maximum_travel_mm, maximum_turn_degrees : float
        How far leaves, jaws and angles may move in a segment; see the module's description.
    beamlet_spacing_mm : float, optional
        Spacing of the segments' beamlets, when OpenTPS makes them; half of the narrowest leaf by default, and 2.5 mm
        for a field of jaws alone.
    ignore_modifiers : bool
        Read beams with wedges, blocks, compensators or applicators (cones) as if they had none, with a warning.
    patient_position : str, optional
        How the patient lies, such as ``"FFS"``, in place of what the file says.
    series : Series, optional
        That the plan must belong to: it must be of the same patient and frame of reference.
    accept : str or iterable of str
        Contradictions to `series` that do not matter, as for `Series.from_dicom`.

    Returns
    -------
    opentps PhotonPlan
        With beams and segments, but no beamlets: ``createBeamletsFromSegments`` makes them. MU are per fraction. Beams
        also have the attribute ``nominalEnergy_MV``, and the plan has ``patientPosition``. Angles are as a patient
        lying head first supine sees them.

    Raises
    ------
    OSError
        If the file cannot be opened.
    RTPlanError
        If it is damaged, is not a photon plan, contradicts itself (leaves overlap, meterset weights fall, numbers do
        not fit), needs what OpenTPS does not have (leaves that move along y, wedges, cones, a patient who sits), or
        does not belong to the series; names beam, control point and element.
    ValueError
        If an option is out of range.

    Warns
    -----
    RTPlanWarning
        For what the file leaves out and what is left out of it, setup beams excepted, and for energies other than that
        of the beam model.
    """
    for name, value in (
        ("maximum_travel_mm", maximum_travel_mm),
        ("maximum_turn_degrees", maximum_turn_degrees),
        ("beamlet_spacing_mm", beamlet_spacing_mm),
    ):
        if value is not None and not (np.isfinite(value) and value >= 0.1):
            raise ValueError(f"{name} must be 0.1 or more, got {value}")
    position = None if patient_position is None else checked_patient_position(patient_position)
    options = _Options(maximum_travel_mm, maximum_turn_degrees, beamlet_spacing_mm, ignore_modifiers, position)
    accepted = checked_accepted(accept)
    notes: list[str] = []
    file = _open(Path(path)) if isinstance(path, Path | str) else _checked(path, "the RT Plan")
    if series is not None:
        _check_identity(file, series, accepted, notes)
    plan = _read_plan(file, fraction_group, options, notes)
    if series is not None and plan.patientPosition != series.patient_position:
        notes.append(
            f"the plan is for a patient in position {plan.patientPosition}, and the CT was made in position "
            f"{series.patient_position}"
        )
    for note in dict.fromkeys(notes):
        warnings.warn(f"{file.place.path}: {note}", RTPlanWarning, stacklevel=2)
    return plan


def _open(path: Path) -> Item:
    """Dataset of the file, if it is a photon RT Plan."""
    try:
        dataset = read_file(path)
    except DicomError as error:
        raise Place(str(path)).error(str(error).removeprefix(f"{path}: ")) from error
    if dataset is None:
        raise Place(str(path)).error("is not a DICOM file")
    return _checked(dataset, str(path))


def _check_identity(file: Item, series: Series, accepted: Accepted, notes: list[str]) -> None:
    """Check that the plan is for the patient and in the coordinates of the CT."""
    try:
        stated = Identity.of(Tags(file.place.path, file.dataset))
    except DicomError as error:
        raise file.error(str(error).removeprefix(f"{file.place.path}: ")) from error
    found = contradictions(stated, Identity.of_series(series.dicom))
    against = obstacles(found, accepted)
    if against:
        raise file.error(f"does not belong to the CT: its {'; its '.join(against.values())}. {ACCEPT_HINT}")
    notes.extend(f"its {text} in the CT; the plan is taken all the same" for text in found.values())


def _checked(dataset: Dataset, name: str) -> Item:
    """Item of a dataset, if it is a photon RT Plan."""
    from pydicom.uid import UID

    plan = Item(dataset, Place(name))
    sop_class, modality = plan.text("SOPClassUID"), plan.text("Modality")
    if sop_class == ION_PLAN_CLASS:
        raise plan.error("is an RT Ion Plan; only photon plans can be read")
    if (sop_class or modality) not in {RT_PLAN_CLASS, "RTPLAN"}:
        what = UID(sop_class).name if sop_class else modality
        raise plan.error(f"is not an RT Plan{f' but {what}' if what else ', nor any other DICOM object'}")
    return plan


def _read_plan(file: Item, fraction_group: int | None, options: _Options, notes: list[str]) -> Any:
    beam_items = _numbered(file, "BeamSequence", "BeamNumber")
    if not beam_items:
        brachy = "; it is a brachytherapy plan" if file.items("ApplicationSetupSequence") else ""
        raise file.error(f"is missing or empty: the plan has no external beams{brachy}", "BeamSequence")
    fractions = _fractions(file, fraction_group, beam_items, notes)
    positions = _patient_positions(file, options, notes)
    plan = _empty_plan(file, fractions)
    machines, distances, lying = [], [], []
    for number, item in beam_items.items():
        beam_item = item.at(beam=f"{number} ({item.text('BeamName')!r})")
        if not _is_treatment(beam_item):
            continue
        meterset = _meterset(beam_item, number, fractions, notes)
        if meterset == 0:
            continue
        position = _position(beam_item, positions, options)
        _check_physics(beam_item, options, notes)
        plan.appendBeam(_read_beam(beam_item, number, meterset, position, options, notes))
        lying.append(position)
        machines.append(beam_item.text("TreatmentMachineName"))
        distances.append(_source_distance(beam_item))
    if not plan.beams:
        raise file.error("has no treatment beam with monitor units", "BeamSequence")
    plan.treatmentMachineName, plan.SAD_mm = machines[0], distances[0]
    plan.patientPosition = lying[0]
    return plan


def _numbered(parent: Item, sequence: str, keyword: str) -> dict[int, Item]:
    """Index the items of a sequence by their number, which must be unique."""
    found: dict[int, Item] = {}
    for item in parent.items(sequence):
        number = item.integer(keyword, 0)
        if number is None:
            raise item.error(f"is missing in item {len(found) + 1} of {sequence}", keyword)
        if number in found:
            raise item.error(f"is {number} in two items of {sequence}", keyword)
        found[number] = item
    return found


def _empty_plan(file: Item, fractions: _Fractions) -> Any:
    from opentps.core.data import Patient
    from opentps.core.data.plan import PhotonPlan

    patient = Patient(
        name=file.text("PatientName"),
        id=file.text("PatientID"),
        birthDate=file.text("PatientBirthDate"),
        sex=file.text("PatientSex"),
    )
    name = file.text("RTPlanName") or file.text("RTPlanLabel") or Path(file.place.path).stem
    plan = PhotonPlan(name=name, patient=patient)
    plan.rtPlanName = file.text("RTPlanName")
    plan.SOPInstanceUID = file.text("SOPInstanceUID")
    plan.seriesInstanceUID = file.text("SeriesInstanceUID")
    set_number_of_fractions(plan, fractions.count)
    return plan


# --------------------------------------------------------------------------------------------- fractions and metersets


def _fractions(file: Item, wanted: int | None, beams: dict[int, Item], notes: list[str]) -> _Fractions:
    groups = _numbered(file, "FractionGroupSequence", "FractionGroupNumber")
    if wanted is not None and wanted not in groups:
        raise file.error(f"has no group {wanted}; there are {sorted(groups)}", "FractionGroupSequence")
    if wanted is None and len(groups) > 1:
        raise file.error(
            f"has the groups {sorted(groups)}; say with fraction_group which one to read", "FractionGroupSequence"
        )
    if not groups:
        notes.append("there is no fraction group; meterset weights are taken as MU, for one fraction")
        return _Fractions(1, None)
    group = groups[next(iter(groups)) if wanted is None else wanted]
    count = group.integer("NumberOfFractionsPlanned", 1, 1000)
    if count is None:
        notes.append("the number of fractions is not said; one is taken")
        count = 1
    metersets: dict[int, float | None] = {}
    for number, item in _numbered(group, "ReferencedBeamSequence", "ReferencedBeamNumber").items():
        if number not in beams:
            raise group.error(f"refers to beam {number}, which the plan does not have", "ReferencedBeamSequence")
        metersets[number] = _not_negative(item.at(beam=str(number)), "BeamMeterset", _LARGEST_MU)
    if not metersets:
        notes.append("the fraction group refers to no beams; meterset weights are taken as MU")
    return _Fractions(count, metersets or None, group.integer("FractionGroupNumber", 0))


def _not_negative(item: Item, keyword: str, limit: float) -> float | None:
    value = item.number(keyword, limit)
    if value is not None and value < 0:
        raise item.error(f"must not be negative, got {value:g}", keyword)
    return value


def _meterset(beam: Item, number: int, fractions: _Fractions, notes: list[str]) -> float | None:
    """Find the MU of a beam in a fraction: 0 if it is not in the fraction group, None if they are not stated."""
    if fractions.metersets is None:
        return None
    if number not in fractions.metersets:
        notes.append(f"beam {beam.place.beam} is not in fraction group {fractions.group} and left out")
        return 0.0
    meterset = fractions.metersets[number]
    if meterset == 0:
        notes.append(f"beam {beam.place.beam} has 0 MU and is left out")
    if meterset is None:
        notes.append(f"beam {beam.place.beam} has no meterset; its meterset weights are taken as MU")
    return meterset


# ------------------------------------------------------------------------------------------ what OpenTPS can calculate


def _is_treatment(beam: Item) -> bool:
    kind = beam.text("TreatmentDeliveryType").upper()
    if kind not in _TREATMENT | _NOT_TREATMENT:
        raise beam.error(f"is {kind!r}, which is not a known kind of delivery", "TreatmentDeliveryType")
    return kind in _TREATMENT


def _patient_positions(file: Item, options: _Options, notes: list[str]) -> dict[int, str]:
    setups = _numbered(file, "PatientSetupSequence", "PatientSetupNumber")
    positions = {number: setup.text("PatientPosition").upper() for number, setup in setups.items()}
    if not any(positions.values()) and options.patient_position is None:
        notes.append("the patient's position is not said; head first supine (HFS) is taken")
    return positions


def _position(beam: Item, positions: dict[int, str], options: _Options) -> str:
    """How the patient lies in a beam; head first supine if it is not said."""
    if options.patient_position is not None:
        return options.patient_position
    number = beam.integer("ReferencedPatientSetupNumber", 0)
    if number is None and len(positions) == 1:
        number = next(iter(positions))
    position = positions.get(number, "") if number is not None else ""
    try:
        return checked_patient_position(position or HEAD_FIRST_SUPINE)
    except ValueError:
        raise beam.error(
            f"is {position}; beams are understood for {', '.join(POSITIONS)} only", "PatientPosition"
        ) from None


def _check_physics(beam: Item, options: _Options, notes: list[str]) -> None:
    radiation = beam.text("RadiationType").upper()
    if radiation not in {"PHOTON", ""}:
        raise beam.error(f"is {radiation}; only photon beams can be read", "RadiationType")
    if not radiation:
        notes.append(f"beam {beam.place.beam} does not say its radiation; photons are taken")
    unit = beam.text("PrimaryDosimeterUnit", "MU").upper()
    if unit != "MU":
        raise beam.error(f"is {unit}; only beams in monitor units (MU) can be read", "PrimaryDosimeterUnit")
    for modifier in MODIFIERS:
        _check_modifier(beam, modifier, options, notes)
    for mode in beam.items("PrimaryFluenceModeSequence"):
        if mode.text("FluenceMode").upper() == "NON_STANDARD":
            kind = mode.text("FluenceModeID")
            notes.append(
                f"beam {beam.place.beam} has a non-standard fluence mode{f' ({kind})' if kind else ''}, which OpenTPS "
                "does not model"
            )


def _check_modifier(beam: Item, modifier: Modifier, options: _Options, notes: list[str]) -> None:
    keyword = modifier.stated_by(beam)
    if not keyword:
        return
    if modifier.shapes_beam and not options.ignore_modifiers:
        raise beam.error(
            f"says that the beam has {modifier.name}, which OpenTPS cannot calculate; "
            "ignore_modifiers=True reads the beam without it",
            keyword,
        )
    notes.append(f"beam {beam.place.beam} has {modifier.name}, which is left out")


def _source_distance(beam: Item) -> float:
    distance = beam.number("SourceAxisDistance", 1e5)
    if distance is None:
        return 1000.0
    if distance <= 0:
        raise beam.error(f"must be positive, got {distance:g} mm", "SourceAxisDistance")
    return distance


# ------------------------------------------------------------------------------------------------------------- beams


def _read_beam(
    item: Item, number: int, meterset: float | None, position: str, options: _Options, notes: list[str]
) -> Any:
    from opentps.core.data.plan import PlanPhotonBeam

    points = item.items("ControlPointSequence")
    count = item.integer("NumberOfControlPoints", 0)
    if len(points) < 2:
        raise item.error(f"must have two items or more, got {len(points)}", "ControlPointSequence")
    if count is not None and count != len(points):
        raise item.error(f"is {count}, but ControlPointSequence has {len(points)} items", "NumberOfControlPoints")
    points = [point.at(control_point=index) for index, point in enumerate(points)]
    mu = _interval_mu(item, points, meterset)
    devices = read_devices(item)
    machine = read_control_points(points, devices, item, notes)

    beam = PlanPhotonBeam()
    beam.id, beam.name = number, item.text("BeamName") or f"Beam {number}"
    beam.beamType = item.text("BeamType") or "STATIC"
    beam.isocenterPosition_mm = _isocenter(points)
    beam.SAD_mm = _source_distance(item)
    beam.nominalEnergy_MV = _energy(points, item, notes)
    spacing = options.beamlet_spacing_mm or _natural_spacing(devices)
    beam.xBeamletSpacing_mm = beam.yBeamletSpacing_mm = spacing
    machine = [_supine(state, position, point) for state, point in zip(machine, points, strict=True)]
    angles = opentps_from_iec(machine[0].gantry, machine[0].couch, machine[0].collimator)
    beam.gantryAngle_degree, beam.couchAngle_degree = angles.gantry, angles.couch
    outline = _jaw_field_edge(machine, spacing)
    for index in np.flatnonzero(mu):
        for part, share in motion_parts(
            machine[index], machine[index + 1], options.maximum_travel_mm, options.maximum_turn_degrees
        ):
            _append_segment(beam, part, float(mu[index]) * share, devices, outline)
    return beam


def _supine(state: ControlPoint, position: str, point: Item) -> ControlPoint:
    """Turn the machine's angles into those that a patient lying head first supine would see the beam come from."""
    try:
        angles = supine_angles(position, state.gantry, state.couch, state.collimator)
    except ValueError as error:
        raise point.error(f"is {state.couch:g} degrees: {error}", "PatientSupportAngle") from None
    return replace(state, gantry=angles.gantry, couch=angles.couch, collimator=angles.collimator)


def _interval_mu(beam: Item, points: list[Item], meterset: float | None) -> FloatArray:
    """Compute the MU between successive control points; without a meterset the weights are MU."""
    weights = [_not_negative(point, "CumulativeMetersetWeight", 1e9) for point in points]
    final = _not_negative(beam, "FinalCumulativeMetersetWeight", 1e9)
    weights[0] = 0.0 if weights[0] is None else weights[0]
    weights[-1] = final if weights[-1] is None else weights[-1]
    known = np.array([np.nan if weight is None else weight for weight in weights])
    for index in np.flatnonzero(np.isnan(known)):
        raise points[index].error("is missing", "CumulativeMetersetWeight")
    if known[0] != 0:
        raise points[0].error(f"must be 0, got {known[0]:g}", "CumulativeMetersetWeight")
    steps = np.diff(known)
    for index in np.flatnonzero(steps < -_WEIGHT_TOLERANCE * known.max()):
        raise points[index + 1].error(
            f"falls from {known[index]:g} to {known[index + 1]:g}; it must rise", "CumulativeMetersetWeight"
        )
    last = known[-1]
    if last <= 0:
        raise points[-1].error("is 0: the beam gives no monitor units", "CumulativeMetersetWeight")
    if final is not None and abs(final - last) > _FINAL_WEIGHT_TOLERANCE * last:
        raise beam.error(f"is {final:g}, but the last control point has {last:g}", "FinalCumulativeMetersetWeight")
    if meterset is None:
        meterset = last
        if meterset > _LARGEST_MU:
            raise points[-1].error(
                f"is {last:g}; more than {_LARGEST_MU:g} MU are not possible", "CumulativeMetersetWeight"
            )
    mu: FloatArray = np.maximum(steps, 0.0) / last * meterset
    return mu


def _isocenter(points: list[Item]) -> list[float]:
    first: FloatArray | None = None
    for point in points:
        isocenter = point.numbers("IsocenterPosition", 3, _FURTHEST_ISOCENTER_MM)
        if first is None:
            first = isocenter
        if isocenter is not None and first is not None and np.abs(isocenter - first).max() > 1e-3:
            raise point.error(
                f"moves from {first.tolist()} to {isocenter.tolist()} mm; OpenTPS's beams have one isocenter",
                "IsocenterPosition",
            )
    if first is None:
        raise points[0].error("is missing", "IsocenterPosition")
    return [float(x) for x in first]


def _energy(points: list[Item], beam: Item, notes: list[str]) -> float:
    """Read the nominal energy in MV; by default that of the beam model."""
    first: float | None = None
    for point in points:
        energy = point.number("NominalBeamEnergy", 1000.0)
        if energy is None:
            continue
        if energy <= 0:
            raise point.error(f"must be positive, got {energy:g}", "NominalBeamEnergy")
        if first is not None and energy != first:
            raise point.error(f"changes from {first:g} to {energy:g} MV within a beam", "NominalBeamEnergy")
        first = energy
    if first is None:
        notes.append(f"beam {beam.place.beam} has no NominalBeamEnergy; {MODELED_ENERGY_MV:g} MV is taken")
        return MODELED_ENERGY_MV
    if remark := energy_note(first):
        notes.append(f"beam {beam.place.beam}: {remark}")
    return first


def _natural_spacing(devices: Devices) -> float:
    boundaries = devices["leaves"].boundaries_mm if "leaves" in devices else None
    return _JAW_FIELD_SPACING_MM if boundaries is None else float(np.diff(boundaries).min()) / 2


def _jaw_field_edge(machine: list[ControlPoint], spacing: float) -> float:
    """Compute the half width of a leaf bank that holds all jaw openings with a margin, in whole beamlets.

    OpenTPS's grid of beamlets is half a spacing off the bank's middle, so the margin must be more than one.
    """
    jaws = [positions for point in machine for role, positions in point.positions.items() if role != "leaves"]
    furthest = max((float(np.abs(jaw).max()) for jaw in jaws), default=0.0)
    return float(spacing * (np.ceil(furthest / spacing) + 2))


# ------------------------------------------------------------------------------------------------------- segments


def _append_segment(beam: Any, machine: ControlPoint, mu: float, devices: Devices, edge: float) -> None:
    segment = beam.createBeamSegment()
    segment.controlPointIndex = len(beam) - 1
    segment.mu = mu
    angles = opentps_from_iec(machine.gantry, machine.couch, machine.collimator)
    segment.gantryAngle_degree, segment.couchAngle_degree = angles.gantry, angles.couch
    segment.beamLimitingDeviceAngle_degree = angles.collimator
    jaws = {role: machine.positions[role][0] if role in machine.positions else _OPEN_JAW for role in "xy"}
    segment.x_jaw_mm = [float(position) for position in jaws["x"]]
    segment.y_jaw_mm = [float(position) for position in jaws["y"]]
    boundaries = devices["leaves"].boundaries_mm if "leaves" in devices else None
    if boundaries is None:
        segment.Xmlc_mm = np.array([[-edge, edge, -edge, edge]])
    else:
        segment.Xmlc_mm = np.column_stack([boundaries[:-1], boundaries[1:], machine.positions["leaves"]])
