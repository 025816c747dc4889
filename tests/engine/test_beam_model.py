"""Beam models: files, what is wrong with them, and the fluence that they make."""

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr

from opentps_brimstone.engine.beam_model import (
    BEAM_MODELS,
    BeamModelError,
    Collimator,
    ExtraFocalSource,
    beam_model_text,
    read_beam_model,
)
from opentps_brimstone.engine.collimation import LeafOpening, let_through
from opentps_brimstone.engine.finite_source import from_finite_source
from opentps_brimstone.engine.fluence import FluenceMap, Rectangles

OPEN = (-np.inf, np.inf)


def model(**changes):
    return dataclasses.replace(read_beam_model("Kernels_6MV"), **changes)


def write(folder, *changes):
    """Write the model that comes with the package, with some text of it replaced."""
    text = beam_model_text(read_beam_model("Kernels_6MV"))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "beam.toml"
    path.write_text(text)
    return path


# ------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", BEAM_MODELS)
def test_models_of_the_package_can_be_read(name):
    assert read_beam_model(name).name == name


def test_a_model_written_and_read_is_the_same(tmp_path):
    written = model(name='6 "MV"\\2', source_sigma_mm=1.25, spectrum=(0.5, 0.25, 0.125), extra_focal=None)
    path = tmp_path / "beam.toml"
    path.write_text(beam_model_text(written))
    assert read_beam_model(path) == written
    assert read_beam_model(written) is written


def test_kernels_may_lie_beside_the_file(tmp_path):
    (tmp_path / "measured").mkdir()
    assert read_beam_model(write(tmp_path, ('"Kernels_6MV"\n\n', '"measured"\n\n'))).kernels == tmp_path / "measured"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("leaf_transmission = 0.015", "leaf_transmission = -0.1", r"leaf_transmission is -0\.1; it must lie between 0"),
        ("leaf_transmission = 0.015", "leaf_transmission = nan", r"line 14.*leaf_transmission must be a finite number"),
        ("leaf_transmission = 0.015\n", "", r"line 12: \[collimator\] has no leaf_transmission"),
        ("leaf_transmission", "leaf_leakage", r"line 14: there is no 'leaf_leakage' in \[collimator\]; there are"),
        ("[source]\nsigma_mm = 0.8\n", "", r"has no table \[source\] with sigma_mm"),
        ("sigma_mm = 0.8", "sigma_mm = true", "sigma_mm must be a finite number, not True"),
        ("sigma_mm = 0.8", "sigma_mm = ", "is not TOML"),
        ("distance_mm = 125.0", "distance_mm = 445.0", "less than the collimator's 450 by 10 or more"),
        ("gy_per_mu = 0.01", "gy_per_mu = 0", "gy_per_mu of the reference field is 0 Gy; it must be positive"),
        ('name = "Kernels_6MV"', "name = 6", "name must be a text, not 6"),
        ("[source]", "[spectrum]\nfluence = []\n[source]", r"fluence must be a list of finite numbers, not \[\]"),
        ("[source]", "[spectrum]\nfluence = [1, -2]\n[source]", "energy 1 in the spectrum is -2"),
        ("[source]", "[spectrum]\nfluence = [0, 0]\n[source]", "is 0 at all energies"),
    ],
)
def test_what_a_file_cannot_say(tmp_path, old, new, message):
    with pytest.raises(BeamModelError, match=message) as raised:
        read_beam_model(write(tmp_path, (old, new)))
    assert "beam.toml" in str(raised.value)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(BeamModelError, match=r"no beam model 'Kernels_7MV': name a TOML file, or .* Kernels_6MV"):
        read_beam_model("Kernels_7MV")
    with pytest.raises(BeamModelError, match="cannot be read"):
        read_beam_model(tmp_path)


# ------------------------------------------------------------------------------------------------- leaves and jaws


def fluence_at(parts, x, y):
    """MU at a point."""
    fluence = FluenceMap.of([parts])
    column, row = np.searchsorted(fluence.x_edges_mm, x) - 1, np.searchsorted(fluence.y_edges_mm, y) - 1
    return fluence.mu[row, column]


def two_pairs(left=(-10.0, 5.0), right=(20.0, 5.0), x_jaws=OPEN, y_jaws=OPEN, mu=100.0):
    y = np.array([(-10.0, 0.0), (0.0, 10.0)])
    return LeafOpening(np.column_stack([left, right]), y, x_jaws, y_jaws, mu)


def test_layers_multiply_what_they_let_through():
    through = let_through(
        two_pairs(x_jaws=(-15.0, 15.0), y_jaws=(-50.0, 8.0)), Collimator(450.0, 0.02, 0.1, 0.0, 400.0)
    )
    expected = {
        (0.0, -5.0): 100.0,  # open
        (0.0, 5.0): 2.0,  # a closed pair
        (-12.0, -5.0): 2.0,  # beside the opening
        (17.0, -5.0): 10.0,  # open, behind a jaw
        (-30.0, -5.0): 0.2,  # leaf and jaw
        (0.0, 9.0): 0.2,
        (-30.0, 60.0): 0.02,  # leaf and both jaws
    }
    assert {place: fluence_at(through, *place) for place in expected} == pytest.approx(expected)


def test_nothing_beside_the_largest_field():
    fluence = FluenceMap.of([let_through(two_pairs(), Collimator(450.0, 0.02, 0.1, 0.0, 60.0))])
    assert (fluence.x_edges_mm[[0, -1]].tolist(), fluence.y_edges_mm[[0, -1]].tolist()) == ([-30, 30], [-30, 30])
    wide = two_pairs(left=(-90.0, -90.0), right=(90.0, 90.0))
    assert FluenceMap.of([let_through(wide, Collimator(450.0, 0.02, 0.1, 0.0, 60.0))]).x_edges_mm.tolist() == [-30, 30]


def test_tips_of_open_pairs_let_through_more():
    fluence = FluenceMap.of([let_through(two_pairs(), Collimator(450.0, 0.0, 0.0, 0.75, 400.0))])
    assert fluence.x_edges_mm.tolist() == [-10.75, 20.75]
    assert fluence.y_edges_mm.tolist() == [-10.0, 0.0]


def test_without_transmission_and_offset_only_openings_are_left():
    opening = two_pairs(x_jaws=(-5.0, 12.0))
    sharp = FluenceMap.of([opening.rectangles()])
    through = FluenceMap.of([let_through(opening, Collimator(450.0, 0.0, 0.0, 0.0, 400.0))])
    assert (sharp.x_edges_mm.tolist(), sharp.mu.tolist()) == (through.x_edges_mm.tolist(), through.mu.tolist())


# ------------------------------------------------------------------------------------------------- finite source


def square(half=50.0):
    return FluenceMap.of([Rectangles([(-half, half)], [(-half, half)], [1.0])])


def middles(edges):
    return (edges[1:] + edges[:-1]) / 2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_penumbra_of_a_square_is_that_of_the_closed_form(sigma):
    """The edge of a half plane behind a Gaussian source: 20 to 80 % lie 1.683 projected standard deviations apart."""
    from_source = from_finite_source(square(), model(source_sigma_mm=sigma, extra_focal=None), 1000.0)
    projected = sigma * (1000.0 - 450.0) / 450.0
    x, profile = middles(from_source.x_edges_mm), from_source.mu[from_source.mu.shape[0] // 2]
    expected = ndtr((x + 50.0) / projected) - ndtr((x - 50.0) / projected)
    assert np.abs(profile - expected).max() < 0.005
    falls = np.interp([0.2, 0.8], profile[x < 0], x[x < 0])
    assert np.diff(falls)[0] == pytest.approx(1.6832 * projected, rel=0.01)


def test_no_fluence_is_lost_in_the_penumbra():
    from_source = from_finite_source(square(), model(extra_focal=None), 1000.0)
    areas = np.outer(np.diff(from_source.y_edges_mm), np.diff(from_source.x_edges_mm))
    assert (areas * from_source.mu).sum() == pytest.approx(100.0**2, rel=1e-4)


def test_a_point_leaves_the_fluence_as_it_is():
    sharp = square()
    assert from_finite_source(sharp, model(source_sigma_mm=0.0, extra_focal=None), 1000.0) is sharp
    assert from_finite_source(sharp, model(), 400.0).mu.max() == pytest.approx(1.0)  # an isocenter before the leaves


def test_output_in_air_grows_with_the_field_as_the_wide_source_is_seen():
    extra = ExtraFocalSource(share=0.1, sigma_mm=15.0, distance_mm=100.0)
    wide = model(source_sigma_mm=0.0, extra_focal=extra)
    for half in (10.0, 50.0, 100.0):
        from_source = from_finite_source(square(half), wide, 1000.0)
        on_axis = from_source.mu[from_source.mu.shape[0] // 2, from_source.mu.shape[1] // 2]
        # The half of the field at the collimator, seen from the isocenter in the plane of the wide source.
        seen = half * 450.0 / 1000.0 * (1000.0 - 100.0) / (1000.0 - 450.0)
        assert on_axis == pytest.approx(0.9 + 0.1 * (2 * ndtr(seen / 15.0) - 1) ** 2, abs=2e-4)
