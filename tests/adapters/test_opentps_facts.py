"""What this package builds on in OpenTPS: a release that changes it fails here, which says what may go then."""

import copy
import os
import re
from pathlib import Path

import numpy as np
import pytest
from dicom_folder import change, water_box, write_ct
from opentps.core.data.images import CTImage
from opentps.core.data.plan import PhotonPlan, PlanPhotonBeam
from opentps_objects import (
    OPENTPS_3,
    add_beam,
    add_objective,
    add_segment,
    center,
    contours_of_cylinder,
    make_ct,
    make_fall_off,
    make_roi,
    middle_box,
    needs_opentps_2,
    needs_opentps_3,
    pencil_beams,
    placement,
    square,
    uneven_ct,
    with_design,
)

from opentps_brimstone.adapters.density_table import DEFAULT_DENSITY_TABLE
from opentps_brimstone.engine import process

# ------------------------------------------------------------------------------------------------- what is installed


def header_of_opentps():
    return process.kernel_folder() / "kernel_header.txt"


@needs_opentps_2
def test_our_kernel_header_is_that_of_opentps_2(tmp_path):
    """Byte for byte, so that beamlets in the cache stay valid."""
    process.copy_kernels(tmp_path / "kernels")
    assert (tmp_path / "kernels" / "kernel_header.txt").read_bytes() == header_of_opentps().read_bytes()


@needs_opentps_3
def test_opentps_3_has_no_kernel_header():
    """When this fails, `copy_kernels` need not write it for this version."""
    assert not header_of_opentps().exists()


@needs_opentps_3
def test_opentps_3_has_no_scanner():
    """When this fails, compare its table with `DEFAULT_DENSITY_TABLE`."""
    from opentps.core.processing.doseCalculation.protons.MCsquare import Scanners

    assert not (Path(Scanners.__path__[0]) / "UCL_Toshiba" / "HU_Density_Conversion.txt").exists()


def test_the_engine_has_no_execute_permission():
    """When this fails, `executable_engine` need not copy it."""
    assert not os.access(process.engine_file(), os.X_OK)


# ------------------------------------------------------------------------------------------------- the CT


def test_computing_beamlets_turns_the_ct_into_densities(monkeypatch):
    """When this fails, `doubts` need not look for a CT of densities."""
    from opentps.core.processing.doseCalculation.photons.cccDoseCalculator import CCCDoseCalculator

    class StoppedError(Exception):
        pass

    def stop(self):
        raise StoppedError

    monkeypatch.setattr(CCCDoseCalculator, "outputDir", property(stop))
    calculator = CCCDoseCalculator()
    calculator.ctCalibration = DEFAULT_DENSITY_TABLE.to_opentps()
    ct = make_ct()
    with pytest.raises(StoppedError):
        calculator.computeBeamlets(ct, PhotonPlan())
    assert ct.imageArray.max() == 1.0


@pytest.mark.parametrize("distance", [2.5, 5.0])
def test_distance_of_slices_that_are_thicker(tmp_path, distance):
    """When this fails for OpenTPS 3, `doubts` need not compare the CT's slices with its spacing."""
    from opentps.core.io.dicomIO import readDicomCT

    files = write_ct(tmp_path, water_box((8, 8, 5)), (2.0, 2.0, distance), (0.0, 0.0, 0.0))
    for file in files:
        change(file, lambda dataset: setattr(dataset, "SliceThickness", 8.0))
        change(file, lambda dataset: dataset.pop("SpacingBetweenSlices", None))
    ct = readDicomCT([str(file) for file in files])
    assert ct.spacing[2] == pytest.approx(8.0 if OPENTPS_3 else distance)
    np.testing.assert_allclose(np.diff(ct.sliceLocation), distance)


# ------------------------------------------------------------------------------------------------- contours


@pytest.mark.parametrize("spacing", [3.0, 4.0, 5.0])
def test_masks_of_contours_are_displaced(spacing):
    """When this fails for OpenTPS 3, the doubts about masks may go; those of OpenTPS 2 are displaced less."""
    grid = placement(spacing)
    mask = contours_of_cylinder().getBinaryMask(**grid).imageArray
    offset = grid["origin"][:2] + spacing * np.argwhere(mask).mean(axis=0)[:2]
    if OPENTPS_3:
        assert offset == pytest.approx([(1 - spacing) / 2] * 2, abs=0.5)
    else:
        assert np.all(np.abs(offset) <= max(0.25 * spacing, 0.7))


# ------------------------------------------------------------------------------------------------- plans


def test_whose_source_distance_is_the_engines(tmp_path):
    """Of the plan in OpenTPS 2, of the beam in OpenTPS 3: `source_distances_mm` refuses plans where they differ."""
    from opentps.core.io.CCCdoseEngineIO import writePlan

    plan = PhotonPlan()
    add_segment(add_beam(plan, (0, 0, 0)), [(0.0, 0.0)])
    plan.SAD_mm, plan.beams[0].SAD_mm = 900.0, 800.0
    writePlan(plan, str(tmp_path), 1)
    (file,) = tmp_path.iterdir()
    numbers = set(map(float, re.findall(r"[\d.]+", file.read_text())))
    assert numbers & {80, 90} == {80 if OPENTPS_3 else 90}  # cm


def test_default_source_distances():
    plan, beam = PhotonPlan(), PlanPhotonBeam()
    assert (plan.SAD_mm, getattr(beam, "SAD_mm", None)) == ((None, 1000) if OPENTPS_3 else (1000, None))


def test_setting_the_number_of_fractions_rescales_mu():
    """Why `set_number_of_fractions` sets the private attribute."""
    plan = PhotonPlan()
    add_segment(add_beam(plan, (0, 0, 0)), [(0.0, 0.0)], mu=6.0)
    plan.numberOfFractionsPlanned = 3
    assert plan.beamletMUs == pytest.approx([2.0])


# ------------------------------------------------------------------------------------------------- objectives, solvers


@needs_opentps_3
def test_the_fall_off_of_opentps_3_is_empty():
    """Its cost is NaN; we read it all the same, by its ROI, target and doses."""
    ct = uneven_ct()
    made = make_fall_off(middle_box(ct), make_roi(ct, (1, 1, 1), (15, 17, 13), "body"), 20.0, 5.0, 15.0)
    assert not np.any(made.maskVec)


@needs_opentps_3
@pytest.mark.parametrize("method", ["BFGS", "LBFGS"])
def test_two_solvers_of_opentps_3_leave_nothing(method):
    """When this fails, compare with these solvers too."""
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    ct = uneven_ct()
    plan = PhotonPlan()
    add_segment(add_beam(plan, center(ct)), square(15))
    with_design(plan, ct, middle_box(ct), 20.0)
    plan.planDesign.beamlets = pencil_beams(plan, ct)
    add_objective(plan.planDesign.objectives, middle_box(ct), "DMin", 19.5)
    add_objective(plan.planDesign.objectives, middle_box(ct), "DMax", 20.5)
    with np.errstate(all="ignore"):
        dose, _ = IntensityModulationOptimizer(method, plan, maxiter=15).optimize()
    assert plan.numberOfBeamlets == 0
    assert not dose.imageArray.any()


def test_an_unknown_method_is_run_by_another_solver():
    """Why the window and the docs name the method exactly."""
    from opentps.core.processing.planOptimization.planOptimization import IntensityModulationOptimizer

    optimizer = IntensityModulationOptimizer("brimstone", PhotonPlan())
    assert optimizer.solver.__class__.__name__ == "ScipyOpt"


def test_a_copied_ct_loses_its_slices():
    """Why `doubts` compares slices only where there are as many as voxels."""
    ct = CTImage(imageArray=np.zeros((2, 2, 3)), sliceLocation=[0.0, 1.0, 2.0])
    assert ct.copy().sliceLocation is None
    assert copy.deepcopy(ct).sliceLocation == [0.0, 1.0, 2.0]
