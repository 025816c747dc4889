from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from opentps_brimstone import BeamletLayout, Structure, VoxelGrid
from opentps_brimstone.visualization import plots

GRID = VoxelGrid((20, 16, 12), (2.0, 3.0, 4.0), (-19.0, -22.5, -22.0))


def axes():
    return Figure().add_subplot()


def centers():
    axes_mm = [o + s * np.arange(n) for o, s, n in zip(GRID.origin_mm, GRID.spacing_mm, GRID.shape, strict=True)]
    return np.meshgrid(*axes_mm, indexing="ij")


@pytest.fixture
def box():
    """A target at the patient's left, back and head."""
    x, y, z = centers()
    return Structure("PTV", (x > 0) & (y > 0) & (z > 0), is_target=True)


@pytest.fixture
def ct():
    x, y, _z = centers()
    return np.where((np.abs(x) < 17) & (np.abs(y) < 20), 0.0, -1024.0)


def draw(ax, dose, ct, structures, **options):
    plots.plot_dose_wash(dose, ct, GRID, structures, prescription_gy=50.0, ax=ax, **options)


def outline(ax, color):
    """Points of the outline drawn in a color, in mm."""
    found = [c for c in ax.collections if len(c.get_edgecolor()) and to_hex(c.get_edgecolor()[0]).upper() == color]
    assert len(found) == 1
    return np.concatenate([path.vertices for path in found[0].get_paths()])


@pytest.mark.parametrize(
    ("plane", "axis_names", "sides"),
    [("axial", "xy", "RLPA"), ("coronal", "xz", "RLIS"), ("sagittal", "yz", "APIS")],
)
def test_planes_are_the_right_way_round(box, ct, plane, axis_names, sides):
    ax = axes()
    draw(ax, np.zeros(GRID.shape), ct, [box], plane=plane, position_mm=10.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == tuple(f"{name} (mm)" for name in axis_names)
    letters = {text.get_text(): text.get_position() for text in ax.texts}
    left, right, bottom, top = sides
    assert letters[left][0] < 0.5 < letters[right][0]
    assert letters[bottom][1] < 0.5 < letters[top][1]
    low, high = ax.get_ylim()
    assert (low > high) == (plane == "axial")
    assert ax.get_xlim()[0] < ax.get_xlim()[1]
    assert ax.get_aspect() == 1.0


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_outlines_lie_where_the_structure_is(box, ct, plane):
    ax = axes()
    draw(ax, np.zeros(GRID.shape), ct, [box], plane=plane, position_mm=10.0)
    points = outline(ax, plots.structure_colors([box])["PTV"])
    across, up = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    for values, axis in zip(points.T, (across, up), strict=True):
        # Half-way from the last voxel outside to the first one inside.
        assert values.min() == pytest.approx(0.0, abs=GRID.spacing_mm[axis] / 2)
        last = GRID.origin_mm[axis] + GRID.spacing_mm[axis] * (GRID.shape[axis] - 1)
        assert values.max() == pytest.approx(last)


def test_wash_shows_the_dose_where_it_is(ct):
    x, y, _z = centers()
    dose = np.where((x > 0) & (y < 0), 51.0, 0.0)
    ax = axes()
    draw(ax, dose, ct, [], plane="axial")
    filled = [c for c in ax.collections if hasattr(c, "levels") and getattr(c, "filled", False)]
    (wash,) = filled
    hot = wash.get_paths()[list(wash.levels).index(50.0)]
    assert hot.vertices[:, 0].min() > -2 and hot.vertices[:, 1].max() < 2


def test_wash_leaves_out_what_gets_less_than_the_lowest_isodose(ct):
    ax = axes()
    draw(ax, np.full(GRID.shape, 50 * plots.ISODOSES_PERCENT[0] / 100 - 0.1), ct, [], plane="axial")
    assert not ax.collections


def test_plane_is_interpolated_between_voxels(ct):
    _x, _y, z = centers()
    dose = 25.0 + z
    ax = axes()
    draw(ax, dose, ct, [], plane="coronal", position_mm=1.0)
    (wash,) = [c for c in ax.collections if getattr(c, "filled", False)]
    fifty = wash.get_paths()[list(wash.levels).index(25.0)].vertices[:, 1]
    assert fifty.min() == pytest.approx(0.0, abs=1e-6)


def test_crop_ends_at_the_body(ct):
    ax = axes()
    draw(ax, np.zeros(GRID.shape), ct, [], plane="axial", crop_mm=5.0)
    assert ax.get_xlim() == pytest.approx((-15 - 5, 15 + 5), abs=2.1)


def test_holes_that_other_structures_fill_are_not_outlined(ct):
    x, y, _z = centers()
    core = np.hypot(x, y) < 8
    organs = [Structure("Core", core), Structure("Body", ~core & (np.abs(x) < 17) & (np.abs(y) < 20))]
    ax = axes()
    draw(ax, np.zeros(GRID.shape), ct, organs, plane="axial")
    points = outline(ax, plots.structure_colors(organs)["Body"])
    assert np.hypot(*points.T).min() > 14


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"plane": "oblique"}, "plane 'oblique' is unknown; it may be axial, coronal, sagittal"),
        ({"position_mm": 99.0}, "the axial plane at 99 mm is outside the grid, from -24 to 24 mm"),
    ],
)
def test_wrong_planes_are_refused(ct, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        draw(axes(), np.zeros(GRID.shape), ct, [], **options)


def test_other_grids_are_refused(ct):
    with pytest.raises(ValueError, match=r"dose has the grid \(2, 2, 2\); the plot's is \(20, 16, 12\)"):
        draw(axes(), np.zeros((2, 2, 2)), ct, [])
    with pytest.raises(ValueError, match="the prescription is 0 Gy"):
        plots.plot_dose_wash(ct, ct, GRID, [], prescription_gy=0, ax=axes())


def test_colors_are_all_different():
    structures = [Structure(f"s{i}", np.ones((1, 1, 1)), is_target=i < 4) for i in range(16)]
    assert len(set(plots.structure_colors(structures).values())) == 16


def test_without_a_ct_the_wash_lies_on_the_gray_of_its_bar(box):
    ax = axes()
    draw(ax, np.full(GRID.shape, 45.0), None, [box], crop_mm=5.0)
    assert not ax.get_images()
    plots.plot_isodose_bar(50.0, ax=ax)
    bar = ax.figure.axes[1]
    assert ax.get_facecolor() == bar.get_facecolor()
    assert [text.get_text() for text in bar.get_yticklabels()] == [
        f"{percent:.0f}" for percent in plots.ISODOSES_PERCENT
    ]
    assert ax.get_xlim() == (GRID.origin_mm[0] - 1, GRID.origin_mm[0] + 39)


def test_dvh_curves_that_are_known_are_drawn_as_they_are():
    ax = axes()
    plots.plot_dvh_curves(
        {"PTV": ([0, 50, 50], [1, 1, 0])}, {"PTV": "#D55E00"}, targets={"cord": [(0, 1), (9, 0)]}, ax=ax
    )
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_data(), [[0, 50, 50], [100, 100, 0]])


def test_legend_names_every_isodose_in_percent_and_gy():
    ax = axes()
    plots.plot_isodose_legend(40.0, ax=ax)
    texts = [text.get_text() for text in ax.texts]
    for percent in plots.ISODOSES_PERCENT:
        assert f"{percent:.0f} %" in texts
        assert f"{percent * 0.4:.1f}" in texts


def test_dvh_curves_and_dashed_targets(box):
    dose = np.where(box.share > 0, 50.0, 10.0)
    rest = Structure("Body", box.share == 0)
    ax = axes()
    plots.plot_dvh(dose, [box, rest], targets={"PTV": [(49, 1), (52, 0)]}, ax=ax)
    curves = {line.get_label(): line for line in ax.lines}
    doses, volumes = curves["PTV"].get_data()
    assert volumes[doses < 50].min() == 100
    assert volumes[doses > 50].max() == 0
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 1
    np.testing.assert_allclose(np.transpose(dashed[0].get_data()), [(0, 100), (49, 100), (52, 0)])
    assert dashed[0].get_color() == curves["PTV"].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["PTV", "Body", "asked for"]


def test_dvh_shows_several_targets_of_one_structure(box):
    ax = axes()
    plots.plot_dvh(np.ones(GRID.shape), [box], ax=ax)
    assert ax.get_xlim()[0] == 0
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["PTV"]


def history(levels=(3, 3, 2, 2, 2, 0), costs=(5.0, 2.0, 3.0, 1.0, 0.9, 0.4)):
    return {"iteration": list(range(1, len(levels) + 1)), "level": list(levels), "cost": list(costs)}


@pytest.mark.parametrize("log", [True, False])
def test_convergence_has_a_line_and_a_mark_for_each_level(log):
    ax = axes()
    plots.plot_convergence(history(), log=log, ax=ax)
    assert ax.get_yscale() == ("log" if log else "linear")
    assert [text.get_text()[-1] for text in ax.texts] == ["3", "2", "0"]
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 3, 1]
    low, high = sorted(ax.get_ylim())
    assert low < 0.4 and high > 5.0


def test_convergence_of_nothing_is_an_empty_plot():
    ax = axes()
    plots.plot_convergence({"iteration": [], "level": [], "cost": []}, ax=ax)
    assert not ax.lines


def test_convergence_histories_in_error_are_refused():
    with pytest.raises(ValueError, match="has no 'level'; it has iteration, cost"):
        plots.plot_convergence({"iteration": [1], "cost": [1.0]}, ax=axes())
    with pytest.raises(ValueError, match="the lengths 6, 6 and 5"):
        plots.plot_convergence({**history(), "cost": [1.0] * 5}, ax=axes())


@pytest.fixture
def layout():
    xy = np.array([(0, 0), (5, 0), (0, 10), (20, 0), (20, 10)], float)
    return BeamletLayout(xy, np.array([0, 0, 0, 1, 1]), np.array([(5.0, 10.0), (5.0, 10.0)]))


def test_fluence_tiles_have_their_place_size_and_mu(layout):
    ax = axes()
    tiles = plots.plot_fluence(layout, [1, 2, 3, 4, 8], 0, title="gantry 40°", ax=ax)
    assert ax.get_title() == "gantry 40°"
    np.testing.assert_array_equal(tiles.get_array(), [1, 2, 3])
    boxes = [path.get_extents().extents for path in tiles.get_paths()]
    np.testing.assert_allclose(boxes, [(-2.5, -5, 2.5, 5), (2.5, -5, 7.5, 5), (-2.5, 5, 2.5, 15)])
    assert tiles.norm.vmax == 8
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (mm)", "y (mm)")


def test_fluence_maps_share_scale_and_frame(layout):
    first, second = axes(), axes()
    one = plots.plot_fluence(layout, [1, 2, 3, 4, 8], 0, ax=first)
    two = plots.plot_fluence(layout, [1, 2, 3, 4, 8], 1, ax=second)
    assert one.norm.vmax == two.norm.vmax
    assert (first.get_xlim(), first.get_ylim()) == (second.get_xlim(), second.get_ylim())


def test_fluence_of_no_mu_can_be_drawn(layout):
    assert plots.plot_fluence(layout, np.zeros(5), 0, ax=axes()).norm.vmax > 0


def test_fluence_in_error_is_refused(layout):
    with pytest.raises(ValueError, match="there is no beam 2; beams are counted from 0 to 1"):
        plots.plot_fluence(layout, np.ones(5), 2, ax=axes())
    with pytest.raises(ValueError, match="expected 5 beamlet weights"):
        plots.plot_fluence(layout, np.ones(4), 0, ax=axes())


def test_plots_open_no_figures(box, ct):
    import matplotlib.pyplot as plt

    draw(axes(), np.ones(GRID.shape), ct, [box])
    assert plt.get_fignums() == []
