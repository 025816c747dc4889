"""Prescription files that tell of an earlier course, and of tissues."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from small_case import small_phantom

import opentps_brimstone as pb
from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.dicom.series_writer import write_dicom_folder
from opentps_brimstone.quantities import structure_map
from opentps_brimstone.request.prescription_file import PrescriptionFileError
from opentps_brimstone.request.reader import parse_prescription, read_prescription
from opentps_brimstone.workflow.files import EQD2_FILE
from opentps_brimstone.workflow.patient_case import patient_case, plan_folder

PRESCRIPTION = """[plan]
fractions = 5
[beamlets]
spacing_mm = 10
margin_mm = 10
[[beams]]
gantry_angle = 0
[[beams]]
gantry_angle = 120
[[targets]]
structure = "Tumor"
dose_gy = 20
[prescription]
goals = ["Tumor D90 >= 17 Gy", "Organ EQD2 D0.1cc <= 60 Gy"]
[[previous_dose]]
file = "earlier/rtdose.dcm"
fractions = 25
[[previous_dose]]
file = "earlier/rtdose.dcm"
fractions = 25
recovery = 0.25
structures = ["organ"]
[[tissue]]
structure = "Organ"
alpha_beta = 2
[machine]
mlc = "matched"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """DICOM in one folder; the prescription in another, with the earlier course below it."""
    made = tmp_path_factory.mktemp("case")
    write_dicom_folder(small_phantom(), made / "dicom")
    frame = next(pydicom.dcmread(path) for path in (made / "dicom").iterdir()).FrameOfReferenceUID
    (made / "asked" / "earlier").mkdir(parents=True)
    grid = pb.VoxelGrid((40, 40, 40), (7.0, 7.0, 7.0), (-137.0, -137.0, -137.0))
    for name, uid in (("rtdose", frame), ("other", "1.2.3")):
        path = made / f"asked/earlier/{name}.dcm"
        write_rt_dose(np.full(grid.shape, 40.0), grid, path, frame_of_reference_uid=uid, patient_id="small")
    return made


def asked(folder, text=PRESCRIPTION):
    path = folder / "asked" / "prescription.toml"
    path.write_text(text)
    return read_prescription(path)


def test_the_earlier_course_is_found_beside_the_file(folder):
    case = patient_case(folder / "dicom", asked(folder), fluence_only=True)
    shown = {structure.name: structure for structure in case.structures}
    organ, tumor = shown["Organ"], shown["Tumor"]
    assert organ.alpha_beta == 2.0
    assert organ.previous_dose.recovery == 0.25
    assert tumor.previous_dose.recovery == 0.0
    assert tumor.previous_dose.number_of_fractions == 25
    eqd2 = 40 * (40 / 25 + 2) / 4
    np.testing.assert_allclose(structure_map(organ, "eqd2", 5).c0, 0.75 * eqd2, rtol=1e-4)
    planned = case.prepare.args[0].structures  # what is optimized, before its beamlets are computed
    np.testing.assert_allclose(structure_map(planned["Organ"], "eqd2", 5).c0, 0.75 * eqd2, rtol=1e-4)
    assert [each["file"] for each in case.request.settings()["previous_doses"]] == ["earlier/rtdose.dcm"] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("earlier/rtdose.dcm", "nothing.dcm", r"line 16: previous_dose 1, file: .*nothing\.dcm: there is no such file"),
        ("earlier/rtdose.dcm", "prescription.toml", r"line 16: previous_dose 1, file: .*not a DICOM file"),
        ("earlier/rtdose.dcm", "earlier/other.dcm", r"line 16: previous_dose 1, file: .*FrameOfReferenceUID"),
        (
            'structures = ["organ"]',
            'structures = ["Cord"]',
            "previous_dose 2, structures: there is no structure 'Cord'",
        ),
        ('structure = "Organ"', 'structure = "Cord"', "tissue 1, structure: there is no structure 'Cord'"),
    ],
)
def test_what_does_not_fit_the_patient_is_named(folder, old, new, message):
    with pytest.raises(PrescriptionFileError, match=message):
        patient_case(folder / "dicom", asked(folder, PRESCRIPTION.replace(old, new)), fluence_only=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "recovery = 0.25",
            "recovery = 1.5",
            "previous_dose 2, recovery: this is 1.5; it must be a number",
        ),
        ('file = "earlier/rtdose.dcm"\nfractions = 25\nrec', "fractions = 25\nrec", "previous_dose 2: file is missing"),
        ("fractions = 25\n[[", "fractions = 2.5\n[[", "previous_dose 1, fractions: 2.5 is a number"),
        ('structures = ["organ"]', "structures = []", "previous_dose 2, structures: this is empty"),
        ("alpha_beta = 2", "alpha_beta = 0", "tissue 1, alpha_beta: this is 0; it must be a number of Gy, above 0"),
        ("EQD2 D0.1cc", "EQD2(a/b=0) D0.1cc", "prescription, goals 2: goal .* alpha/beta of the goal of Organ is 0.0"),
    ],
)
def test_wrong_values_are_named(old, new, message):
    with pytest.raises(PrescriptionFileError, match=message):
        parse_prescription(PRESCRIPTION.replace(old, new))


def test_terms_have_a_quantity():
    term = '[[terms]]\nstructure = "Organ"\nkind = "maximum-dose"\nlimit_gy = 50\nquantity = "eqd2"\nalpha_beta = 2\n'
    kl = '[[terms]]\nstructure = "Tumor"\nkind = "kl"\ndose_range = [20, 22]\n'
    (_, guard), (_, target) = parse_prescription(PRESCRIPTION + term + kl).terms
    assert (guard.quantity, guard.alpha_beta, guard.limit_gy) == ("eqd2", 2.0, 50.0)
    assert target.quantity == "physical_dose"
    with pytest.raises(PrescriptionFileError, match="terms 1, quantity: this is 'eqd3'; it may be 'phys"):
        parse_prescription(PRESCRIPTION + term.replace('"eqd2"', '"eqd3"'))


def test_a_term_that_lacks_something_is_named(folder):
    term = '[[terms]]\nstructure = "Organ"\nkind = "mean-dose"\nlimit_gy = 5\nquantity = "effect"\n'
    kl = '[[terms]]\nstructure = "Tumor"\nkind = "kl"\ndose_range = [20, 22]\n'
    with pytest.raises(PrescriptionFileError, match="terms 1: the quantity 'effect' of 'Organ' needs alpha"):
        patient_case(folder / "dicom", asked(folder, PRESCRIPTION + term + kl), fluence_only=True)


def test_a_plan_of_both_courses_is_written(folder, tmp_path):
    result = plan_folder(folder / "dicom", asked(folder), tmp_path / "plan", fluence_only=True)
    dose, eqd2 = (pydicom.dcmread(result.folder / name) for name in ("rtdose.dcm", EQD2_FILE))
    assert (dose.DoseType, eqd2.DoseType) == ("PHYSICAL", "EFFECTIVE")
    assert "EQD2" in eqd2.DoseComment
    assert eqd2.FrameOfReferenceUID == dose.FrameOfReferenceUID
    written = np.asarray(pb.dose_from_dataset(eqd2))
    organ = next(structure for structure in result.structures if structure.name == "Organ")
    inside = organ.share == 1
    np.testing.assert_allclose(written[inside], result.eqd2(organ)[inside], atol=1e-2)
    written_goals = {row.goal.structure: row for row in result.goals}
    assert written_goals["Organ"].value == pytest.approx(
        written_goals["Organ"].goal.value_of(result.dose, organ, 0.001 * np.prod(result.grid.spacing_mm), 5)
    )
    dvhs = json.loads((result.folder / "dvh.json").read_text())["eqd2"]["structures"]["Organ"]
    assert np.sum(dvhs["cumulative_percent"]) > np.sum(dvhs["this_course_percent"])
