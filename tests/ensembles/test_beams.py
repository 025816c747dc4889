from __future__ import annotations

import numpy as np
import pytest
from small_case import BEAMLET_MM, small_phantom

import opentps_brimstone as pb
from opentps_brimstone.ensembles import EnsembleError, spread_dose, spread_dose_influence

OPTIONS = {"beamlet_spacing_mm": BEAMLET_MM, "margin_mm": 6.0, "cache": False, "progress": False}


def made() -> pb.Plan:
    """A plan with beams of all kinds."""
    phantom = small_phantom()
    series = pb.Series(phantom.ct_hu, phantom.grid.spacing_mm, phantom.grid.origin_mm, phantom.structures)
    plan = pb.Plan(series, 5, dose_grid_mm=phantom.grid.spacing_mm)
    plan.add_beam(20.0)
    plan.add_beam(110.0, isocenter=(5.0, -3.0, 2.0), couch_angle=15.0)
    plan.add_beam(250.0, collimator_angle=30.0, name="last")
    return plan


@pytest.fixture(scope="module")
def alone():
    plan = made()
    plan.compute_dose_influence("Tumor", **OPTIONS)
    plan.beamlet_weights = np.linspace(1.0, 2.0, plan.dose_influence.layout.n_beamlets)
    return plan


def same_influence(one: pb.DoseInfluence, other: pb.DoseInfluence) -> bool:
    parts = [
        np.array_equal(getattr(one.matrix, name), getattr(other.matrix, name)) for name in ("data", "indices", "indptr")
    ]
    layouts = [np.array_equal(getattr(one.layout, n), getattr(other.layout, n)) for n in ("xy_mm", "beam_index")]
    return all(parts + layouts)


def test_beams_spread_over_processes_give_bitwise_the_same_matrix(alone):
    plan = made()
    counted = []
    options = {**OPTIONS, "progress": lambda done, total: counted.append((done, total))}
    influence = spread_dose_influence(plan, None, "Tumor", workers=2, threads=1, **options)
    assert plan.dose_influence is influence and same_influence(influence, alone.dose_influence)
    assert plan.dose_options.choice == alone.dose_options.choice
    assert plan.dose_options.density_table is alone.dose_options.density_table
    assert counted == [(1, 3), (2, 3), (3, 3)]


def test_targets_that_are_no_longer_the_same_move_the_isocenter():
    plan, other = made(), made()
    for each in (plan, other):
        each.structures["Organ"].is_target = True
        each.compute_dose_influence("Tumor", **OPTIONS)
    other.compute_dose_influence(["Organ"], **OPTIONS)
    influence = spread_dose_influence(plan, None, ["Organ"], workers=1, **OPTIONS)
    assert same_influence(influence, other.dose_influence)
    assert plan.beams[0].isocenter.tolist() == other.beams[0].isocenter.tolist()


@pytest.mark.slow
def test_the_dose_of_spread_beams_is_that_of_all(alone):
    expected = pb.compute_dose(alone, progress=False)
    found = spread_dose(alone, workers=2, threads=1, progress=False)
    assert np.asarray(found) == pytest.approx(np.asarray(expected), rel=1e-12, abs=1e-12)
    assert found.max() > 0.1


@pytest.mark.slow
def test_a_client_s_workers_do_the_same(alone):
    distributed = pytest.importorskip("distributed")
    plan = made()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        influence = spread_dose_influence(plan, client, "Tumor", **OPTIONS)
        dose = spread_dose(alone, client, scatter="opentps", progress=False)
    assert same_influence(influence, alone.dose_influence)
    assert np.asarray(dose) == pytest.approx(
        np.asarray(pb.compute_dose(alone, scatter="opentps", progress=False)), rel=1e-12, abs=1e-12
    )


def test_what_cannot_be_computed_is_said():
    phantom = small_phantom()
    with pytest.raises(ValueError, match="came with its dose influence"):
        spread_dose_influence(pb.ensembles.plan_of_beams(simple(), [0]))
    empty = pb.Plan(pb.Series(phantom.ct_hu, (10, 10, 10), phantom.grid.origin_mm, phantom.structures))
    with pytest.raises(ValueError, match="the plan has no beams"):
        spread_dose_influence(empty)
    with pytest.raises(ValueError, match="scatter='full' computes scatter from far away for all beams together"):
        spread_dose_influence(made(), None, "Tumor", scatter="full")
    with pytest.raises(ValueError, match="no beamlet weights yet"):
        spread_dose(made())
    with pytest.raises(EnsembleError, match=r"the dose of G020 could not be computed: .*margin_mm is -1"):
        spread_dose_influence(made(), None, "Tumor", **(OPTIONS | {"margin_mm": -1}), workers=1)


def simple() -> pb.Plan:
    from problems import random_plan

    return random_plan(1)


@pytest.mark.parametrize(
    ("influence", "message"),
    [
        (lambda plan: simple().dose_influence, "is on 10 x 9 x 8 voxels"),
        (lambda plan: pb.ensembles.plan_of_beams(plan, [0, 1]).dose_influence, "is of 2 beams; the plan has 3"),
    ],
)
def test_an_influence_of_another_plan_is_refused(alone, influence, message):
    with pytest.raises(ValueError, match=message):
        made().set_dose_influence(influence(alone))
