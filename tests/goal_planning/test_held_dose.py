from __future__ import annotations

import numpy as np
import pytest
from small_case import small_phantom

from opentps_brimstone import DVHLimitTerm, KLDivergenceTerm
from opentps_brimstone.evaluation import DVHGoal, volume_at_dose
from opentps_brimstone.goal_planning.held_dose import terms_of_dose


@pytest.fixture(scope="module")
def dose():
    phantom = small_phantom()
    return 3.0 + 16.0 * phantom.structure("Tumor").share + np.random.default_rng(1).random(phantom.grid.shape)


def test_the_dvhs_of_the_dose_are_asked_for(dose):
    structures = small_phantom().structures
    terms = terms_of_dose(structures, dose)
    assert [structure.name for structure, _ in terms] == ["Tumor", "Organ", "Rest"]
    for structure, term in terms:
        assert isinstance(term, KLDivergenceTerm)
        for point, volume in term.dvh[1:-1:20]:
            assert 100 * volume == pytest.approx(volume_at_dose(dose, structure.share, point), abs=1e-6)
        assert term.dvh[-1][0] >= dose[structure.share > 0].max()
    weights = [term.weight for _, term in terms]
    assert weights[0] > weights[1] == weights[2]


def test_structures_without_dose_are_left_out(dose):
    structures = small_phantom().structures
    dose = np.where(structures[1].share > 0, 0.0, dose)
    terms = terms_of_dose(structures, dose, [DVHGoal.parse("Organ D10 <= 5 Gy")])
    assert [structure.name for structure, _ in terms] == ["Tumor", "Rest"]


def test_goals_that_are_met_are_held(dose):
    structures = small_phantom().structures
    tumor = structures[0]
    d90 = DVHGoal.parse("Tumor D90 >= 0 Gy").metric.of_structure(dose, tumor)
    texts = [
        f"Tumor D90 >= {d90 - 0.1:.3f} Gy",  # met
        f"Tumor D90% >= {d90 + 0.1:.3f} Gy",  # missed
        "Organ D10 <= 12 Gy",  # met
        "Organ Dmean <= 12 Gy",  # for the DVH
        "Rest V20 <= 50 %",
        "Rest D2cc <= 30 Gy",
    ]
    goals = [DVHGoal.parse(text) for text in texts[:-1]]
    limits = [(s.name, term) for s, term in terms_of_dose(structures, dose, goals) if isinstance(term, DVHLimitTerm)]
    assert [(name, term.volume, term.minimum) for name, term in limits] == [
        ("Tumor", 0.9, True),
        ("Organ", 0.1, False),
    ]
    lower, upper = (term for _, term in limits)
    assert goals[0].value < lower.dose_gy < goals[0].value * 1.01
    assert 12 * 0.99 < upper.dose_gy < 12
    with_volume = [DVHGoal.parse(texts[-1])]
    assert not any(isinstance(term, DVHLimitTerm) for _, term in terms_of_dose(structures, dose, with_volume))
