"""2,000 damaged inputs for each reader: a result, or our own error; never another exception, and never no end."""

from __future__ import annotations

import io
from pathlib import Path

import made_ct
import numpy as np
import pydicom
import pytest
from mutations import fuzz
from rt_plan_files import arc_field, conformal_field, plan_dataset, step_and_shoot_field

import opentps_brimstone as pb
from opentps_brimstone.dicom import read_rt_plan
from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.request.prescription_file import PrescriptionFileError
from opentps_brimstone.request.reader import parse_prescription

COUNT = 2000


@pytest.fixture
def small(tmp_path: Path, monkeypatch) -> Path:
    """A CT of two small slices with a structure set, in files of a kilobyte."""
    monkeypatch.setattr(made_ct, "SHAPE", (5, 4, 2))
    monkeypatch.setattr(made_ct, "ORIGIN", (-10.0, -7.5, -1.5))
    planes = np.array([-1.5, 1.5])
    monkeypatch.setattr(made_ct, "PLANES", planes)
    ct = made_ct.made_ct(np.zeros((5, 4, 2)), planes=planes)
    rois = (("PTV", "PTV", made_ct.ball(5.0, n=8)), ("BODY", "EXTERNAL", made_ct.rod(7.0, n=8)))
    return made_ct.write_case(tmp_path, ct, rois=rois)


def contents(*paths: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in paths}


def read_series(folder: Path) -> None:
    series = pb.Series.from_dicom(folder)
    assert np.isfinite(series.ct_hu).all()
    for structure in series.structures:
        if structure.is_on_grid:
            assert np.isfinite(structure.share).all()
            assert np.isfinite(structure.contours.volume_mm3)


@pytest.mark.slow
def test_slices(small: Path) -> None:
    (small / "rs.dcm").unlink()
    read, refused = fuzz(contents(*small.glob("ct*")), lambda: read_series(small), count=COUNT, seed=1)
    assert min(read, refused) > COUNT // 20


@pytest.mark.slow
def test_structure_sets(small: Path) -> None:
    read, refused = fuzz(contents(small / "rs.dcm"), lambda: read_series(small), count=COUNT, seed=2)
    assert min(read, refused) > COUNT // 50


@pytest.mark.slow
@pytest.mark.parametrize("bare", [False, True])
def test_plans(tmp_path: Path, bare: bool) -> None:
    path = tmp_path / "plan.dcm"
    dataset = plan_dataset(conformal_field(1), step_and_shoot_field(2), arc_field(3, count=3))
    dataset.save_as(path, enforce_file_format=True)
    if bare:
        made_ct.bare(path)

    def read_plan() -> None:
        plan = read_rt_plan(path)
        assert all(np.isfinite(segment.mu) for segment in plan.beamSegments)

    read, refused = fuzz(contents(path), read_plan, count=COUNT // 2, seed=3 + bare)
    assert min(read, refused) > COUNT // 50


@pytest.mark.slow
def test_doses(tmp_path: Path) -> None:
    path = tmp_path / "dose.dcm"
    write_rt_dose(np.arange(24.0).reshape(4, 3, 2), pb.VoxelGrid((4, 3, 2), (2.0, 2.0, 3.0)), path)

    def read_dose() -> None:
        dose = pb.dose_from_dataset(path)
        assert np.isfinite(dose).all()
        assert np.isfinite(dose.grid.spacing_mm).all()

    read, refused = fuzz(contents(path), read_dose, count=COUNT, seed=5)
    assert min(read, refused) > COUNT // 20


PRESCRIPTION = b"""
[plan]
name = "plan"
fractions = 25
dose_grid_mm = [3.0, 3.0, 2.5]
leave_out = ["Couch"]
[input]
series = "2"
accept = ["study", "patient"]
[beamlets]
spacing_mm = 5.0
[[beams]]
gantry_angle = 120
couch_angle = 10
[[targets]]
structure = "PTV"
dose_gy = 50
[prescription]
goals = ["PTV D95 >= 47.5 Gy", "Cord Dmax <= 45 Gy", "Lung V20Gy <= 30 %"]
[[terms]]
structure = "PTV"
kind = "kl"
dvh = [[49.0, 1.0], [51.0, 0.0]]
weight = 2.0
[[terms]]
structure = "Cord"
kind = "eud"
limit_gy = 30
a = 8
[machine]
mlc = "millennium-120"
levels = 10
minimum_mu = 1.0
[calibration]
gy_per_mu = 0.01
[optimizer]
gradient_tolerance = 1e-3
[planner]
rounds = 4
"""


@pytest.mark.slow
def test_prescriptions(tmp_path: Path) -> None:
    from opentps_brimstone.request.reader import read_prescription

    path = tmp_path / "prescription.toml"
    path.write_bytes(PRESCRIPTION)
    parse_prescription(PRESCRIPTION.decode())
    read, refused = fuzz(
        contents(path), lambda: read_prescription(path), count=COUNT, seed=6, allowed=(PrescriptionFileError,)
    )
    assert min(read, refused) > COUNT // 50


@pytest.mark.slow
def test_what_stands_in_a_dataset_and_not_in_bytes(small: Path) -> None:
    """Elements that are removed or of a wrong kind, in files that are well encoded."""
    random = np.random.default_rng(7)
    good = {path: path.read_bytes() for path in small.iterdir()}
    values = (None, "", "x", "1", "-1", "1e308", "nan", "1\\2\\3", "1.2.3", "\\" * 5)

    def spoil(dataset: pydicom.Dataset) -> None:
        element = random.choice(list(dataset.iterall()))
        holder = next(each for each in _datasets(dataset) if element.tag in each and each[element.tag] is element)
        if random.random() < 0.4 or element.VR in ("SQ", "OW", "US"):
            del holder[element.tag]
        else:
            raw = values[int(random.integers(0, len(values)))]
            holder.add(pydicom.DataElement(element.tag, "LO", raw, already_converted=True))

    def spoiled(content: bytes) -> bytes:
        dataset = pydicom.dcmread(io.BytesIO(content))
        spoil(dataset)
        written = io.BytesIO()
        dataset.save_as(written)
        return written.getvalue()

    import mutations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutations, "mutated", lambda content, _: spoiled(content))
        read, refused = fuzz(good, lambda: read_series(small), count=COUNT // 4, seed=8)
    assert min(read, refused) > COUNT // 80


def _datasets(dataset: pydicom.Dataset):
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _datasets(item)
