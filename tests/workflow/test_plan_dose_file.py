"""The dose of an RT Plan as an RT Dose file, from Python and from the command line."""

import numpy as np
import pydicom
import pytest
from opentps_objects import add_beam
from rt_plan_files import add_aperture
from small_case import small_phantom

import opentps_brimstone as pb
from opentps_brimstone.cli import main
from opentps_brimstone.dicom.rt_plan_writer import write_rt_plan
from opentps_brimstone.dicom.series_writer import write_dicom_folder
from opentps_brimstone.sequencing import MLC
from opentps_brimstone.workflow.plan_dose_file import write_plan_dose

LEAVES = MLC("leaves", tuple(np.arange(-40.0, 41.0, 10.0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """CT, structures and an RT Plan of leaves anywhere, beam from the patient's left and from above."""
    from opentps.core.data.plan import PhotonPlan

    folder = tmp_path_factory.mktemp("patient")
    write_dicom_folder(small_phantom(6.0), folder)
    series = pb.Series.from_dicom(folder, progress=False)
    plan = PhotonPlan(name="leaves")
    plan._numberOfFractionsPlanned = 5
    for number, gantry in enumerate((0.0, 270.0)):
        beam = add_beam(plan, (0.0, 0.0, 0.0), gantry=gantry, name=f"F{number}")
        beam.id = number + 1
        add_aperture(beam, LEAVES, np.full(LEAVES.n_pairs, -22.2), np.full(LEAVES.n_pairs, 17.7), 60.0 + 20 * number)
    ct = next(path for path in folder.iterdir() if pydicom.dcmread(path, stop_before_pixels=True).Modality == "CT")
    frame = series.dicom["FrameOfReferenceUID"]
    write_rt_plan(plan, folder / "rtplan.dcm", mlc=LEAVES, ct=ct, frame_of_reference_uid=frame)
    return folder


def test_the_file_holds_the_dose(folder, tmp_path):
    dose = write_plan_dose(folder, folder / "rtplan.dcm", tmp_path / "rtdose.dcm", dose_grid_mm=6.0)
    expected = pb.compute_dose(folder / "rtplan.dcm", pb.Series.from_dicom(folder), dose_grid_mm=6.0, progress=False)
    np.testing.assert_array_equal(dose, expected)
    written, plan = pydicom.dcmread(tmp_path / "rtdose.dcm"), pydicom.dcmread(folder / "rtplan.dcm")
    assert written.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == plan.SOPInstanceUID
    assert written.FrameOfReferenceUID == plan.FrameOfReferenceUID
    read = pb.dose_from_dataset(written)
    np.testing.assert_allclose(read, expected, atol=2e-5 * expected.max())
    assert read.grid == expected.grid


def test_the_command_writes_it(folder, tmp_path, capsys):
    out = tmp_path / "dose.dcm"
    arguments = ["dose", str(folder), "--plan", str(folder / "rtplan.dcm"), "--out", str(out), "--grid", "8"]
    assert main(arguments) == 0
    usual = pb.dose_from_dataset(out)
    assert usual.grid.spacing_mm == pytest.approx((8.0, 8.0, 8.0), rel=0.1)
    assert f"Highest dose {usual.max():.2f} Gy; written to {out}" in capsys.readouterr().out
    assert main(arguments) == 1
    assert f"{out} exists; give another name, or force it" in capsys.readouterr().err
    assert main([*arguments, "--force", "--kernels", "Kernels_6MV", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    softer = pb.dose_from_dataset(out)
    assert np.abs(softer - usual).max() > 0.01 * usual.max()
    assert main([*arguments, "--force", "--scatter", "opentps"]) == 0
    beamlets = pb.dose_from_dataset(out)
    assert (beamlets == 0).sum() > (usual == 0).sum()


def test_bad_input_before_work(folder, tmp_path, no_engine, capsys):
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere of the file to write does not exist"):
        write_plan_dose(folder, folder / "rtplan.dcm", tmp_path / "nowhere" / "dose.dcm")
    other = pydicom.dcmread(folder / "rtplan.dcm")
    other.FrameOfReferenceUID = "1.2.3"
    other.save_as(tmp_path / "other.dcm")
    with pytest.raises(ValueError, match=r"does not belong to the CT: its FrameOfReferenceUID is 1\.2\.3"):
        write_plan_dose(folder, tmp_path / "other.dcm", tmp_path / "dose.dcm")
    ct = next(path for path in folder.iterdir() if path.name != "rtplan.dcm")
    with pytest.raises(ValueError, match="is not an RT Plan"):
        write_plan_dose(folder, ct, tmp_path / "dose.dcm")
    assert main(["dose", str(folder), "--plan", str(folder / "none.dcm"), "--out", str(tmp_path / "d.dcm")]) == 1
    assert "none.dcm" in capsys.readouterr().err
    assert list(tmp_path.glob("d*.dcm")) == []
