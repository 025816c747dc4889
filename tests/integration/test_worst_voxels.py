import numpy as np
import pytest

from opentps_brimstone import MaximumDoseTerm, MinimumDoseTerm, Structure
from opentps_brimstone.integration.worst_voxels import guards_of_worst_voxels

DOSE = np.array([50.0, 60.0, 70.0, 80.0]).reshape(4, 1, 1)
WHOLE = Structure("whole", np.ones((4, 1, 1), dtype=bool), is_target=True)
HALF = Structure("half", np.array([1, 1, 0, 0], dtype=bool).reshape(4, 1, 1))


def test_guards_lie_just_inside_the_worst_voxels():
    terms = [(WHOLE, MaximumDoseTerm(60.0, weight=8.0)), (WHOLE, MinimumDoseTerm(55.0, weight=4.0))]
    (_, highest), (_, lowest) = guards_of_worst_voxels(terms, DOSE)
    assert (type(highest), highest.limit_gy) == (MaximumDoseTerm, pytest.approx(79.0))
    assert (type(lowest), lowest.limit_gy) == (MinimumDoseTerm, pytest.approx(50.25))


def test_a_voxel_counts_as_much_in_every_guard():
    terms = [(WHOLE, MaximumDoseTerm(60.0, weight=8.0)), (HALF, MaximumDoseTerm(55.0, weight=1.0))]
    (_, whole), (_, half) = guards_of_worst_voxels(terms, DOSE)
    assert whole.weight / 4 == half.weight / 2 > 8.0 / 4


def test_what_is_met_needs_no_guard():
    terms = [(WHOLE, MaximumDoseTerm(80.0)), (HALF, MaximumDoseTerm(59.99)), (WHOLE, MinimumDoseTerm(50.0))]
    assert guards_of_worst_voxels(terms, DOSE) == []
