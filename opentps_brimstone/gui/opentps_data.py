"""What OpenTPS's window knows of a patient, for planning, and what was planned, for its tree."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from opentps_brimstone.gui.optimization_panel import roi_color
from opentps_brimstone.model.patient_position import HEAD_FIRST_SUPINE
from opentps_brimstone.model.series import Series

if TYPE_CHECKING:
    from opentps_brimstone.gui.plots import Color

__all__ = ["load_folder", "roi_colors", "rois_of", "series_of"]

# As told apart on black by most eyes; our reader does not read colors.
_PALETTE: tuple[Color, ...] = (
    (230, 60, 60),
    (80, 140, 255),
    (90, 200, 100),
    (255, 170, 40),
    (190, 110, 240),
    (70, 210, 220),
    (240, 120, 190),
    (200, 200, 90),
)


def rois_of(patient: Any) -> list[Any]:
    """List a patient's structures.

    Parameters
    ----------
    patient : opentps Patient

    Returns
    -------
    list of opentps ROIContour and ROIMask
        The first of each name.
    """
    found = [roi for structures in patient.rtStructs for roi in structures.contours] + list(patient.roiMasks)
    return list({roi.name: roi for roi in reversed(found)}.values())[::-1]


def roi_colors(patient: Any) -> dict[str, Color]:
    """Tell the colors of a patient's structures.

    Parameters
    ----------
    patient : opentps Patient

    Returns
    -------
    dict of str to (int, int, int)
    """
    return {roi.name: roi_color(roi) for roi in rois_of(patient)}


def series_of(ct: Any) -> Series:
    """Take a CT of the window with its patient's structures.

    Parameters
    ----------
    ct : opentps CTImage
        Not changed.

    Returns
    -------
    Series

    Raises
    ------
    ValueError
        If the patient has no structures.
    """
    rois = rois_of(ct.patient)
    if not rois:
        raise ValueError(f"Plan, CT {ct.name!r}: the patient has no structures; load an RT Structure Set")
    return Series.from_opentps(ct, rois)


def load_folder(view_controller: Any, folder: str) -> None:
    """Load a DICOM folder into the window, with our reader.

    OpenTPS 3 takes the distance of slices from their thickness, and shifts masks of contours.

    Parameters
    ----------
    view_controller : opentps ViewController
    folder : str

    Raises
    ------
    FileNotFoundError, DicomError, ValueError
        As `Series.from_dicom`.
    """
    from opentps.core.data import Patient, RTStruct
    from opentps.core.data.images import ROIMask

    series = Series.from_dicom(folder)
    if series.patient_position != HEAD_FIRST_SUPINE:
        raise ValueError(
            f"{folder}: the patient lies in position {series.patient_position}; OpenTPS's window takes every patient "
            "to lie head first supine (HFS). Plan outside the window"
        )
    for structure in series.with_density:
        warnings.warn(
            f"the density of {structure.name!r} ({structure.density_g_cm3:g} g/cm³) is not taken over: OpenTPS's "
            "objects have none. Plan outside the window to use it",
            stacklevel=2,
        )
    ct, rois = series.to_opentps()
    header = series.dicom
    patient = Patient(name=str(header.get("PatientName", "") or header.get("PatientID", "") or "patient"))
    patient.id = str(header.get("PatientID", ""))
    ct.name = str(header.get("SeriesDescription", "") or "CT")
    if "FrameOfReferenceUID" in header:
        ct.frameOfReferenceUID = header["FrameOfReferenceUID"]
    structures = RTStruct(name="structures")
    for number, roi in enumerate(rois):
        roi.color = _PALETTE[number % len(_PALETTE)]
        if isinstance(roi, ROIMask):
            roi.patient = patient
        else:
            structures.appendContour(roi)
    view_controller.patientList.append(patient)
    ct.patient = patient
    structures.patient = patient
