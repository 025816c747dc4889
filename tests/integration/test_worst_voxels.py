import numpy as np
import pytest

from opentps_brimstone import DVHLimitTerm, KLDivergenceTerm, MaximumDoseTerm, MinimumDoseTerm, Structure
from opentps_brimstone.integration.worst_voxels import guards_of_worst_voxels

DOSE = np.array([50.0, 60.0, 70.0, 80.0]).reshape(4, 1, 1)
WHOLE = Structure("whole", np.ones((4, 1, 1), dtype=bool), is_target=True)
HALF = Structure("half", np.array([1, 1, 0, 0], dtype=bool).reshape(4, 1, 1))


DVH = (WHOLE, KLDivergenceTerm(dose_range=(50.0, 500.0)))  # guards begin at most 10 Gy inside


def test_guards_lie_just_inside_the_worst_voxels():
    terms = [DVH, (WHOLE, MaximumDoseTerm(60.0, weight=8.0)), (WHOLE, MinimumDoseTerm(55.0, weight=4.0))]
    (_, highest), (_, lowest) = guards_of_worst_voxels(terms, DOSE)
    assert (type(highest), highest.limit_gy) == (MaximumDoseTerm, pytest.approx(76.0))
    assert (type(lowest), lowest.limit_gy) == (MinimumDoseTerm, pytest.approx(51.0))


def test_a_limit_missed_by_far_is_not_pressed_hard():
    low = (WHOLE, KLDivergenceTerm(dose_range=(40.0, 50.0)))
    ((_, guard),) = guards_of_worst_voxels([low, (WHOLE, MaximumDoseTerm(30.0))], DOSE)
    assert guard.limit_gy == pytest.approx(79.0)


def test_a_voxel_counts_as_much_in_every_guard():
    terms = [DVH, (WHOLE, MaximumDoseTerm(60.0, weight=8.0)), (HALF, MaximumDoseTerm(55.0, weight=1.0))]
    (_, whole), (_, half) = guards_of_worst_voxels(terms, DOSE)
    assert whole.weight / 4 == half.weight / 2 > 8.0 / 4


def test_the_volume_that_may_be_beyond_a_limit_is_not_guarded():
    term = DVHLimitTerm(55.0, 0.25)
    ((_, guard),) = guards_of_worst_voxels([DVH, (WHOLE, term)], DOSE)
    assert guard.dose_gy == pytest.approx(55 + 0.7 * 15)
    assert (guard.volume, term.dose_gy) == (0.25, 55.0)
    cold = DVHLimitTerm(65.0, 0.75, minimum=True)
    ((_, guard),) = guards_of_worst_voxels([DVH, (WHOLE, cold)], DOSE)
    assert guard.dose_gy == pytest.approx(65 - 0.7 * 5)


def test_what_is_met_needs_no_guard():
    terms = [DVH, (WHOLE, MaximumDoseTerm(80.0)), (HALF, MaximumDoseTerm(59.99)), (WHOLE, MinimumDoseTerm(50.0))]
    assert guards_of_worst_voxels(terms, DOSE) == []
