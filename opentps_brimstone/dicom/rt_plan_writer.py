"""RT Plan: writing the segments of an OpenTPS photon plan as a DICOM file for step-and-shoot delivery.

Every segment becomes two control points with the same aperture, between which its monitor units are delivered; the
machine moves between segments without beam. By the standard's definition (PS3.3, Beam Type) such a beam is STATIC:
nothing changes between control points of increasing meterset. Angles are converted from OpenTPS's convention to IEC's.

Jaws of a segment at plus or minus infinity do not exist, and are left out. A leaf bank of a single pair stands in
OpenTPS's objects for a field made by jaws alone, and is left out too.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone.adapters.angles import iec_from_opentps
from opentps_brimstone.adapters.plan import leaf_rows
from opentps_brimstone.adapters.versions import source_distance_mm
from opentps_brimstone.dicom.header import (
    RT_PLAN_CLASS,
    DicomSource,
    decimals,
    describe_object,
    load_reference,
    new_object,
    one_line,
    reference_item,
    save_object,
)
from opentps_brimstone.model.patient_position import (
    HEAD_FIRST_SUPINE,
    Angles,
    checked_patient_position,
    machine_angles,
)
from opentps_brimstone.sequencing.mlc import TOLERANCE_MM

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from opentps_brimstone.sequencing.mlc import MLC

__all__ = ["write_rt_plan"]


_RESEARCH = "Research plan of opentps-brimstone, not for treatment."
_DEFAULT_ENERGY_MV = 6.0
# Leaf positions are written to a tenth of a micrometer: shorter strings, far below what a machine resolves.
_POSITION_DIGITS = 4


class _Setting(NamedTuple):
    """State of the machine for a segment, by the names of DICOM's devices, and its monitor units."""

    devices: dict[str, FloatArray]
    angles: Angles
    mu: float


class _Field(NamedTuple):
    """A beam that has been checked."""

    number: int
    name: str
    beam: Any
    boundaries_mm: FloatArray | None
    settings: list[_Setting]

    @property
    def mu(self) -> float:
        return float(sum(setting.mu for setting in self.settings))


def write_rt_plan(
    photon_plan: Any,
    path: Path | str,
    *,
    mlc: MLC | None = None,
    prescription: Mapping[str, float] | None = None,
    structure_set: DicomSource | None = None,
    ct: DicomSource | None = None,
    frame_of_reference_uid: str | None = None,
    patient_id: str | None = None,
    label: str | None = None,
    description: str = "",
    calibration: str = "",
    machine: str | None = None,
    nominal_energy_mv: float | None = None,
    dose_rate_mu_per_min: float | None = None,
    beam_doses_gy: Sequence[float] | None = None,
    sop_instance_uid: str | None = None,
    patient_position: str | None = None,
) -> Dataset:
    """Write the segments of a photon plan as a DICOM RT Plan.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Not changed. Its segments have whole leaf banks in ``Xmlc_mm``, rows [y_low, y_high, x_left, x_right] in mm,
        jaws, OpenTPS's angles and ``mu`` per fraction, which is written unchanged: `adapters.segments.with_machine_mu`
        converts the engine's MU to the machine's. Segments of 0 MU are left out.
    path : Path
        File to write; replaced if it exists.
    mlc : MLC, optional
        The machine's collimator. If given, the leaves must be its leaves and obey its limits, and jaws that it does not
        have are left out if they cover nothing that the leaves leave open.
    prescription : mapping of str to float, optional
        Prescribed dose in Gy over all fractions by the name of the target.
    structure_set, ct : path or pydicom Dataset, optional
        The RT Structure Set, which the plan then refers to, and a slice of the CT. Patient, study and frame of
        reference are taken from them.
    frame_of_reference_uid : str, optional
        If neither is given; a new one by default.
    patient_id : str, optional
        Patient's name and number if neither structure set nor CT has them; by default those of the plan's patient.
    label : str, optional
        Up to 16 characters; the plan's name by default.
    description : str
        Of the plan; it always states that the plan is for research.
    calibration : str
        Definition of a monitor unit, for the plan's description.
    machine : str, optional
        Treatment machine, up to 16 characters; by default the plan's ``treatmentMachineName``, then the MLC's name.
    nominal_energy_mv : float, optional
        By default the beam's ``nominalEnergy_MV`` if it was read from a file, or 6.
    beam_doses_gy : sequence of float, optional
        Dose of each beam to its dose specification point per fraction, for beams in the plan's order.
    sop_instance_uid : str, optional
        A new one by default.
    patient_position : str, optional
        How the patient lies, by which the machine's angles are written, such as ``"FFS"``. By default the plan's
        ``patientPosition``, then the position in the CT, then head first supine.

    Returns
    -------
    Dataset
        The written object, for `write_rt_dose` to refer to.

    Raises
    ------
    TypeError
        If it is not a PhotonPlan.
    ValueError
        If the plan cannot be delivered or written: a beam was never sequenced, leaves overlap, violate the MLC's limits
        or differ in their boundaries, MU are negative or not finite (the message names beam and segment); a prescribed
        structure is not in the structure set; or structure set and CT do not belong together. Nothing is written.
    OSError
        If structure set or CT cannot be read or the file cannot be written.
    """
    slice_of_ct = load_reference(ct, "CT", "CT")
    position = _position(patient_position, photon_plan, slice_of_ct)
    fields = _checked_fields(photon_plan, mlc, position)
    energy = nominal_energy_mv
    for what, value in (("nominal energy", energy), ("dose rate", dose_rate_mu_per_min)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"the {what} must be positive, not {value}")
    if beam_doses_gy is not None and len(beam_doses_gy) != len(fields):
        raise ValueError(f"there are {len(fields)} beams and {len(beam_doses_gy)} beam doses")
    structures = load_reference(structure_set, "RTSTRUCT", "structure set")
    references = [found for found in (structures, slice_of_ct) if found is not None]

    dataset = new_object(RT_PLAN_CLASS, sop_instance_uid)
    patient = _patient(photon_plan, patient_id)
    title = label or photon_plan.rtPlanName or photon_plan.name or "Brimstone plan"
    describe_object(dataset, "RTPLAN", title, references, patient, frame_of_reference_uid)
    _add_general(dataset, title, " ".join(filter(None, [_RESEARCH, description, calibration])), structures)
    _add_prescription(dataset, prescription or {}, structures)
    _add_fractions(dataset, fields, photon_plan.numberOfFractionsPlanned, beam_doses_gy)
    _add_setup(dataset, position)
    machine = machine or photon_plan.treatmentMachineName or ("" if mlc is None else mlc.name)
    sad_mm = source_distance_mm(photon_plan)
    dataset.BeamSequence = [_beam_item(field, sad_mm, machine, energy, dose_rate_mu_per_min) for field in fields]
    dataset.ApprovalStatus = "UNAPPROVED"
    save_object(dataset, path)
    return dataset


def _position(given: str | None, photon_plan: Any, ct: Dataset | None) -> str:
    stated = given or getattr(photon_plan, "patientPosition", "")
    in_ct = "" if ct is None else str(ct.get("PatientPosition", "") or "")
    return checked_patient_position(stated or in_ct or HEAD_FIRST_SUPINE)


def _patient(photon_plan: Any, patient_id: str | None) -> dict[str, str]:
    patient = photon_plan.patient
    if patient_id is not None or patient is None:
        name = patient_id or "phantom"
        return {"PatientName": name, "PatientID": name}
    return {
        "PatientName": str(patient.name or ""),
        "PatientID": str(patient.id or ""),
        "PatientBirthDate": str(patient.birthDate or ""),
        "PatientSex": str(patient.sex or ""),
    }


# ------------------------------------------------------------------------------------------------- what a plan must be


def _checked_fields(photon_plan: Any, mlc: MLC | None, position: str) -> list[_Field]:
    from opentps.core.data.plan import PhotonPlan

    if not isinstance(photon_plan, PhotonPlan):
        raise TypeError(f"the plan must be an OpenTPS PhotonPlan, got {type(photon_plan).__name__}")
    if not photon_plan.beams:
        raise ValueError(f"the plan {photon_plan.name!r} has no beams")
    fractions = photon_plan.numberOfFractionsPlanned
    if not (fractions >= 1 and fractions == int(fractions)):
        raise ValueError(f"numberOfFractionsPlanned must be 1 or more, got {fractions!r}")
    numbers = [beam.id for beam in photon_plan.beams]
    own = all(isinstance(number, int) and 0 < number < 2**31 for number in numbers)
    if not own or len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(numbers) + 1))
    return [
        _checked_field(number, beam, mlc, position) for number, beam in zip(numbers, photon_plan.beams, strict=True)
    ]


def _checked_field(number: int, beam: Any, mlc: MLC | None, position: str) -> _Field:
    place = f"beam {number} ({beam.name!r})"
    if not beam.beamSegments:
        raise ValueError(f"{place} has no segments")
    isocenter = np.asarray(beam.isocenterPosition_mm, dtype=np.float64)
    if isocenter.shape != (3,) or not np.isfinite(isocenter).all():
        raise ValueError(f"{place}: the isocenter must be three finite numbers in mm, got {isocenter.tolist()}")
    banks: list[FloatArray] = []
    for index, segment in enumerate(beam.beamSegments):
        bank = _checked_bank(segment, f"{place}, segment {index}")
        if banks and (len(bank) != len(banks[0]) or np.abs(bank[:, :2] - banks[0][:, :2]).max() > TOLERANCE_MM):
            raise ValueError(f"{place}, segment {index} has other leaf boundaries than segment 0; a beam has one MLC")
        banks.append(bank)
    if mlc is not None and len(banks[0]) > 1:
        _check_boundaries(banks[0], mlc, place)
    settings = [
        _setting(segment, bank, mlc, position, f"{place}, segment {index}")
        for index, (segment, bank) in enumerate(zip(beam.beamSegments, banks, strict=True))
    ]
    settings = [setting for setting in settings if setting.mu > 0]
    if not settings:
        raise ValueError(f"{place} gives no monitor units; remove it from the plan")
    if any(setting.devices.keys() != settings[0].devices.keys() for setting in settings):
        raise ValueError(f"{place}: some of its segments have jaws that others do not have")
    boundaries = np.append(banks[0][:, 0], banks[0][-1, 1]) if len(banks[0]) > 1 else None
    return _Field(number, one_line(beam.name, 64) or f"Beam {number}", beam, boundaries, settings)


def _checked_bank(segment: Any, place: str) -> FloatArray:
    bank = leaf_rows(
        segment,
        place,
        "was never sequenced: it has no leaf positions (Xmlc_mm is empty). Make segments of the fluence with "
        "opentps_brimstone.sequencing first",
    )
    if np.abs(bank[1:, 0] - bank[:-1, 1]).max(initial=0) > TOLERANCE_MM or (bank[:, 1] <= bank[:, 0]).any():
        raise ValueError(f"{place}: the leaves in Xmlc_mm must lie side by side in rising order of y, without gaps")
    overlap = bank[:, 2] - bank[:, 3]
    if overlap.max() > TOLERANCE_MM:
        pair = int(overlap.argmax())
        raise ValueError(
            f"{place}: the leaves of pair {pair} overlap by {overlap[pair]:.2f} mm, "
            f"left at {bank[pair, 2]:.2f} and right at {bank[pair, 3]:.2f} mm"
        )
    return bank


def _check_boundaries(bank: FloatArray, mlc: MLC, place: str) -> None:
    wanted = np.asarray(mlc.leaf_boundaries_mm)
    found = np.append(bank[:, 0], bank[-1, 1])
    if len(found) != len(wanted):
        raise ValueError(f"{place} has {len(found) - 1} leaf pairs; {mlc.name} has {mlc.n_pairs}")
    off = np.abs(found - wanted)
    if off.max() > TOLERANCE_MM:
        edge = int(off.argmax())
        raise ValueError(f"{place} has a leaf boundary at {found[edge]:g} mm; {mlc.name} has it at {wanted[edge]:g} mm")


def _setting(segment: Any, bank: FloatArray, mlc: MLC | None, position: str, place: str) -> _Setting:
    if segment.mu is None:
        raise ValueError(
            f"{place} was never sequenced: its beamlets have different MU, and an aperture gives one number of them. "
            "Make segments of the fluence with opentps_brimstone.sequencing first"
        )
    mu = float(segment.mu)
    if not (np.isfinite(mu) and mu >= 0):
        raise ValueError(f"{place} has {mu} MU; they must be finite and not negative")
    devices = {}
    for axis in "XY":
        exists = mlc is None or len(bank) == 1 or (mlc.x_jaws if axis == "X" else mlc.y_jaws) is not None
        jaw = _checked_jaw(segment, bank, axis, exists, place)
        if jaw is not None:
            devices[f"ASYM{axis}"] = jaw
    if len(bank) > 1:
        for violation in mlc.violations(bank[:, 2], bank[:, 3]) if mlc is not None else ():
            raise ValueError(f"{place}: {violation}")
        devices["MLCX"] = np.concatenate([bank[:, 2], bank[:, 3]])
    elif devices.keys() != {"ASYMX", "ASYMY"}:
        raise ValueError(f"{place} has a single leaf pair, so its field is made by jaws; it needs them in x and y")
    try:
        supine = iec_from_opentps(
            segment.gantryAngle_degree, segment.couchAngle_degree, segment.beamLimitingDeviceAngle_degree
        )
        angles = machine_angles(position, *supine)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    return _Setting(devices, angles, mu)


def _checked_jaw(segment: Any, bank: FloatArray, axis: str, exists: bool, place: str) -> FloatArray | None:
    """Check jaw positions; None if the machine has no jaws on the axis."""
    given = segment.x_jaw_mm if axis == "X" else segment.y_jaw_mm
    if given is None or len(given) == 0:
        return None
    jaw = np.asarray(given, dtype=np.float64)
    if jaw.shape != (2,) or np.isnan(jaw).any() or jaw[0] >= jaw[1]:
        raise ValueError(f"{place}: the {axis} jaws must be two rising positions in mm, got {jaw.tolist()}")
    if np.isinf(jaw).any():
        if not np.isinf(jaw).all():
            raise ValueError(f"{place}: one of the {axis} jaws is at infinity, {jaw.tolist()} mm")
        return None
    if exists:
        return jaw
    opened = bank[bank[:, 3] - bank[:, 2] > TOLERANCE_MM]
    low, high = (opened[:, 2], opened[:, 3]) if axis == "X" else (opened[:, 0], opened[:, 1])
    if opened.size and (low.min() < jaw[0] - TOLERANCE_MM or high.max() > jaw[1] + TOLERANCE_MM):
        raise ValueError(
            f"{place}: the {axis} jaws at {jaw.tolist()} mm cover what the leaves leave open, and the machine has no "
            f"{axis} jaws; close the leaves there"
        )
    return None


# ------------------------------------------------------------------------------------------------- what is written


def _add_general(dataset: Dataset, title: str, description: str, structures: Dataset | None) -> None:
    now = datetime.datetime.now()
    dataset.RTPlanLabel = one_line(title, 16) or "Brimstone"
    dataset.RTPlanName = one_line(title, 64)
    dataset.RTPlanDescription = description.replace("\\", "/")[:1024]
    dataset.RTPlanDate = now.strftime("%Y%m%d")
    dataset.RTPlanTime = now.strftime("%H%M%S")
    dataset.PlanIntent = "RESEARCH"
    dataset.RTPlanGeometry = "TREATMENT_DEVICE" if structures is None else "PATIENT"
    if structures is not None:
        dataset.ReferencedStructureSetSequence = [reference_item(structures.SOPClassUID, structures.SOPInstanceUID)]


def _add_prescription(dataset: Dataset, prescription: Mapping[str, float], structures: Dataset | None) -> None:
    from pydicom.dataset import Dataset as Item

    rois: dict[str, int] = {}
    for roi in [] if structures is None else structures.get("StructureSetROISequence") or []:
        rois.setdefault(str(roi.ROIName), roi.ROINumber)  # of two of one name the first is meant
    items = []
    for number, (name, dose) in enumerate(prescription.items(), start=1):
        if not (np.isfinite(dose) and dose > 0):
            raise ValueError(f"the dose prescribed to {name!r} must be positive, not {dose} Gy")
        item = Item()
        item.DoseReferenceNumber = number
        if structures is None:
            item.DoseReferenceStructureType = "SITE"
        elif name in rois:
            item.DoseReferenceStructureType = "VOLUME"
            item.ReferencedROINumber = rois[name]
        else:
            raise ValueError(
                f"a dose is prescribed to {name!r}, which is not in the structure set; it has {', '.join(rois)}"
            )
        item.DoseReferenceDescription = one_line(name, 64)
        item.DoseReferenceType = "TARGET"
        item.TargetPrescriptionDose = decimals([dose])[0]
        items.append(item)
    if items:
        dataset.DoseReferenceSequence = items


def _add_fractions(
    dataset: Dataset, fields: Sequence[_Field], fractions: int, beam_doses_gy: Sequence[float] | None
) -> None:
    from pydicom.dataset import Dataset as Item

    group = Item()
    group.FractionGroupNumber = 1
    group.NumberOfFractionsPlanned = int(fractions)
    group.NumberOfBeams = len(fields)
    group.NumberOfBrachyApplicationSetups = 0
    group.ReferencedBeamSequence = []
    for index, field in enumerate(fields):
        item = Item()
        if beam_doses_gy is not None:
            if not (np.isfinite(beam_doses_gy[index]) and beam_doses_gy[index] >= 0):
                raise ValueError(f"the dose of beam {field.number} cannot be {beam_doses_gy[index]} Gy")
            item.BeamDose = decimals([beam_doses_gy[index]])[0]
        item.BeamMeterset = decimals([field.mu])[0]
        item.ReferencedBeamNumber = field.number
        group.ReferencedBeamSequence.append(item)
    dataset.FractionGroupSequence = [group]


def _add_setup(dataset: Dataset, position: str) -> None:
    from pydicom.dataset import Dataset as Item

    setup = Item()
    setup.PatientPosition = position
    setup.PatientSetupNumber = 1
    dataset.PatientSetupSequence = [setup]


def _beam_item(field: _Field, sad_mm: float, machine: str, energy: float | None, dose_rate: float | None) -> Dataset:
    from pydicom.dataset import Dataset as Item

    item = Item()
    item.Manufacturer = "opentps-brimstone"
    item.TreatmentMachineName = one_line(machine, 16)
    item.PrimaryDosimeterUnit = "MU"
    item.SourceAxisDistance = decimals([sad_mm])[0]
    item.BeamLimitingDeviceSequence = [_device_item(name, field) for name in field.settings[0].devices]
    item.BeamNumber = field.number
    item.BeamName = field.name
    item.BeamType = "STATIC"
    item.RadiationType = "PHOTON"
    item.TreatmentDeliveryType = "TREATMENT"
    item.NumberOfWedges = item.NumberOfCompensators = item.NumberOfBoli = item.NumberOfBlocks = 0
    item.FinalCumulativeMetersetWeight = 1
    item.ReferencedPatientSetupNumber = 1
    if energy is None:
        energy = getattr(field.beam, "nominalEnergy_MV", _DEFAULT_ENERGY_MV)
    item.ControlPointSequence = _control_points(field, energy, dose_rate)
    item.NumberOfControlPoints = len(item.ControlPointSequence)
    return item


def _device_item(name: str, field: _Field) -> Dataset:
    from pydicom.dataset import Dataset as Item

    item = Item()
    item.RTBeamLimitingDeviceType = name
    item.NumberOfLeafJawPairs = 1
    if name == "MLCX":
        assert field.boundaries_mm is not None
        item.NumberOfLeafJawPairs = len(field.boundaries_mm) - 1
        item.LeafPositionBoundaries = _positions(field.boundaries_mm)
    return item


def _positions(values_mm: FloatArray) -> list[Any]:
    return decimals([round(float(value), _POSITION_DIGITS) for value in values_mm])


def _control_points(field: _Field, energy: float, dose_rate: float | None) -> list[Dataset]:
    """Make two control points for each segment; what changes anywhere in the beam is in all of them."""
    settings = field.settings
    first = settings[0]
    moving = any(
        not np.array_equal(setting.devices[name], first.devices[name])
        for setting in settings[1:]
        for name in first.devices
    )
    turning = [
        axis for axis in Angles._fields if any(getattr(s.angles, axis) != getattr(first.angles, axis) for s in settings)
    ]
    given = np.cumsum([0.0, *(setting.mu for setting in settings)]) / field.mu
    given[-1] = 1.0
    items: list[Dataset] = []
    for index, setting in enumerate(settings):
        for end in (0, 1):
            item = _control_point(len(items), float(given[index + end]))
            if not items:
                _add_unchanging(item, field, energy, dose_rate)
            if moving or not items:
                item.BeamLimitingDevicePositionSequence = _position_items(setting)
            following = settings[min(index + end, len(settings) - 1)].angles
            for axis in turning if items else Angles._fields:
                _add_angle(item, axis, getattr(setting.angles, axis), getattr(following, axis))
            items.append(item)
    return items


def _control_point(index: int, weight: float) -> Dataset:
    from pydicom.dataset import Dataset as Item

    item = Item()
    item.ControlPointIndex = index
    item.CumulativeMetersetWeight = decimals([weight])[0]
    return item


def _add_unchanging(item: Dataset, field: _Field, energy: float, dose_rate: float | None) -> None:
    item.NominalBeamEnergy = decimals([energy])[0]
    if dose_rate is not None:
        item.DoseRateSet = decimals([dose_rate])[0]
    item.TableTopEccentricAngle = 0
    item.TableTopEccentricRotationDirection = "NONE"
    item.TableTopVerticalPosition = item.TableTopLongitudinalPosition = item.TableTopLateralPosition = None
    item.TableTopPitchAngle = item.TableTopRollAngle = 0.0
    item.TableTopPitchRotationDirection = item.TableTopRollRotationDirection = "NONE"
    item.IsocenterPosition = decimals([round(float(x), _POSITION_DIGITS) for x in field.beam.isocenterPosition_mm])


def _position_items(setting: _Setting) -> list[Dataset]:
    from pydicom.dataset import Dataset as Item

    items = []
    for name, positions in setting.devices.items():
        item = Item()
        item.RTBeamLimitingDeviceType = name
        item.LeafJawPositions = _positions(positions)
        items.append(item)
    return items


# Angle, direction of rotation, and the direction in which the angle grows: IEC's gantry turns clockwise as seen from
# the isocenter, couch and collimator counter-clockwise as seen from above and from the source.
_ANGLE_ATTRIBUTES = {
    "gantry": ("GantryAngle", "GantryRotationDirection", "CW", "CC"),
    "couch": ("PatientSupportAngle", "PatientSupportRotationDirection", "CC", "CW"),
    "collimator": ("BeamLimitingDeviceAngle", "BeamLimitingDeviceRotationDirection", "CC", "CW"),
}


def _add_angle(item: Dataset, axis: str, angle: float, following: float) -> None:
    """Add an angle and the turn to the next one, which does not pass through 180°, where machines have their stops."""
    angle_keyword, direction_keyword, growing, falling = _ANGLE_ATTRIBUTES[axis]
    turn = (following + 180.0) % 360.0 - (angle + 180.0) % 360.0
    setattr(item, angle_keyword, decimals([angle])[0])
    setattr(item, direction_keyword, "NONE" if turn == 0 else growing if turn > 0 else falling)
