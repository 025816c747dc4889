"""Dose of segments that are still being changed."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from small_case import small_phantom

from opentps_brimstone.adapters.copies import copy_plan
from opentps_brimstone.adapters.phantom import to_opentps
from opentps_brimstone.adapters.plan import layout_from_opentps
from opentps_brimstone.adapters.segments import merged_plan, write_segments
from opentps_brimstone.engine.choice import EngineChoice
from opentps_brimstone.engine.compute import photon_dose
from opentps_brimstone.engine.options import DoseOptions
from opentps_brimstone.integration.deliverable import make_deliverable
from opentps_brimstone.integration.photon_plan import optimize_photon_plan
from opentps_brimstone.integration.plan_dose import compute_dose
from opentps_brimstone.integration.segment_dose import SegmentDose
from opentps_brimstone.sequencing import MLC, ApertureSettings, sequence_plan


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An optimized plan of two fields on coarse voxels."""
    phantom = replace(small_phantom(), gantry_angles=(0.0, 110.0), isocenter_mm=(1.3, 0.4, 2.1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENTPS_BRIMSTONE_CACHE", str(tmp_path_factory.mktemp("cache")))
        with contextlib.redirect_stdout(io.StringIO()):
            ct, _, plan = to_opentps(phantom, 10.0)
        terms = [(phantom.structure(name), term) for name, term in phantom.objectives]
        optimize_photon_plan(plan, ct, terms, progress=False)
        yield phantom, ct, plan, terms


@pytest.mark.parametrize("beam_model", [None, pytest.param("Kernels_6MV", marks=pytest.mark.slow)])
def test_it_is_the_dose_of_the_plan_that_is_written(case, beam_model):
    """The dose that `compute_dose` gives of the segments, leakage included, which is computed apart."""
    _, ct, plan, terms = case
    options = {"scatter": "full", "beam_model": beam_model}
    settings = ApertureSettings(levels=4, rounds=2, iterations=10, goal_rounds=0)
    made = make_deliverable(plan, ct, terms, mlc="matched", refine=settings, verify="none", progress=False, **options)
    assert made.difference < 1e-5
    dose = compute_dose(made, ct, beam_model=beam_model, progress=False)
    inside = np.asarray(ct.imageArray) > -500
    assert np.abs(np.asarray(dose) - made.dose)[inside].max() < 0.004 * made.dose.max()
    # It is as high in the target as that of the fluence, whose scatter is as far.
    target = terms[0][0].share > 0.9
    assert made.dose[target].mean() == pytest.approx(made.optimized_dose[target].mean(), rel=0.05)
    of_fluence = np.asarray(compute_dose(plan, ct, beam_model=beam_model, progress=False))
    beside = inside & (of_fluence < 0.02 * of_fluence.max())
    if beam_model is None:
        np.testing.assert_allclose(made.optimized_dose[inside], of_fluence[inside], rtol=1e-5, atol=1e-4)
        assert made.dose[beside].mean() == pytest.approx(made.optimized_dose[beside].mean(), rel=0.1)
    else:  # the fluence is to leak between jaws around it; segments of a collimator without jaws leak everywhere
        assert made.dose[beside].mean() > made.optimized_dose[beside].mean() > 1.02 * of_fluence[beside].mean()
    # In OpenTPS small fields give as much for a MU as large ones, and nothing where scatter from afar is all there is.
    if beam_model is None:
        assert made.opentps_dose[target].mean() > 1.02 * made.dose[target].mean()
    assert made.opentps_dose[beside].mean() < 0.5 * made.dose[beside].mean()


def test_as_beamlets_it_is_the_sum_of_what_opentps_makes_of_the_segments(case):
    _, ct, plan, _ = case
    layout = layout_from_opentps(plan)
    mlc = MLC.matched(layout.xy_mm[:, 1], 10.0)
    beams = sequence_plan(layout, np.array(plan.beamletMUs), mlc, levels=4)
    written = copy_plan(plan)
    spacing_mm = write_segments(written, beams)
    dose = SegmentDose(plan, ct, DoseOptions(EngineChoice()), None, spacing_mm, 1.0)(beams)
    expected = photon_dose(ct, merged_plan(written), DoseOptions(EngineChoice())).imageArray
    np.testing.assert_allclose(dose, expected, atol=1e-6 * expected.max())


def test_full_scatter_is_for_refined_segments(case):
    _, ct, plan, terms = case
    with pytest.raises(ValueError, match="are for segments that are refined: give refine=True, too"):
        make_deliverable(plan, ct, terms, mlc="matched", scatter="full", progress=False)
    with pytest.raises(ValueError, match="is relative to the prescribed dose"):
        make_deliverable(plan, ct, terms, mlc="matched", refine=True, goals=["Tumor D95 >= 95 %"], progress=False)
    with pytest.raises(ValueError, match=r"beam_model=\.\.\. needs"):
        make_deliverable(plan, ct, terms, mlc="matched", refine=True, beam_model="Kernels_6MV", progress=False)
