"""From a DICOM folder to RT Plan, RT Dose and report, with the real engine."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pydicom
import pytest
from recorded_log import recorded_messages
from small_case import small_phantom

from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.cli import main
from opentps_brimstone.dicom import read_rt_plan
from opentps_brimstone.dicom.rt_dose_reader import dose_from_dataset
from opentps_brimstone.dicom.series_writer import STRUCTURE_SET_FILE, write_dicom_folder
from opentps_brimstone.evaluation import evaluate, format_table
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.request.prescription_file import PrescriptionFileError
from opentps_brimstone.request.prescription_template import starting_prescription, write_starting_prescription
from opentps_brimstone.request.reader import parse_prescription
from opentps_brimstone.sequencing import SequencingSettings
from opentps_brimstone.workflow.case import SEQUENCING_MARGIN
from opentps_brimstone.workflow.files import PLAN_FILES, RT_PLAN_FILE
from opentps_brimstone.workflow.patient_case import patient_case, plan_folder

PRESCRIPTION = """[plan]
name = "Small <cylinder>"
fractions = 5
isocenter_mm = [1.3, 0.4, 2.1]
[beamlets]
spacing_mm = 10
margin_mm = 10
[[beams]]
gantry_angle = 0
[[beams]]
gantry_angle = 110
couch_angle = 350
collimator_angle = 15
name = "oblique"
[[beams]]
gantry_angle = 240
[[targets]]
structure = "tumor"
dose_gy = 20
[prescription]
goals = ["Tumor D90 >= 17 Gy", "Organ Dmean <= 14 Gy"]
[machine]
name = "LINAC1"
levels = 12
[planner]
rounds = 2
"""

TERMS = """
[[terms]]
structure = "Tumor"
kind = "kl"
dose_range = [19.5, 21.5]
[[terms]]
structure = "Organ"
kind = "mean-dose"
limit_gy = 5
"""


@pytest.fixture(scope="module", autouse=True)
def common_cache(tmp_path_factory):
    """Beamlets of this module are computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """DICOM folder with a body that holds the target, and a CTV inside it."""
    phantom = small_phantom()
    tumor, organ, _ = phantom.structures
    body = Structure("Body", np.clip(sum(each.share for each in phantom.structures), 0, 1))
    inner = Structure("CTV", np.where(tumor.share == 1, 1.0, 0.0), is_target=True)
    folder = tmp_path_factory.mktemp("patient") / "dicom"
    write_dicom_folder(replace(phantom, structures=(tumor, organ, body, inner)), folder, patient_id="Müller")
    return folder


def contents(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def planned(patient, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans") / "made" / "here"
    before = contents(patient)
    with recorded_messages() as said:
        result = plan_folder(patient, parse_prescription(PRESCRIPTION, "p.toml"), folder, options=RunOptions(threads=2))
    assert contents(patient) == before
    return result, said


@pytest.fixture(scope="module")
def rt_plan(planned):
    return pydicom.dcmread(planned[0].folder / RT_PLAN_FILE)


def test_goals_are_met_and_the_recalculation_agrees(planned):
    result, said = planned
    assert result.goals.all_met, result.summary()
    assert result.passed == result.deliverable.passed == all(good for _, good in result.checks())
    assert result.difference <= 1e-4
    assert re.match(
        r"Small <cylinder>: 3 beams, 4 structures, \d+ voxels", next(line for line in said if "beams" in line)
    )
    assert "note: 'CTV' is not a target of the prescription; it is shown, and not planned with" in said
    assert any(line.startswith("round 2: ") and "Body outside targets" in line for line in said)
    assert format_table(*result.goal_rows()) in result.summary() and "gamma" in result.summary()


def test_all_files_are_there_and_nothing_else(planned):
    result, _ = planned
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(PLAN_FILES)
    assert [path.name for path in result.folder.parent.iterdir()] == [result.folder.name]
    assert (result.folder / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (result.folder / "prescription.toml").read_text() == PRESCRIPTION


def test_the_rt_plan_belongs_to_the_patient_and_is_what_was_planned(planned, rt_plan, patient):
    result, _ = planned
    structure_set = pydicom.dcmread(patient / STRUCTURE_SET_FILE)
    assert rt_plan.PatientName == structure_set.PatientName == "Müller"
    for tag in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert rt_plan[tag].value == structure_set[tag].value
    assert rt_plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == structure_set.SOPInstanceUID
    (target,) = rt_plan.DoseReferenceSequence
    assert target.TargetPrescriptionDose == 20
    assert rt_plan.BeamSequence[0].TreatmentMachineName == "LINAC1"
    metersets = [float(beam.BeamMeterset) for beam in rt_plan.FractionGroupSequence[0].ReferencedBeamSequence]
    assert sum(metersets) == pytest.approx(result.deliverable.machine_mu)


def test_the_rt_plan_is_read_back(planned):
    result, _ = planned
    with silent_opentps():
        plan = read_rt_plan(result.folder / RT_PLAN_FILE)
    assert plan.numberOfFractionsPlanned == 5
    assert [beam.name for beam in plan.beams] == ["G000", "oblique", "G240"]
    for read, made in zip(plan.beams, result.photon_plan.beams, strict=True):
        np.testing.assert_allclose(read.isocenterPosition_mm, (1.3, 0.4, 2.1), atol=1e-6)
        assert read.gantryAngle_degree == pytest.approx(made.gantryAngle_degree)
        assert read.couchAngle_degree == pytest.approx(made.couchAngle_degree)
        assert len(read) == len(made)
        for segment, own in zip(read.beamSegments, made.beamSegments, strict=True):
            np.testing.assert_allclose(segment.Xmlc_mm, own.Xmlc_mm, atol=1e-3)
            assert segment.mu == pytest.approx(float(result.deliverable.calibration.machine_mu(own.mu)), rel=1e-6)
            assert segment.beamLimitingDeviceAngle_degree == pytest.approx(own.beamLimitingDeviceAngle_degree)


def test_the_rt_dose_belongs_to_the_plan_and_reaches_the_goals(planned, rt_plan, patient):
    result, _ = planned
    path = result.folder / "rtdose.dcm"
    header = pydicom.dcmread(path)
    assert header.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == rt_plan.SOPInstanceUID
    assert header.FrameOfReferenceUID == rt_plan.FrameOfReferenceUID
    assert header.PatientID == rt_plan.PatientID
    dose = dose_from_dataset(path)
    np.testing.assert_allclose(np.asarray(dose), result.deliverable.dose, atol=1e-5 * result.deliverable.dose.max())
    structures = [each.on_grid(dose.grid) for each in Series.from_dicom(patient).structures]
    again = evaluate(dose, structures, result.case.goals)
    np.testing.assert_allclose([each.value for each in again], [each.value for each in result.goals], rtol=1e-4)


def test_dvhs_and_goals_as_data(planned):
    result, _ = planned
    document = json.loads((result.folder / "dvh.json").read_text())
    tumor = document["structures"]["Tumor"]
    assert tumor["is_target"] and not document["structures"]["CTV"]["is_target"]
    assert tumor["volume_cc"] == pytest.approx(np.pi * 2.2**2 * 4, rel=0.02)
    assert tumor["volume_percent"][0] == 100.0 and len(tumor["volume_percent"]) == len(document["dose_gy"])
    goals = json.loads((result.folder / "goals.json").read_text())
    assert [goal["value"] for goal in goals["goals"]] == [each.value for each in result.goals]


class Page(HTMLParser):
    """Gathers what a page shows and refers to."""

    VOID = ("meta", "img", "br", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.references += [v for name, value in attrs if name == "style" for v in re.findall(r"url\((.*?)\)", value)]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_html_report_is_whole_and_needs_nothing_else(planned):
    result, _ = planned
    text = (result.folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.tags.count("img") == 3 + 2 * len(result.deliverable.sequenced_beams)
    assert all(re.match(r"data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]+$", each) for each in page.references)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in text and "url(" not in text
    shown = " ".join(" ".join(page.words).split())
    for words in (
        "Small <cylinder>",
        "Müller",
        "not a medical device",
        "LINAC1",
        "Varian Millennium 120",
        "1 cGy/MU in a 10 x 10 cm field, 10 cm deep in water",
        "opentps-brimstone",
        "✓ met",
        "2 of 2 goals met",
        f"{result.deliverable.machine_mu:.1f} MU per fraction",
        '"kl_floor": 0.001',
        "it is shown, and not planned with",
    ):
        assert words in shown


def test_segments_and_mu_of_the_report_are_the_plans(planned, rt_plan):
    result, _ = planned
    shown = " ".join(Page((result.folder / "report.html").read_text(encoding="utf-8")).words)
    for beam, reference in zip(
        rt_plan.BeamSequence, rt_plan.FractionGroupSequence[0].ReferencedBeamSequence, strict=True
    ):
        total = float(reference.BeamMeterset)
        weights = [float(point.CumulativeMetersetWeight) for point in beam.ControlPointSequence]
        each = [high - low for low, high in zip(weights[::2], weights[1::2], strict=True)]
        share = total / float(beam.FinalCumulativeMetersetWeight)
        assert ", ".join(f"{share * weight:.1f}" for weight in each) in shown
        assert f"{total:.1f}" in shown


def test_terms_and_fluence_alone(patient, tmp_path, planned):
    asked = parse_prescription(PRESCRIPTION + TERMS)
    result = plan_folder(patient, asked, tmp_path / "out", fluence_only=True, options=RunOptions(threads=2))
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(
        set(PLAN_FILES) - {RT_PLAN_FILE, "apertures.png"}
    )
    assert result.deliverable is None and result.difference <= 1e-4
    assert [name for name, _ in result.objectives] == ["Tumor", "Organ"]
    assert all(term.structure is None for _, term in asked.terms)
    doses = result.dose[result.structures[0].share == 1]
    assert 19 < doses.mean() < 22
    page = Page((result.folder / "report.html").read_text(encoding="utf-8"))
    assert "none: fluence alone, no segments" in page.words
    assert page.tags.count("img") == 4
    header = pydicom.dcmread(result.folder / "rtdose.dcm")
    structure_set = pydicom.dcmread(patient / STRUCTURE_SET_FILE)
    for tag in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert header[tag].value == structure_set[tag].value


# ------------------------------------------------------------------------------------- before the engine, and files


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            '"tumor"',
            '"Tumr"',
            (
                "p.toml, line 18: targets 1, structure: there is no structure 'Tumr'; there are 'Tumor', "
                "'Organ', 'Body', 'CTV'; do you mean 'Tumor'?"
            ),
        ),
        (
            "[1.3, 0.4, 2.1]",
            "[900, 0, 0]",
            "p.toml, line 4: plan, isocenter_mm: the isocenter [900.0, 0.0, 0.0] mm of the new beam lies",
        ),
        ("fractions = 5", "fractions = 5\ndose_grid_mm = 500", "p.toml, line 4: plan, dose_grid_mm: "),
        (
            "spacing_mm = 10",
            "spacing_mm = 7",
            "p.toml, line 23: machine, mlc: G000 cannot be sequenced: the beamlet rows do not sit",
        ),
        (
            "D90 >= 17 Gy",
            'D90 >= 17 Gy", "Tumor D50 <= 16 Gy',
            "p.toml, line 21: prescription, goals: the goals of target 'Tumor' leave no room",
        ),
        (
            "Organ Dmean",
            'Organ D2cc >= 3 Gy", "Organ Dmean',
            "p.toml, line 21: prescription, goals 2: 'Organ D2cc >= 3 Gy' asks for",
        ),
    ],
)
def test_what_does_not_fit_the_patient_is_told_before_the_engine_starts(
    old, new, complaint, patient, tmp_path, no_engine
):
    assert PRESCRIPTION.count(old) == 1
    text = PRESCRIPTION.replace(old, new)
    if "machine, mlc" in complaint:
        text = text.replace("[machine]\n", '[machine]\nmlc = "agility"\n')
    with pytest.raises(PrescriptionFileError, match=re.escape(complaint)):
        plan_folder(patient, parse_prescription(text, "p.toml"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"PatientID": "Meier"}, r"RS.dcm .* does not belong to .*: PatientID is 'Meier', not 'Müller'"),
        ({"StudyInstanceUID": None}, "the structure set has no StudyInstanceUID; without it no other object can refer"),
    ],
)
def test_files_that_no_plan_can_refer_to_are_told_of_before_the_work(values, complaint, patient, tmp_path, no_engine):
    folder = shutil.copytree(patient, tmp_path / "dicom")
    dataset = pydicom.dcmread(folder / STRUCTURE_SET_FILE)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(folder / STRUCTURE_SET_FILE)
    with pytest.raises(ValueError, match=f"{re.escape(str(folder))}: {complaint}"):
        plan_folder(folder, parse_prescription(PRESCRIPTION, "p.toml"), tmp_path / "out")


def test_folders_are_checked_before_the_work(patient, tmp_path, no_engine, planned):
    asked = parse_prescription(PRESCRIPTION)
    for inside in (patient, patient / "out", patient / ".." / patient.name / "a" / "b"):
        with pytest.raises(ValueError, match="lies in the input folder"):
            plan_folder(patient, asked, inside, force=True)
    with pytest.raises(FileExistsError, match=r"has report\.png, dvh\.csv, .* already; give another folder, or force"):
        plan_folder(patient, asked, planned[0].folder)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        plan_folder(tmp_path / "none", asked, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def written_again(planned, monkeypatch):
    """Plan again without planning and drawing: the files are those of the plan made before, in another folder."""
    made = planned[0]
    monkeypatch.setattr("opentps_brimstone.workflow.patient_case.plan_case", lambda *_: made)
    monkeypatch.setattr(
        "opentps_brimstone.workflow.files._write_files",
        lambda result, folder: shutil.copytree(made.folder, folder, dirs_exist_ok=True),
    )

    def write(patient, folder, **options):
        return plan_folder(patient, made.case.request, folder, **options)

    return write


def test_old_files_are_replaced_and_others_left_alone(written_again, patient, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "rtplan.dcm").write_text("old")
    with pytest.raises(FileExistsError, match=r"has rtplan\.dcm already"):
        written_again(patient, tmp_path)
    written_again(patient, tmp_path, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((*PLAN_FILES, "notes.txt"))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert pydicom.dcmread(tmp_path / "rtplan.dcm").Modality == "RTPLAN"


def test_what_fails_halfway_leaves_all_as_it_was(written_again, patient, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "rtplan.dcm").write_text("old")

    def press(result, folder):
        (folder / "report.png").write_text("the first file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("opentps_brimstone.workflow.files._write_files", press)
        with pytest.raises(KeyboardInterrupt):
            written_again(patient, out, force=True)
        with pytest.raises(KeyboardInterrupt):
            written_again(patient, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name: path.read_text() for path in out.iterdir()} == {"rtplan.dcm": "old"}


# ------------------------------------------------------------------------------------------------------- to start from


def test_a_starting_prescription_is_one_that_plan_accepts(patient, tmp_path, monkeypatch):
    text = starting_prescription(patient)
    asked = parse_prescription(text).for_structures(Series.from_dicom(patient).structures)
    assert asked.targets == {"CTV": 50.0}
    assert asked.dose_grid_mm == (4.0, 4.0, 4.0)  # the CT has 10 mm
    assert asked.machine.scatter == "full"
    assert [str(goal) for goal in asked.goals] == ["CTV D95 >= 50 Gy", "CTV D2 <= 53.5 Gy"]
    assert '# "Organ D10 <= 25 Gy",' in text and '"Body"' in text

    class EnoughError(Exception):
        pass

    def compute(*_, **__):
        raise EnoughError

    monkeypatch.setattr("opentps_brimstone.engine.collapsed_cones.ConeEngine.beamlets", compute)
    with pytest.raises(EnoughError):  # all is checked when the engine starts
        plan_folder(patient, asked, tmp_path / "out")


@pytest.mark.slow
def test_the_starting_prescription_is_met_by_what_the_plan_gives(patient, tmp_path):
    """By segments in full scatter, on a CT whose voxels are twice as wide as beamlets."""
    asked = parse_prescription(starting_prescription(patient))
    result = plan_folder(patient, asked, tmp_path / "out", verify="none", options=RunOptions(threads=2))
    assert result.passed, result.summary()
    assert result.goals_in_opentps is not None
    columns, rows = result.goal_rows()
    assert columns[-3:] == ("fluence", "in OpenTPS", "met")
    assert [row[-1] for row in rows] == ["yes", "yes"]
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in ("as OpenTPS computes them", "scatter through the whole patient", "then leaves and MU optimized"):
        assert words in report
    assert "goals_in_opentps" in json.loads((tmp_path / "out" / "goals.json").read_text())


def test_doses_and_goals_are_guessed_from_names(tmp_path):
    phantom = small_phantom()
    tumor, organ, rest = phantom.structures
    names = {"PTV_5040": True, "PTV 70": True, "GTV": True, 'left "parotid"': False, "External": False}
    shares = (tumor.share, tumor.share, tumor.share, organ.share, rest.share)
    structures = [Structure(name, share, target) for (name, target), share in zip(names.items(), shares, strict=True)]
    write_dicom_folder(replace(phantom, structures=tuple(structures)), tmp_path)
    text = starting_prescription(tmp_path)
    asked = parse_prescription(text)
    assert asked.targets == {"PTV_5040": 50.4, "PTV 70": 70.0}
    assert (asked.fractions, len(asked.beams)) == (35, 7)
    assert [str(goal) for goal in asked.goals] == [
        "PTV_5040 D95 >= 50.4 Gy",
        "PTV 70 D95 >= 70 Gy",
        "PTV 70 D2 <= 74.9 Gy",
    ]
    assert '# "PTV_5040 D2 <= 53.93 Gy",' in text
    assert r'# "left \"parotid\" Dmean <= 25 Gy",' in text
    assert '# These are shown, and not planned with: "GTV"' in text


def test_without_a_target_the_file_says_what_to_do(tmp_path):
    phantom = small_phantom()
    write_dicom_folder(replace(phantom, structures=phantom.structures[1:]), tmp_path)
    text = starting_prescription(tmp_path)
    assert '# There are "Organ", "Rest".' in text
    with pytest.raises(PrescriptionFileError, match="targets: there are none; add one with the head"):
        parse_prescription(text)


def test_starting_files_replace_nothing(patient, tmp_path):
    path = tmp_path / "start.toml"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"start\.toml exists; give another name"):
        write_starting_prescription(patient, path)
    with pytest.raises(ValueError, match="would lie in the input folder"):
        write_starting_prescription(patient, patient / "start.toml")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["workflow.patient_case", "request.reader", "_util.toml_positions"])
def test_examples(name):
    module = importlib.import_module(f"opentps_brimstone.{name}")
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.attempted > 0 and results.failed == 0


@pytest.mark.parametrize(
    ("stated", "fluence_only", "margin"),
    [
        ("", False, SEQUENCING_MARGIN),
        ("", True, 0.006),
        ("margin = 0.006\n", False, 0.006),
        ("margin = 0.02\n", True, 0.02),
    ],
)
def test_margin_and_levels_are_those_of_a_phantom(stated, fluence_only, margin, patient):
    asked = parse_prescription(PRESCRIPTION.replace("levels = 12\n", "") + stated)
    case = patient_case(patient, asked, fluence_only=fluence_only)
    assert case.planner.margin == case.request.planner.margin == margin
    assert case.planner.rounds == 2
    assert case.machine.sequencing == SequencingSettings()
    assert case.request.settings()["planner"]["margin"] == margin


# ---------------------------------------------------------------------------------------------------- the command line


def test_the_commands(patient, tmp_path, capsys, written_again):
    start, bad, out = tmp_path / "start.toml", tmp_path / "bad.toml", tmp_path / "out"
    assert main(["prescription", str(patient)]) == 0
    printed = capsys.readouterr().out
    assert main(["prescription", str(patient), "--output", str(start)]) == 0
    assert capsys.readouterr().out.startswith(f"Written to {start}; its doses and goals are guesses")
    assert start.read_text() == printed
    bad.write_text(printed.replace("gantry_angle = 0", "gantry_angle = 'left'").replace("\n# levels = ", "\nlevel = "))
    assert main(["plan", str(patient), "--prescription", str(bad), "--out", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert re.match(
        rf"opentps-brimstone: {re.escape(str(bad))}, line \d+: beams 1, gantry_angle: 'left' is text", lines[0]
    )
    assert "machine, level: there is no such key" in lines[1] and "do you mean levels?" in lines[1]
    assert main(["plan", str(patient), "--prescription", str(start), "--out", str(out)]) in (0, 3)
    captured = capsys.readouterr()
    assert captured.err == "" and captured.out.splitlines()[-1] == f"Written to {out}"
    assert main(["plan", str(patient), "--prescription", str(start), "--out", str(out)]) == 1
    assert "or force them to be replaced" in capsys.readouterr().err
    assert main(["plan", str(patient), "--prescription", str(start), "--out", str(out), "--force", "--quiet"]) in (0, 3)
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_writes_nothing(patient, tmp_path, capsys, monkeypatch):
    path = tmp_path / "p.toml"
    path.write_text(PRESCRIPTION)

    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("opentps_brimstone.engine.collapsed_cones.ConeEngine.beamlets", press)
    assert main(["plan", str(patient), "--prescription", str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 130
    assert capsys.readouterr().err == "interrupted; nothing unfinished was written\n"
    assert list(tmp_path.iterdir()) == [path]
