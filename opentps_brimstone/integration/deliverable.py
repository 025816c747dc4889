"""From optimized fluence to a plan that a linac can deliver, and the proof that its dose is the optimized one.

The steps: the MU of the beamlets become apertures of an MLC; OpenTPS makes beamlets of these, half as large as the
plan's where leaf tips demand it, and the dose engine computes them; the MU of the segments are optimized on these doses
with the objectives of the plan; the segments are written into the plan; and the dose is computed anew from the segments
alone.

The engine's dose of a fluence depends on the size of the beamlets that the fluence is made of, by some percent (it cuts
each beamlet's dose off sideways). Both sizes are calibrated: the fluence keeps its machine MU, with which a 10 x 10 cm
field gives the same dose in either, and its engine MU change by the ratio of the two outputs. Nothing else is scaled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.stopwatch import StageTimes
from opentps_brimstone.sequencing import MLC, SequencingSettings, get_mlc, sequence_plan
from opentps_brimstone.sequencing.segment_weights import (
    SegmentWeights,
    check_mu_limits,
    optimize_segment_weights,
    segment_influence,
)

if TYPE_CHECKING:
    from opentps_brimstone.engine.monitor_units import Calibration, ReferenceField
    from opentps_brimstone.model.influence import BeamletLayout, DoseInfluence, VoxelGrid
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["LARGEST_DIFFERENCE", "LEAST_GAMMA_PASS_PERCENT", "DeliverablePlan", "make_deliverable"]


LARGEST_DIFFERENCE = 1e-4
"""How far the dose of the segments may be from that of their fluence given as beamlets, as a share of its maximum."""

LEAST_GAMMA_PASS_PERCENT = 99.0
"""What share of the voxels above 10 % of the maximum must agree with the optimized dose, by gamma."""

GAMMA_DOSE_PERCENT, GAMMA_DISTANCE_MM, GAMMA_THRESHOLD = 2.0, 2.0, 0.1


@dataclass(frozen=True, eq=False)
class DeliverablePlan:
    """A plan made of segments, and how its dose compares.

    Attributes
    ----------
    photon_plan : opentps PhotonPlan
        Segments with engine MU, with which OpenTPS's own dose calculation agrees.
    sequenced_beams : tuple of SequencedBeam
        The same segments, for beams that have any; their fluence and MU are engine MU too.
    calibration : Calibration
        For the beamlets that OpenTPS makes of the segments: turns engine MU into machine MU.
    planned_calibration : Calibration
        For the beamlets of the optimized plan.
    weights : SegmentWeights
        How the MU of the segments were found.
    dose : ndarray, shape (nx, ny, nz)
        Recalculated from the segments alone, Gy over all fractions.
    optimized_dose : ndarray, shape (nx, ny, nz)
        Of the beamlets' MU.
    grid : VoxelGrid
        Of the doses.
    gamma : ndarray, shape (nx, ny, nz)
        Of `dose` against `optimized_dose`, 2 %/2 mm above 10 % of the maximum; NaN below.
    difference : float
        Largest difference of `dose` from the dose of the same fluence given as beamlets of the same size, as a share
        of its maximum.
    times_s : dict of str to float
        Wall time of each step.

    Examples
    --------
    >>> import numpy as np
    >>> import opentps_brimstone as pb
    >>> mask = np.zeros((8, 8, 8))
    >>> mask[3:5, 3:5, 3:5] = 1
    >>> target = pb.Structure("PTV", mask, is_target=True)
    >>> plan = pb.Plan(pb.Series(np.zeros((8, 8, 8)), (10, 10, 10), (0, 0, 0), [target]), number_of_fractions=2)
    >>> beams = [plan.add_beam(gantry_angle=angle) for angle in (0.0, 90.0)]
    >>> _ = plan.compute_dose_influence(beamlet_spacing_mm=20.0, margin_mm=0.0, progress=False)
    >>> ct, rois, photon_plan = plan.to_opentps()
    >>> objectives = [(rois["PTV"], pb.KLDivergenceTerm(dose_range=(3.8, 4.2)))]
    >>> _ = pb.optimize_photon_plan(photon_plan, ct, objectives, progress=False)
    >>> deliverable = pb.make_deliverable(photon_plan, ct, objectives, mlc="matched", progress=False)
    >>> machine = deliverable.machine_plan()
    >>> bool(np.isclose(sum(segment.mu for segment in machine.beamSegments), deliverable.machine_mu))
    True
    >>> deliverable.facts()["1 MU"]
    '1 cGy/MU in a 10 x 10 cm field, 10 cm deep in water, SSD 90 cm'
    """

    photon_plan: Any = field(repr=False)
    sequenced_beams: tuple[SequencedBeam, ...] = field(repr=False)
    calibration: Calibration
    planned_calibration: Calibration
    weights: SegmentWeights
    dose: FloatArray = field(repr=False)
    optimized_dose: FloatArray = field(repr=False)
    grid: VoxelGrid = field(repr=False)
    gamma: FloatArray = field(repr=False)
    difference: float
    times_s: dict[str, float] = field(repr=False)

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return sum(len(beam.apertures) for beam in self.sequenced_beams)

    @property
    def segments_per_beam(self) -> float:
        """Mean number of segments of a beam."""
        return self.n_segments / len(self.sequenced_beams)

    @property
    def machine_mu(self) -> float:
        """MU of all segments per fraction, as the machine counts them."""
        return float(self.calibration.machine_mu(sum(beam.mu for beam in self.sequenced_beams)))

    @property
    def gamma_pass_percent(self) -> float:
        """Share of the judged voxels with a gamma of at most 1."""
        from opentps_brimstone.evaluation import gamma_pass_rate

        return gamma_pass_rate(self.gamma)

    @property
    def passed(self) -> bool:
        """Whether the recalculated dose is that of the fluence, and agrees with the optimized one."""
        return self.difference <= LARGEST_DIFFERENCE and self.gamma_pass_percent >= LEAST_GAMMA_PASS_PERCENT

    def machine_plan(self) -> Any:
        """Make the plan with machine MU, as a plan file has them.

        Returns
        -------
        opentps PhotonPlan
            A copy.
        """
        from opentps_brimstone.adapters.segments import with_machine_mu

        return with_machine_mu(self.photon_plan, self.calibration)

    def facts(self) -> dict[str, str]:
        """Say what was done, for a report.

        Returns
        -------
        dict of str to str
        """
        planned, delivered = self.planned_calibration, self.calibration
        ratio = planned.gy_per_engine_mu / delivered.gy_per_engine_mu
        return {
            "MLC": self.sequenced_beams[0].mlc.name,
            "segments": f"{self.n_segments} in {len(self.sequenced_beams)} beams",
            "MU per fraction": f"{self.machine_mu:.1f}",
            "1 MU": str(delivered.reference),
            "engine MU": f"{delivered.factor:.4f} MU each, with beamlets of {_size(delivered)}",
            "from fluence to segments": f"engine MU x {ratio:.4f}, as beamlets were {_size(planned)}",
            "recalculation differs by": f"at most {self.difference:.1e} of the maximum",
            "gamma 2 %/2 mm": f"{self.gamma_pass_percent:.2f} % pass",
        }

    def summary(self) -> str:
        """Facts as text, a line each.

        Returns
        -------
        str
        """
        return "\n".join(f"{name}: {value}" for name, value in self.facts().items())


def _size(calibration: Calibration) -> str:
    return " x ".join(f"{size:g}" for size in calibration.beamlet_mm) + " mm"


def make_deliverable(
    photon_plan: Any,
    ct: Any,
    objectives: Any = None,
    *,
    mlc: MLC | str,
    levels: int = 10,
    method: str | None = None,
    sequencing: SequencingSettings | None = None,
    minimum_mu: float = 1.0,
    step_mu: float = 0.1,
    reference: ReferenceField | None = None,
    settings: OptimizerSettings | None = None,
    beamlets: Any = None,
    write_back: bool = False,
    callback: Any = None,
    progress: bool = True,
    cache: bool = True,
    say: Callable[[str], None] = lambda _: None,
    **engine_options: Any,
) -> DeliverablePlan:
    """Make a plan of optimized beamlets deliverable, and check it.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Its beamlets have optimized MU; every beam has one segment. Not changed unless `write_back`.
    ct : opentps CTImage
        In HU, on the dose grid. Not changed.
    objectives : optional
        What the plan was asked for, as for `optimize_photon_plan`; the MU of the segments are optimized with the same.
    mlc : MLC or str
        The collimator, or an identifier of `opentps_brimstone.sequencing.MLCS`. The rows of beamlets must lie on its
        leaves: see `opentps_brimstone.adapters.segments.align_beamlets`, and `MLC.matched` for other plans. "matched"
        is the latter for the plan's own rows.
    levels : int
        Levels that the fluence of each beam is rounded to.
    method : str, optional
        Sequencing method, one of `opentps_brimstone.sequencing.METHODS`.
    sequencing : SequencingSettings, optional
        How else fluence becomes apertures; `levels` goes before what it says, as does `method` if given. Its MU are
        engine MU.
    minimum_mu : float
        Least machine MU per fraction of a segment: segments that come out below vanish, and the others are optimized
        again.
    step_mu : float
        Machine MU per fraction are rounded to multiples of this; 0: not rounded.
    reference : ReferenceField, optional
        What a machine MU is; by default 1 cGy, 10 cm deep in a 10 x 10 cm field, isocentric at the plan's SAD.
    settings : OptimizerSettings, optional
        For the MU of the segments.
    beamlets : opentps SparseBeamlets, optional
        Doses of the plan's beamlets, as for `optimize_photon_plan`.
    write_back : bool
        Write the segments into the plan given, instead of a copy, when all is computed.
    callback : callable or OptimizationCallback, optional
        As for `PlanOptimizer.optimize`.
    progress : bool
        Show progress bars of engine and optimizer.
    cache : bool
        Use the user's cache for beamlet doses and calibrations; the recalculation never does.
    say : callable
        Gets a line of text after each step.
    **engine_options
        For `opentps_brimstone.engine.compute`: ``density_table``, ``overrides``, ``processes``.

    Returns
    -------
    DeliverablePlan

    Raises
    ------
    TypeError, ValueError
        Before the engine starts: if plan, objectives, MLC or an option is in error, the fluence cannot be sequenced for
        the MLC, or OpenTPS would not read the fluence meant out of the segments.
    EngineError
        If the dose engine fails.
    KeyboardInterrupt
        On Ctrl-C; the plan is as before.

    Examples
    --------
    >>> import numpy as np
    >>> import opentps_brimstone as pb
    >>> mask = np.zeros((8, 8, 8))
    >>> mask[3:5, 3:5, 3:5] = 1
    >>> target = pb.Structure("PTV", mask, is_target=True)
    >>> plan = pb.Plan(pb.Series(np.zeros((8, 8, 8)), (10, 10, 10), (0, 0, 0), [target]), number_of_fractions=2)
    >>> beams = [plan.add_beam(gantry_angle=angle) for angle in (0.0, 90.0)]
    >>> _ = plan.compute_dose_influence(beamlet_spacing_mm=20.0, margin_mm=0.0, progress=False)
    >>> ct, rois, photon_plan = plan.to_opentps()
    >>> objectives = [(rois["PTV"], pb.KLDivergenceTerm(dose_range=(3.8, 4.2)))]
    >>> _ = pb.optimize_photon_plan(photon_plan, ct, objectives, progress=False)
    >>> deliverable = pb.make_deliverable(photon_plan, ct, objectives, mlc="matched", progress=False)
    >>> deliverable.dose.shape
    (8, 8, 8)
    >>> deliverable.n_segments == len(deliverable.photon_plan.beamSegments)
    True
    """
    from opentps_brimstone.adapters.plan import layout_from_opentps, voxel_grid
    from opentps_brimstone.engine.plan_doses import plan_influence
    from opentps_brimstone.integration.photon_plan import plan_terms

    check_mu_limits(minimum_mu, step_mu)
    engine_options = {"progress": progress, **engine_options}
    work = _Work(photon_plan, ct, engine_options, cache, say)
    grid = voxel_grid(ct)
    terms = plan_terms(photon_plan, objectives, grid)
    layout = layout_from_opentps(photon_plan)
    mu = np.asarray(photon_plan.beamletMUs, dtype=np.float64)
    chosen = dataclasses.replace(sequencing or SequencingSettings(), levels=levels)
    if method is not None:
        chosen = dataclasses.replace(chosen, method=method)
    beams = list(sequence_plan(layout, mu, _collimator(mlc, layout), chosen))
    work.write(beams)
    work.lap("sequencing", f"{sum(len(beam.apertures) for beam in beams)} segments")

    influence = plan_influence(photon_plan, ct, grid, beamlets, {"cache": cache, **engine_options})
    fractions = int(photon_plan.numberOfFractionsPlanned)
    optimized_dose = influence.dose(mu, fractions)
    planned, delivered = work.calibrations(reference)
    beams = _scaled(beams, planned.gy_per_engine_mu / delivered.gy_per_engine_mu)
    work.lap("calibration", str(delivered))

    limits = {name: float(delivered.engine_mu(mu)) for name, mu in (("minimum_mu", minimum_mu), ("step_mu", step_mu))}
    segments = work.segment_doses(beams)
    weights = optimize_segment_weights(
        segments,
        terms,
        [aperture.mu for beam in beams for aperture in beam.apertures],
        number_of_fractions=fractions,
        wanted_dose=optimized_dose,
        settings=settings,
        callback=callback,
        progress=progress,
        **limits,
    )
    beams = _with_mu(beams, weights.mu)
    work.lap("weights", f"cost from {weights.cost_before:.4g} to {weights.cost_after:.4g}")

    written = work.write(beams)
    dose = work.recalculated(written)
    difference = _largest_difference(dose, segments.dose(weights.mu, fractions))
    work.lap("recalculation", f"differs by at most {difference:.1e} of the maximum")
    gamma = _gamma(optimized_dose, dose, grid)
    if write_back:
        from opentps_brimstone.adapters.privates import set_beams

        set_beams(photon_plan, written.beams)
        written = photon_plan
    return DeliverablePlan(
        photon_plan=written,
        sequenced_beams=tuple(beam for beam in beams if beam.apertures),
        calibration=delivered,
        planned_calibration=planned,
        weights=weights,
        dose=dose,
        optimized_dose=optimized_dose,
        grid=grid,
        gamma=gamma,
        difference=difference,
        times_s=work.times_s,
    )


# ------------------------------------------------------------------------------------------------------------ the steps


class _Work:
    """What all steps need: the plan given, the CT, how the engine is run."""

    def __init__(
        self, photon_plan: Any, ct: Any, engine_options: dict[str, Any], cache: bool, say: Callable[[str], None]
    ) -> None:
        self._given = photon_plan
        self._ct = ct
        self._engine_options = engine_options
        self._cache = cache
        self._say = say
        self._clock = StageTimes()
        self._spacing_mm: tuple[float, float] | None = None  # decided by the first segments that are written

    @property
    def times_s(self) -> dict[str, float]:
        return self._clock.times_s

    def lap(self, step: str, finding: str) -> None:
        self._say(f"{step} ({self._clock.lap(step):.1f} s): {finding}")

    def write(self, beams: Sequence[SequencedBeam]) -> Any:
        """Write segments into a copy of the plan."""
        from opentps_brimstone.adapters.copies import copy_plan
        from opentps_brimstone.adapters.segments import write_segments

        written = copy_plan(self._given, as_new=True)
        self._spacing_mm = write_segments(written, beams, spacing_mm=self._spacing_mm)
        return written

    def calibrations(self, reference: ReferenceField | None) -> tuple[Calibration, Calibration]:
        """Calibrate for the beamlets of the plan given and of the segments."""
        assert self._spacing_mm is not None
        from opentps_brimstone.engine.calibration import calibrate, calibrate_plan

        options: dict[str, Any] = {
            name: value for name, value in self._engine_options.items() if name in ("processes", "progress")
        }
        planned = calibrate_plan(self._given, self._ct, reference, cache=self._cache, **options)
        delivered = calibrate(self._spacing_mm, planned.voxel_mm, planned.reference, cache=self._cache, **options)
        return planned, delivered

    def segment_doses(self, beams: Sequence[SequencedBeam]) -> DoseInfluence:
        """Compute the doses of the beamlets that OpenTPS makes of the segments, and sum them."""
        from opentps_brimstone.adapters.plan import voxel_grid
        from opentps_brimstone.adapters.segments import split_beamlets
        from opentps_brimstone.engine.plan_doses import plan_influence

        assert self._spacing_mm is not None
        # All beamlets of the plan and not only the open ones: another sequence then finds them in the cache.
        split = split_beamlets(self._given, beams, self._spacing_mm)
        options = {"cache": self._cache, **self._engine_options}
        cells = plan_influence(split, self._ct, voxel_grid(self._ct), None, options)
        return segment_influence(cells, beams)

    def recalculated(self, written: Any) -> FloatArray:
        """Compute the dose anew from the segments alone."""
        from opentps_brimstone.adapters.segments import merged_plan
        from opentps_brimstone.engine import compute_dose

        image = compute_dose(self._ct, merged_plan(written), cache=False, **self._engine_options)
        return np.asarray(image.imageArray, dtype=np.float64)


def _collimator(mlc: MLC | str, layout: BeamletLayout) -> MLC:
    if mlc == "matched":
        return MLC.matched(layout.xy_mm[:, 1], float(layout.spacing_mm[0, 1]))
    return get_mlc(mlc) if isinstance(mlc, str) else mlc


def _scaled(beams: Sequence[SequencedBeam], factor: float) -> list[SequencedBeam]:
    """Beams with other MU for the same apertures."""
    return [
        dataclasses.replace(
            beam,
            apertures=tuple(dataclasses.replace(a, mu=factor * a.mu) for a in beam.apertures if a.mu > 0),
            wanted=factor * beam.wanted,
        )
        for beam in beams
    ]


def _with_mu(beams: Sequence[SequencedBeam], mu: FloatArray) -> list[SequencedBeam]:
    """Beams whose apertures have the MU given, without those that have none."""
    values = iter(mu.tolist())
    return [
        dataclasses.replace(
            beam,
            apertures=tuple(
                dataclasses.replace(aperture, mu=value)
                for aperture, value in [(aperture, next(values)) for aperture in beam.apertures]
                if value > 0
            ),
        )
        for beam in beams
    ]


def _largest_difference(dose: FloatArray, expected: FloatArray) -> float:
    return float(np.abs(dose - expected).max() / expected.max())


def _gamma(optimized: FloatArray, dose: FloatArray, grid: VoxelGrid) -> FloatArray:
    from opentps_brimstone.evaluation import gamma_analysis

    return gamma_analysis(
        optimized,
        dose,
        dose_percent=GAMMA_DOSE_PERCENT,
        distance_mm=GAMMA_DISTANCE_MM,
        dose_threshold=GAMMA_THRESHOLD,
        reference_grid=grid,
        evaluation_grid=grid,
    )
