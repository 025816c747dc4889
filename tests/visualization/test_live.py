from __future__ import annotations

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image
from problems import add_objectives, random_plan
from small_case import small_phantom

import opentps_brimstone as pb
from opentps_brimstone.evaluation import cumulative_dvh
from opentps_brimstone.model.contours import ContourStack
from opentps_brimstone.visualization import VisualizationCallback, structure_colors
from opentps_brimstone.visualization.views import WindowView, open_view


@pytest.fixture(autouse=True)
def no_figure_is_left():
    from matplotlib import pyplot

    yield
    pyplot.close("all")


def optimize(callback, plan=None, **options):
    plan = plan or random_plan(0)
    optimizer = pb.PlanOptimizer(plan)
    add_objectives(optimizer)
    return plan, optimizer.optimize(callback=callback, **options)


@pytest.fixture(scope="module")
def watched():
    viz = pb.VisualizationCallback(update_interval=40)
    plan, result = optimize(viz)
    return viz, plan, result


def axes():
    return Figure(layout="constrained").add_subplot()


def test_the_history_has_every_iteration_and_the_snapshots(watched):
    viz, _, result = watched
    history = viz.history
    for name in ("iteration", "cost", "gradient_norm"):
        assert history[name] == result.convergence_history[name]
    assert viz.update_interval == 40
    assert history["snapshot_iteration"] == [1, *range(40, result.iterations, 40), result.iterations]
    assert len(history["doses"]) == len(history["weights"]) == len(history["dvhs"]["PTV"])
    np.testing.assert_allclose(history["doses"][-1], result.dose, rtol=1e-6)


def test_watching_changes_nothing(watched):
    _, _, result = watched
    np.testing.assert_array_equal(optimize(None)[1].beamlet_weights, result.beamlet_weights)


def test_convergence_shows_every_cost(watched):
    viz, _, result = watched
    ax = axes()
    assert viz.plot_convergence(ax=ax) is ax
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    np.testing.assert_array_equal(drawn, result.convergence_history["cost"])


def test_dvhs_are_those_of_the_result_with_what_was_asked_for(watched):
    viz, plan, result = watched
    ax = axes()
    assert viz.plot_dvh(structures=[plan.structures["PTV"], "organ"], ax=ax) is ax
    curves = {line.get_label(): line for line in ax.lines}
    colors = structure_colors(list(plan.structures.values()))
    for name in ("PTV", "organ"):
        doses, volumes = curves[name].get_data()
        expected = 100 * cumulative_dvh(*plan.structures[name].sample(result.dose), doses)
        # The snapshot's dose has single precision.
        assert np.mean(np.abs(volumes - expected) > 1e-9) < 0.02
        assert curves[name].get_color() == colors[name]
    assert "body" not in curves
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed[0].get_data(), [[0, 48, 52], [100, 100, 0]])
    assert len(dashed) == 2


def test_structures_of_another_grid_are_found_by_their_names(watched):
    viz, _, _ = watched
    elsewhere = pb.Structure("PTV", np.ones((2, 2, 2)), True)
    assert len(viz.plot_dvh([elsewhere], ax=axes()).get_legend().get_texts()) == 2
    with pytest.raises(ValueError, match="the plan has no structure 'cord'; it has PTV, organ, body"):
        viz.plot_dvh(["cord"], ax=axes())


@pytest.mark.parametrize(("plane", "count", "title"), [("axial", 8, "z = 10"), ("sagittal", 10, "x = 15")])
def test_a_dose_slice_is_where_it_says(watched, plane, count, title):
    viz, _, _ = watched
    ax = axes()
    assert viz.plot_dose_slice(slice_idx=2 if plane == "axial" else 3, ax=ax, plane=plane) is ax
    assert ax.get_title() == f"{plane}, {title} mm"
    assert any(getattr(drawn, "filled", False) for drawn in ax.collections)
    assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["dose (% of 48 Gy)"]
    for outside in (-1, count):
        with pytest.raises(
            ValueError, match=f"there is no {plane} slice {outside}; they are counted from 0 to {count - 1}"
        ):
            viz.plot_dose_slice(outside, ax=axes(), plane=plane)
    with pytest.raises(ValueError, match="plane 'oblique' is unknown"):
        viz.plot_dose_slice(plane="oblique")


def test_the_slice_through_the_target_is_the_default(watched):
    viz, plan, _ = watched
    z = np.average(np.arange(8), weights=plan.structures["PTV"].share.sum(axis=(0, 1)))
    assert viz.plot_dose_slice(ax=axes()).get_title() == f"axial, z = {5 * round(z):.0f} mm"


def test_isodoses_are_of_the_dose_prescribed():
    for options, expected in (({}, "dose (% of 48 Gy)"), ({"prescription_gy": 60.0}, "dose (% of 60 Gy)")):
        viz = VisualizationCallback(**options)
        optimize([viz, pb.Recorder()], max_iterations=1)
        ax = viz.plot_dose_slice(ax=axes())
        assert ax.figure.axes[1].get_ylabel() == expected
    with pytest.raises(ValueError, match="the prescription is 0 Gy; it must be positive"):
        VisualizationCallback(prescription_gy=0)


def test_the_dose_lies_on_the_ct_of_a_series():
    phantom = small_phantom()
    series = pb.Series(phantom.ct_hu, phantom.grid.spacing_mm, phantom.grid.origin_mm, phantom.structures)
    plan = pb.Plan(series, number_of_fractions=5)
    for angle in (0, 120):
        plan.add_beam(gantry_angle=angle, isocenter=phantom.isocenter_mm)
    plan.compute_dose_influence("Tumor", beamlet_spacing_mm=30.0, progress=False, cache=False)
    optimizer = pb.PlanOptimizer(plan)
    for name, term in phantom.objectives:
        optimizer.add_objective(plan.structures[name], term)
    viz = VisualizationCallback()
    optimizer.optimize(callback=viz)
    ax = viz.plot_dose_slice(ax=axes())
    (image,) = [drawn for drawn in ax.get_images() if isinstance(drawn, AxesImage)]
    middle = phantom.ct_hu.shape[2] // 2
    np.testing.assert_allclose(image.get_array(), phantom.ct_hu[:, :, middle].T)
    assert viz.plot_beamlet_weights(1, ax=axes()).get_title() == "G120"


def test_beamlet_weights_are_those_of_the_beam(watched):
    viz, plan, result = watched
    ax = axes()
    assert viz.plot_beamlet_weights(beam_idx=2, ax=ax) is ax
    (tiles,) = ax.collections
    np.testing.assert_array_equal(tiles.get_array(), result.beamlet_weights[plan.dose_influence.layout.beam_index == 2])
    assert ax.figure.axes[1].get_ylabel() == "MU per fraction"
    for outside in (-1, 3):
        with pytest.raises(ValueError, match=f"there is no beam {outside}; beams are counted from 0 to 2"):
            viz.plot_beamlet_weights(outside, ax=axes())


@pytest.mark.parametrize("plot", ["plot_convergence", "plot_dose_slice", "plot_dvh", "plot_beamlet_weights"])
def test_every_plot_makes_its_own_axes_if_it_gets_none(watched, plot):
    from matplotlib import pyplot

    ax = getattr(watched[0], plot)()
    assert pyplot.get_fignums() == [ax.figure.number]


def test_the_overview_is_one_page(watched):
    viz, _, result = watched
    figure = viz.plot_overview()
    assert figure.get_suptitle() == f"iteration {result.iterations}, level 0, cost {viz.history['cost'][-1]:.4g}"
    again = viz.plot_overview(figure)
    assert again is figure
    assert figure.axes[0].get_title() == "convergence"
    assert len(figure.axes) == 6


def test_an_optimization_that_goes_on_from_a_checkpoint_is_shown(tmp_path):
    path, viz = tmp_path / "run.npz", VisualizationCallback(update_interval=100)
    optimize([pb.Checkpoint(path, every_iterations=7), lambda iteration, **_: iteration < 7])
    _, result = optimize(viz, resume_from=path)
    costs = dict(zip(viz.history["iteration"], viz.history["cost"], strict=True))
    assert viz.history["snapshot_iteration"][0] == 8
    assert viz._status(0).endswith(f"cost {costs[8]:.4g}")
    assert viz.plot_overview().get_suptitle() == f"iteration {result.iterations}, level 0, cost {costs[max(costs)]:.4g}"


def test_a_structure_off_the_dose_grid_is_not_drawn():
    faraway = ContourStack([(300.0, [np.array([(0, 0), (9, 0), (9, 9)])])], 5.0)
    plan, viz = random_plan(0), VisualizationCallback()
    plan.structures["far"] = pb.Structure.from_contours("far", faraway, plan.grid, is_target=True)
    with pytest.warns(UserWarning, match="no DVH of 'far'"):
        optimize(viz, plan=plan, max_iterations=1)
    assert viz.plot_overview().axes[0].get_title() == "convergence"


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_row_of_voxels_is_drawn(plane):
    """Contours need two voxels along either axis; an optimization must not end for lack of them."""
    target = pb.Structure("PTV", np.array([1, 1, 0]).reshape(3, 1, 1), is_target=True)
    organ = pb.Structure("organ", np.array([0, 0, 1]).reshape(3, 1, 1))
    matrix = np.array([[0.5, 0.1], [0.1, 0.5], [0.0, 0.2]])
    layout = pb.BeamletLayout(np.array([(0.0, 0.0), (5.0, 0.0)]), np.zeros(2, int), np.full((1, 2), 5.0))
    influence = pb.DoseInfluence(matrix, pb.VoxelGrid((3, 1, 1), (5.0,) * 3), layout)
    optimizer = pb.PlanOptimizer(pb.Plan.from_influence(influence, [target, organ]))
    optimizer.add_objective(target, pb.KLDivergenceTerm(dose_range=(9.0, 11.0)))
    viz = VisualizationCallback()
    optimizer.optimize(callback=viz)
    assert viz.plot_dose_slice(ax=axes(), plane=plane).get_title().startswith(plane)


def test_before_an_optimization_there_is_nothing_to_plot(tmp_path):
    viz = VisualizationCallback()
    for make in (viz.plot_convergence, viz.plot_dvh, viz.plot_overview, lambda: viz.save_animation(tmp_path / "a.gif")):
        with pytest.raises(ValueError, match="there is nothing to plot yet: give this callback to PlanOptimizer"):
            make()
    with pytest.raises(ValueError, match="every 0 iterations"):
        VisualizationCallback(update_interval=0)


# ----------------------------------------------------------------------------------------------------------- animation


def test_the_animation_has_a_frame_for_each_snapshot(watched, tmp_path):
    viz, _, _ = watched
    path = viz.save_animation(tmp_path / "dvh.gif", frames_per_second=5)
    with Image.open(path) as gif:
        snapshots = len(viz.history["snapshot_iteration"])
        assert gif.n_frames == snapshots
        frames, times = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            frames.append(np.asarray(gif.convert("RGB"), dtype=float))
            times.append(gif.info["duration"])
    assert sum(times) == (snapshots - 1) * 200 + 2000
    assert np.abs(frames[0] - frames[snapshots - 1]).max() > 100
    assert len({frame.shape for frame in frames}) == 1
    colors = [
        np.array(mpl.colors.to_rgb(c)) * 255 for c in structure_colors(list(watched[1].structures.values())).values()
    ]
    for color in colors:
        assert (np.abs(frames[0] - color).max(axis=2) < 40).sum() > 50


def test_an_animation_may_show_some_structures(watched, tmp_path):
    path = watched[0].save_animation(str(tmp_path / "ptv.GIF"), ["PTV"])
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "options", "error", "complaint"),
    [
        ("dvh.mp4", {}, ValueError, r"the name 'dvh\.mp4' does not end in \.gif"),
        ("no/dvh.gif", {}, FileNotFoundError, r"the folder .*no does not exist; dvh\.gif cannot be written"),
        ("dvh.gif", {"frames_per_second": 0}, ValueError, "there are 0 frames per second"),
        ("dvh.gif", {"structures": ["cord"]}, ValueError, "the plan has no structure 'cord'"),
    ],
)
def test_animations_in_error_are_refused(watched, tmp_path, name, options, error, complaint):
    with pytest.raises(error, match=complaint):
        watched[0].save_animation(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------------- live


def test_without_a_window_nothing_is_shown_and_nothing_said():
    from matplotlib import pyplot

    assert mpl.get_backend().lower() == "agg"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimize(VisualizationCallback(5), max_iterations=2)
    assert pyplot.get_fignums() == []
    assert open_view((4.0, 3.0)) is None


def test_a_figure_on_show_is_drawn_at_every_snapshot_and_the_end():
    class Screen:
        """Keeps what a window would show."""

        def __init__(self):
            self.figure, self.shown = Figure(figsize=(12, 9), layout="constrained"), []

        def refresh(self, status):
            self.figure.canvas.draw()
            self.shown.append((status, self.figure.get_suptitle(), len(self.figure.axes)))

    class Watched(VisualizationCallback):
        def on_start(self, plan, prescription):
            super().on_start(plan, prescription)
            self._view = screen

    screen = Screen()
    viz = Watched(update_interval=3)
    _, result = optimize(viz, max_iterations=1)
    numbers = [1, 3, result.iterations]
    assert [int(status.split()[1].rstrip(",")) for status, _, _ in screen.shown][: len(numbers)] == numbers
    assert all(status == title and count == 6 for status, title, count in screen.shown)


def test_a_window_that_is_closed_is_drawn_on_no_more():
    from matplotlib import pyplot

    with warnings.catch_warnings():
        # This backend has no windows and says so.
        warnings.simplefilter("ignore", UserWarning)
        view = WindowView(pyplot.figure())
    view.refresh("iteration 1")
    view.figure.add_subplot()
    pyplot.close(view.figure)
    view.figure.canvas.draw_idle = pytest.fail
    view.refresh("iteration 2")
