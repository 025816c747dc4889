import numpy as np
import pytest

from opentps_brimstone.engine.fluence import FluenceMap, Rectangles


def at(fluence, x, y):
    """MU of a map at a point."""
    column = np.searchsorted(fluence.x_edges_mm, x) - 1
    row = np.searchsorted(fluence.y_edges_mm, y) - 1
    inside = 0 <= column < fluence.mu.shape[1] and 0 <= row < fluence.mu.shape[0]
    return fluence.mu[row, column] if inside else 0.0


def test_random_rectangles_add_up():
    rng = np.random.default_rng(3)
    low = rng.uniform(-50, 40, (30, 2))
    high = low + rng.uniform(1, 30, (30, 2))
    mu = rng.uniform(0.1, 5, 30)
    parts = [
        Rectangles(np.c_[low[some, 0], high[some, 0]], np.c_[low[some, 1], high[some, 1]], mu[some])
        for some in (slice(0, 12), slice(12, 30))
    ]
    fluence = FluenceMap.of(parts)
    for x, y in rng.uniform(-60, 80, (200, 2)):
        meant = mu[((low < (x, y)) & (high > (x, y))).all(axis=1)].sum()
        assert at(fluence, x, y) == pytest.approx(meant, abs=1e-8)


def test_beamlets_of_a_lattice_are_its_cells():
    xy = np.array([(-2.5, 0.0), (2.5, 0.0), (2.5, 10.0)])
    fluence = FluenceMap.of([Rectangles.of_beamlets(xy, (5.0, 10.0), [1.0, 2.0, 3.0])])
    assert fluence.x_edges_mm.tolist() == [-5.0, 0.0, 5.0]
    assert fluence.y_edges_mm.tolist() == [-5.0, 5.0, 15.0]
    assert fluence.mu.tolist() == [[1.0, 2.0], [0.0, 3.0]]


def test_edges_that_differ_by_rounding_are_one():
    third = 1.0 / 3.0
    fluence = FluenceMap.of([Rectangles([(0.0, third), (0.1 + 0.2 + third - 0.3, 1.0)], [(0, 1), (0, 1)], [1.0, 1.0])])
    assert fluence.mu.tolist() == [[1.0, 1.0]]


def test_sides_without_mu_are_trimmed():
    wide = FluenceMap(np.arange(6.0), np.arange(4.0), np.pad([[0.0, 2.0], [1.0, 0.0]], ((0, 1), (2, 1))))
    trimmed = wide.trimmed()
    assert trimmed.x_edges_mm.tolist() == [2.0, 3.0, 4.0]
    assert trimmed.y_edges_mm.tolist() == [0.0, 1.0, 2.0]
    assert trimmed.mu.tolist() == [[0.0, 2.0], [1.0, 0.0]]
    assert FluenceMap(wide.x_edges_mm, wide.y_edges_mm, 0 * wide.mu).trimmed() is None


def test_closed_places_have_no_fluence_at_all():
    width = np.array([(0.1 * n, 0.1 * n + 0.3) for n in range(50)])
    fluence = FluenceMap.of(
        [
            Rectangles(width, np.tile([0.0, 1.0], (50, 1)), np.full(50, 0.1)),
            Rectangles([(20.0, 21.0)], [(0.0, 1.0)], [1.0]),
        ]
    )
    assert at(fluence, 10.0, 0.5) == 0.0
    assert at(fluence, 20.5, 0.5) == pytest.approx(1.0)
