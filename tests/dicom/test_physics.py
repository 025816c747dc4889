"""Physics that files state: densities of structures, boluses, couches, metal, and energies."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made_ct import ROIS, ball, made, made_ct, made_structures, rod, water_cylinder, write_case
from rt_plan_files import conformal_field, make_item, open_field, plan_dataset

import opentps_brimstone as pb
from opentps_brimstone.adapters.physics import is_couch, physics_notes
from opentps_brimstone.cli.program import main
from opentps_brimstone.dicom import RTPlanError, RTPlanWarning, read_rt_plan
from opentps_brimstone.request.reader import parse_prescription
from opentps_brimstone.workflow.patient_case import patient_case


def with_property(structures, number: int, name: str, value: str) -> None:
    properties = [made(ROIPhysicalProperty=name, ROIPhysicalPropertyValue=value)]
    structures.RTROIObservationsSequence[number].ROIPhysicalPropertiesSequence = properties


IMPLANT = ("Implant", "ORGAN", ball(8.0, (-12.0, 0.0, 0.0)))
BOLUS = ("Bolus", "BOLUS", rod(5.0, (0.0, -29.0)))


def implanted(tmp_path: Path, name: str = "REL_MASS_DENSITY", value: str = "4.5") -> Path:
    ct = made_ct()
    structures = made_structures(ct, (*ROIS, IMPLANT, BOLUS))
    with_property(structures, 2, name, value)
    return write_case(tmp_path / "case", ct, structures)


def read(folder: Path) -> tuple[pb.Series, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        series = pb.Series.from_dicom(folder)
    return series, "\n".join(str(each.message) for each in caught)


# ------------------------------------------------------------------------------------------------- densities


@pytest.mark.parametrize("name", ["REL_MASS_DENSITY", "REL_ELEC_DENSITY"])
def test_densities_of_the_structure_set_are_read_and_said(tmp_path: Path, name: str) -> None:
    series, said = read(implanted(tmp_path, name))
    assert series.structures["Implant"].density_g_cm3 == 4.5
    assert series.structures["PTV"].density_g_cm3 is None
    assert "structure 'Implant' gets the density 4.5 g/cm³" in said
    assert "structure 'Bolus' is a bolus and gets the density 1 g/cm³" in said
    assert [each.name for each in series.with_density] == ["Bolus", "Implant"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REL_STOP_RATIO", "1.2", "REL_STOP_RATIO of 1.2 is left out; only densities are used"),
        ("REL_MASS_DENSITY", "-1", "REL_MASS_DENSITY of -1 is left out; densities lie from 0 to 25"),
        ("REL_MASS_DENSITY", "", "ROIPhysicalPropertyValue .* is missing"),
    ],
)
def test_what_is_not_a_density_is_said(tmp_path: Path, name: str, value: str, message: str) -> None:
    series, said = read(implanted(tmp_path, name, value))
    assert re.search(message, said)
    assert series.structures["Implant"].density_g_cm3 is None


def test_densities_reach_the_dose(tmp_path: Path) -> None:
    series, _ = read(implanted(tmp_path))
    doses = {}
    for density in (None, 4.5):
        series.structures["Implant"].density_g_cm3 = density
        plan = pb.Plan(series)
        plan.add_beam(270.0)  # through the implant
        plan.compute_dose_influence(beamlet_spacing_mm=10.0, progress=False)
        plan.beamlet_weights = np.ones(plan.dose_influence.layout.n_beamlets)
        doses[density] = float(plan.get_dose()[10, 7, 4])
        full = pb.compute_dose(plan, progress=False)
        assert plan.density_overrides[-1]["Value"] == (density or 1.0)
        assert full[10, 7, 4] == pytest.approx(doses[density], rel=0.2)
    assert doses[4.5] < 0.9 * doses[None]


def test_a_bolus_builds_dose_up(tmp_path: Path) -> None:
    series, _ = read(implanted(tmp_path))
    with_bolus = series.density_overrides()[0]
    outside = with_bolus["Mask"].imageArray & (water_cylinder() < -500)
    assert outside.any()
    density = np.where(water_cylinder() < -500, 0.001, 1.0)
    density[with_bolus["Mask"].imageArray] = with_bolus["Value"]
    assert (density[outside] == 1.0).all()


def test_a_density_out_of_range_is_refused() -> None:
    structure = pb.Structure("organ", np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="the density of 'organ' is 30 g/cm³; it must be from 0 to 25, or None"):
        structure.density_g_cm3 = 30


def test_copies_on_other_grids_share_type_and_density() -> None:
    structure = pb.Structure("organ", np.ones((4, 4, 4)), grid=pb.VoxelGrid((4, 4, 4), (2.0, 2.0, 2.0)))
    coarse = structure.on_grid(pb.VoxelGrid((2, 2, 2), (4.0, 4.0, 4.0), (1.0, 1.0, 1.0)))
    coarse.density_g_cm3, coarse.kind = 2.0, "bolus "
    assert (structure.density_g_cm3, structure.kind) == (2.0, "BOLUS")


# ------------------------------------------------------------------------------------------------- couch and metal


@pytest.mark.parametrize(
    ("name", "kind", "couch"),
    [
        ("Any", "SUPPORT", True),
        ("Mask", "FIXATION", True),
        ("CouchSurface", "", True),
        ("Table top", "", True),
        ("Couch", "ORGAN", False),
        ("Bladder", "", False),
        ("Vegetables", "", False),
    ],
)
def test_couches_are_known_by_type_or_name(name: str, kind: str, couch: bool) -> None:
    structure = pb.Structure(name, np.ones((2, 2, 2)))
    structure.kind = kind
    assert is_couch(structure) is couch


def test_couches_are_offered_for_leaving_out(tmp_path: Path, capsys) -> None:
    ct = made_ct()
    structures = made_structures(ct, (*ROIS, ("Couch top", "SUPPORT", rod(8.0, (0.0, 25.0)))))
    folder = write_case(tmp_path / "case", ct, structures)
    with pytest.warns(
        UserWarning, match="'Couch top' seem to be couch or support; leave_out keeps them out of planning"
    ):
        pb.Series.from_dicom(folder)
    assert main(["prescription", str(folder)]) == 0
    text = capsys.readouterr().out
    assert parse_prescription(text).leave_out == ("Couch top",)
    assert '"Couch top D' not in text


def test_hu_beyond_the_table_are_said(tmp_path: Path) -> None:
    hu = water_cylinder()
    hu[6:8, 6:8, 2:6] = 8000.0
    folder = write_case(tmp_path, made_ct(hu))
    message = r"1.2 cm³ of the CT lie above 1565 HU \(up to 8000 HU\), .* cut off at 1.825 g/cm³"
    with pytest.warns(UserWarning, match=message):
        series = pb.Series.from_dicom(folder)
    metal = pb.Structure("Metal", hu > 5000, grid=series.grid)
    metal.density_g_cm3 = 7.8
    assert [note[:24] for note in physics_notes(pb.Series(hu, series.spacing_mm, series.origin_mm, [metal]))] == [
        "structure 'Metal' gets t"
    ]


def test_the_prescription_says_the_physics(tmp_path: Path, capsys) -> None:
    assert main(["prescription", str(implanted(tmp_path))]) == 0
    text = capsys.readouterr().out
    assert "# structure 'Implant' gets the density 4.5 g/cm³" in text
    assert "# structure 'Bolus' is a bolus" in text


PRESCRIPTION = """
plan = {fractions = 25, dose_grid_mm = 6.0}
beams = [{gantry_angle = 0}]
targets = [{structure = "PTV", dose_gy = 50}]
prescription.goals = ["PTV D95 >= 50 Gy"]
beamlets.spacing_mm = 10.0
machine = {mlc = "matched", energy_mv = 10}
"""


def test_a_case_has_notes_of_the_physics_and_uses_it(tmp_path: Path) -> None:
    folder = implanted(tmp_path)
    structures = pydicom.dcmread(folder / "rs.dcm")
    structures.SOPInstanceUID = structures.file_meta.MediaStorageSOPInstanceUID
    case = patient_case(folder, parse_prescription(PRESCRIPTION), fluence_only=True)
    said = "\n".join(case.notes)
    assert "structure 'Implant' gets the density 4.5" in said
    assert "the nominal energy is 10 MV; doses are computed with the beam model of 6 MV" in said
    plan = case.prepare.args[0]
    assert {each["Mask"].name: each["Value"] for each in plan.density_overrides} == {"Bolus": 1.0, "Implant": 4.5}
    left = PRESCRIPTION.replace("fractions = 25", 'fractions = 25, leave_out = ["Bolus"]')
    plan = patient_case(
        shutil.copytree(folder, tmp_path / "b"), parse_prescription(left), fluence_only=True
    ).prepare.args[0]
    assert [each["Mask"].name for each in plan.density_overrides] == ["Implant"]


# ---------------------------------------------------------------------------------------------- what stands in a beam


@pytest.mark.parametrize(
    ("keyword", "name"),
    [
        ("ApplicatorSequence", "an applicator"),
        ("WedgeSequence", "a wedge"),
        ("BlockSequence", "a block"),
        ("CompensatorSequence", "a compensator"),
    ],
)
def test_what_shapes_a_beam_is_refused_even_if_it_is_not_counted(keyword: str, name: str) -> None:
    beam = open_field()
    for count in ("NumberOfWedges", "NumberOfBlocks", "NumberOfCompensators"):
        delattr(beam, count)
    setattr(beam, keyword, [make_item(AccessoryCode="C10")])
    dataset = plan_dataset(beam)
    with pytest.raises(RTPlanError, match=rf"{keyword} \(.*\) says that the beam has {name}"):
        read_rt_plan(dataset)
    with pytest.warns(RTPlanWarning, match=rf"beam 1 \('open'\) has {name}.*, which is left out"):
        assert len(read_rt_plan(dataset, ignore_modifiers=True).beams) == 1


@pytest.mark.parametrize(
    ("keyword", "name"), [("GeneralAccessorySequence", "an accessory"), ("ReferencedBolusSequence", "a bolus")]
)
def test_what_hardly_shapes_a_beam_is_said(keyword: str, name: str) -> None:
    beam = open_field()
    setattr(beam, keyword, [make_item(AccessoryCode="X")])
    with pytest.warns(RTPlanWarning, match=f"has {name}, which is left out"):
        read_rt_plan(plan_dataset(beam))


def test_a_wedge_that_only_its_position_tells_of() -> None:
    beam = open_field()
    point = beam.ControlPointSequence[0]
    point.WedgePositionSequence = [make_item(ReferencedWedgeNumber=1, WedgePosition="IN")]
    with pytest.raises(RTPlanError, match=r"WedgePositionSequence \(.*\) says that the beam has a wedge"):
        read_rt_plan(plan_dataset(beam))
    point.WedgePositionSequence[0].WedgePosition = "OUT"
    assert len(read_rt_plan(plan_dataset(beam)).beams) == 1


@pytest.mark.parametrize("energy", [4, 10, 15])
def test_other_energies_are_said(energy: float) -> None:
    dataset = plan_dataset(conformal_field())
    dataset.BeamSequence[0].ControlPointSequence[0].NominalBeamEnergy = energy
    with pytest.warns(RTPlanWarning, match=rf"beam 1 .*: the nominal energy is {energy} MV; .* beam model of 6 MV"):
        assert read_rt_plan(dataset).beams[0].nominalEnergy_MV == energy


def test_the_modeled_energy_is_worth_no_word() -> None:
    assert read_rt_plan(plan_dataset(conformal_field())).beams[0].nominalEnergy_MV == 6.0
