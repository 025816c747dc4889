"""From HU to density: the default table, those that are given, and their names."""

import numpy as np
import pytest
from opentps.core.data.CTCalibrations._piecewiseHU2Density import PiecewiseHU2Density
from opentps.core.data.plan import PhotonPlan, PhotonPlanDesign
from opentps_objects import needs_opentps_2

from opentps_brimstone.adapters.density_table import (
    DEFAULT_DENSITY_TABLE,
    DensityTable,
    chosen_density_table,
    density_table_name,
)

WATER_AND_AIR = PiecewiseHU2Density(([-1000.0, 0.0], [0.001, 1.0]))


def plan_with(calibration):
    plan = PhotonPlan(name="plan")
    plan.planDesign = PhotonPlanDesign()
    plan.planDesign.calibration = calibration
    return plan


@needs_opentps_2
def test_the_default_is_that_of_opentps_2():
    from opentps.core.io.scannerReader import readScanner
    from opentps.core.processing.doseCalculation.doseCalculationConfig import DoseCalculationConfig

    scanner = readScanner(DoseCalculationConfig()._defaultScannerFolder)
    hu, densities = scanner.getPiecewiseHU2MassDensityConversion()
    np.testing.assert_array_equal(DEFAULT_DENSITY_TABLE.hu, hu)
    np.testing.assert_array_equal(DEFAULT_DENSITY_TABLE.g_cm3, densities)


def test_densities_are_those_of_opentps():
    from opentps.core.data.images import CTImage
    from opentps.core.processing.doseCalculation.photons.cccDoseCalculator import CCCDoseCalculator

    hu = np.random.default_rng(0).uniform(-2500, 3000, (6, 5, 4))
    ct = CTImage(imageArray=hu.copy())
    calculator = CCCDoseCalculator.__new__(CCCDoseCalculator)
    calculator.ctCalibration = DEFAULT_DENSITY_TABLE.to_opentps()
    calculator.fromHU2Densities(ct)
    np.testing.assert_array_equal(DEFAULT_DENSITY_TABLE.mass_density(hu), ct.imageArray)


def test_what_is_given_goes_before_the_plan_design_and_that_before_the_default():
    plan = plan_with(WATER_AND_AIR)
    given = DensityTable("mine", [0, 1], [1, 2])
    assert chosen_density_table(given, plan) is given
    assert density_table_name([(0, 1), (1000, 1.6), (2000, 2)], plan) == "given, 3 points"
    assert density_table_name(None, plan) == "PiecewiseHU2Density of OpenTPS, 2 points"
    assert chosen_density_table(None, plan_with(None)) is DEFAULT_DENSITY_TABLE
    assert chosen_density_table(None, PhotonPlan()) is DEFAULT_DENSITY_TABLE
    assert density_table_name() == "UCL_Toshiba (MCsquare, OpenTPS 2.0)"


def test_the_points_are_those_given():
    table = chosen_density_table(np.array([(-1000, 0.001), (0, 1.0)]))
    np.testing.assert_array_equal((table.hu, table.g_cm3), ([-1000, 0], [0.001, 1]))
    with pytest.raises(ValueError, match="read-only"):
        table.hu[0] = 5


@pytest.mark.parametrize("given", [5.0, "Toshiba", [1, 2, 3], [(1, 2, 3)], [(0, "dense")], object()])
def test_something_else(given):
    with pytest.raises(TypeError, match=r"the density table must be a DensityTable, an array with a row \(HU, g/cm³\)"):
        chosen_density_table(given)


@pytest.mark.parametrize(
    ("hu", "densities", "message"),
    [
        ([], [], "has 0 HU and 0 densities"),
        ([0, 1], [1], "has 2 HU and 1 densities"),
        ([0, -1000], [1, 0.1], "with HU rising, got"),
        ([0, np.nan], [1, 2], "with HU rising, got"),
        ([-1000, 0], [-0.1, 1], r"'mine' has densities from -0\.1 to 1\.0 g/cm³"),
        ([-1000, 0], [0.1, np.inf], r"has densities from 0\.1 to inf"),
    ],
)
def test_impossible_points(hu, densities, message):
    with pytest.raises(ValueError, match=message):
        DensityTable("mine", hu, densities)
