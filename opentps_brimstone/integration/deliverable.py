"""From optimized fluence to a plan that a linac can deliver, and the proof that its dose is the optimized one.

The steps: the MU of the beamlets become apertures of an MLC; OpenTPS makes beamlets of these, half as large as the
plan's where leaf tips demand it, and the dose engine computes them; the MU of the segments are optimized on these doses
with the objectives of the plan; the segments are written into the plan; and the dose is recomputed from the segments
alone.

The engine's dose of a fluence depends by a few percent on the size of the beamlets that the fluence is made of (it cuts
off each beamlet's dose at the sides). Both sizes are calibrated: the fluence keeps its machine MU, with which a
10 x 10 cm field gives the same dose in either, and its engine MU change by the ratio of the two outputs. Nothing else
is scaled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone._typing import BoolArray, FloatArray
from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.stopwatch import StageTimes
from opentps_brimstone.evaluation import DVHGoal, as_goals, gamma_analysis, gamma_pass_rate, html_table
from opentps_brimstone.evaluation.extremes import largest_difference
from opentps_brimstone.evaluation.goals import FAIL_COLOR, PASS_COLOR
from opentps_brimstone.model.influence import DoseInfluence
from opentps_brimstone.optimization.robust_terms import planned_term
from opentps_brimstone.sequencing import MLC, SequencingSettings, get_mlc, sequence_plan
from opentps_brimstone.sequencing.aperture_fluence import ApertureFluence, LeafEdges
from opentps_brimstone.sequencing.aperture_refinement import ApertureTask, RefinedApertures, refine_apertures
from opentps_brimstone.sequencing.aperture_settings import ApertureSettings
from opentps_brimstone.sequencing.segment_weights import (
    SegmentWeights,
    check_mu_limits,
    optimize_segment_weights,
    segment_influence,
)

if TYPE_CHECKING:
    from opentps_brimstone.engine.choice import EngineChoice
    from opentps_brimstone.engine.monitor_units import Calibration
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.engine.reference_field import ReferenceField
    from opentps_brimstone.integration.engine_check import EngineCheck
    from opentps_brimstone.model.influence import BeamletLayout, VoxelGrid
    from opentps_brimstone.optimization.settings import OptimizerSettings
    from opentps_brimstone.sequencing import SequencedBeam

__all__ = ["LARGEST_DIFFERENCE", "LEAST_GAMMA_PASS_PERCENT", "DeliverablePlan", "make_deliverable"]

_log = logging.getLogger(__name__)

LARGEST_DIFFERENCE = 1e-4
"""Largest accepted difference between a recalculated dose and that of the same fluence, as a share of its maximum."""

LEAST_GAMMA_PASS_PERCENT = 99.0
"""Percentage of the voxels above 10 % of the maximum whose gamma against the optimized dose must be at most 1."""

GAMMA_DOSE_PERCENT, GAMMA_DISTANCE_MM, GAMMA_THRESHOLD = 2.0, 2.0, 0.1


@dataclass(frozen=True, eq=False, repr=False)
class DeliverablePlan:
    """A plan made of segments, and how its dose compares with the optimized one; a notebook shows it as a table.

    Attributes
    ----------
    photon_plan : opentps PhotonPlan
        Segments with engine MU, with which OpenTPS's own dose calculation agrees.
    sequenced_beams : tuple of SequencedBeam
        The same segments, for the beams that have any; their fluence and MU are engine MU too.
    calibration : Calibration
        For the beamlets that OpenTPS makes of the segments: converts engine MU into machine MU.
    planned_calibration : Calibration
        For the beamlets of the optimized plan.
    weights : SegmentWeights
        How the MU of the segments were found.
    dose : ndarray, shape (nx, ny, nz)
        Recalculated from the segments alone, Gy over all fractions.
    optimized_dose : ndarray, shape (nx, ny, nz)
        Of the beamlets' MU; with full scatter if the beamlets have it.
    opentps_dose : ndarray, shape (nx, ny, nz), or None
        What OpenTPS's engine makes of the segments, as their mean fluence in the plan's own beamlets; None if scatter
        of `dose` ends where OpenTPS's does.
    grid : VoxelGrid
        Of the doses.
    gamma : ndarray, shape (nx, ny, nz)
        Of `dose` against `optimized_dose`, 2 %/2 mm above 10 % of the maximum; NaN below.
    difference : float
        Largest difference between `dose` and the dose of the same fluence given as beamlets of the same size by the
        same engine, as a share of the latter's maximum.
    check : EngineCheck or None
        How OpenTPS's own program compares with `dose`, or with `opentps_dose` if there is one; None if it computed
        `dose`.
    times_s : dict of str to float
        Wall time of each step.

    Examples
    --------
    Segments of two open fields:

    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import water_plan
    >>> plan = water_plan()
    >>> plan.beamlet_weights = [120.0] * plan.dose_influence.layout.n_beamlets
    >>> ct, rois, photon_plan = plan.to_opentps()
    >>> asked = [(rois["PTV"], pb.KLDivergenceTerm(dose_range=(3.8, 4.2)))]
    >>> deliverable = pb.make_deliverable(photon_plan, ct, asked, mlc="matched", progress=False)
    >>> deliverable.facts()["1 MU"]
    '1 cGy/MU in a 10 x 10 cm field, 10 cm deep in water, SSD 90 cm'
    >>> machine = deliverable.machine_plan()  # with MU as a plan file has them
    >>> round(sum(segment.mu for segment in machine.beamSegments) / deliverable.machine_mu, 6)
    1.0
    """

    photon_plan: Any
    sequenced_beams: tuple[SequencedBeam, ...]
    calibration: Calibration
    planned_calibration: Calibration
    weights: SegmentWeights
    dose: FloatArray
    optimized_dose: FloatArray
    grid: VoxelGrid
    gamma: FloatArray
    difference: float
    check: EngineCheck | None
    times_s: dict[str, float]
    opentps_dose: FloatArray | None = None

    def __repr__(self) -> str:
        return (
            f"<DeliverablePlan {self.photon_plan.name!r}: {self.n_segments} segments of {self.mlc.name}, "
            f"{self.machine_mu:.1f} MU, {'passed' if self.passed else 'FAILED'}>"
        )

    def _repr_html_(self) -> str:
        fill = PASS_COLOR if self.passed else FAIL_COLOR
        rows = list(self.facts().items())
        judged = ("recalculation differs by", "gamma 2 %/2 mm", "OpenTPS's program")
        return html_table(
            ("", self.photon_plan.name), rows, fills=[fill if name in judged else None for name, _ in rows]
        )

    @property
    def mlc(self) -> MLC:
        """Collimator of the segments."""
        return self.sequenced_beams[0].mlc

    @property
    def machine_beams(self) -> list[SequencedBeam]:
        """Beams that have segments, with machine MU instead of engine MU."""
        return [beam.scaled(self.calibration.factor) for beam in self.sequenced_beams]

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return sum(len(beam.apertures) for beam in self.sequenced_beams)

    @property
    def segments_per_beam(self) -> float:
        """Mean number of segments per beam."""
        return self.n_segments / len(self.sequenced_beams)

    @property
    def machine_mu(self) -> float:
        """Machine MU per fraction of all segments."""
        return float(self.calibration.machine_mu(sum(beam.mu for beam in self.sequenced_beams)))

    @property
    def gamma_pass_percent(self) -> float:
        """Percentage of the evaluated voxels whose gamma is at most 1."""
        return gamma_pass_rate(self.gamma)

    @property
    def passed(self) -> bool:
        """Whether the recalculated dose is that of the fluence, and agrees with the optimized one and the program's."""
        same = self.difference <= LARGEST_DIFFERENCE and self.gamma_pass_percent >= LEAST_GAMMA_PASS_PERCENT
        return same and (self.check is None or self.check.passed)

    def machine_plan(self) -> Any:
        """Copy the plan, with machine MU as a plan file has them.

        Returns
        -------
        opentps PhotonPlan
        """
        from opentps_brimstone.adapters.segments import with_machine_mu

        return with_machine_mu(self.photon_plan, self.calibration)

    def facts(self) -> dict[str, str]:
        """Summarize segments, MU and agreement of doses.

        Returns
        -------
        dict of str to str
        """
        planned, delivered = self.planned_calibration, self.calibration
        ratio = planned.gy_per_engine_mu / delivered.gy_per_engine_mu
        facts = {
            "MLC": self.mlc.name,
            "segments": f"{self.n_segments} in {len(self.sequenced_beams)} beams",
            "MU per fraction": f"{self.machine_mu:.1f}",
            "1 MU": str(delivered.reference),
            "engine MU": f"{delivered.factor:.4f} MU each, with beamlets of {_size(delivered)}",
            "from fluence to segments": f"engine MU x {ratio:.4f}, as beamlets were {_size(planned)}",
            "recalculation differs by": f"at most {self.difference:.1e} of the maximum",
            "gamma 2 %/2 mm": f"{self.gamma_pass_percent:.2f} % pass",
        }
        if self.opentps_dose is not None:
            share = 100 * float(self.opentps_dose.sum()) / float(self.dose.sum())
            facts["as OpenTPS computes it"] = f"{share:.1f} % of this dose, over all voxels"
        return facts if self.check is None else {**facts, "OpenTPS's program": str(self.check)}

    def summary(self) -> str:
        """Lay out the facts as text, one per line.

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
    levels: int | None = None,
    method: str | None = None,
    sequencing: SequencingSettings | None = None,
    minimum_mu: float = 1.0,
    step_mu: float = 0.1,
    reference: ReferenceField | None = None,
    settings: OptimizerSettings | None = None,
    beamlets: Any = None,
    refine: ApertureSettings | bool = False,
    goals: Iterable[DVHGoal | str] = (),
    scatter: str = "opentps",
    beam_model: Any = None,
    write_back: bool = False,
    callback: Any = None,
    engine: str = "native",
    verify: str = "auto",
    progress: bool | Callable[[int, int], Any] = True,
    cache: Any = True,
    processes: int | None = None,
    density_table: Any = None,
    overrides: Any = None,
) -> DeliverablePlan:
    """Make a plan of optimized beamlets deliverable, and check it.

    What each step found is logged at level INFO.

    Parameters
    ----------
    photon_plan : opentps PhotonPlan
        Its beamlets have optimized MU; every beam has one segment. Not changed unless `write_back`.
    ct : opentps CTImage
        In HU, on the dose grid. Not changed.
    objectives : optional
        Objectives of the plan, as for `optimize_photon_plan`; the MU of the segments are optimized with the same,
        robust ones for the planned dose alone.
    mlc : MLC or str
        The collimator, or an identifier of `opentps_brimstone.sequencing.MLCS`. The rows of beamlets must lie on its
        leaves: see `opentps_brimstone.adapters.segments.align_beamlets`, and `MLC.matched` for other plans. "matched"
        is the latter for the plan's own rows.
    levels : int, optional
        Number of levels that the fluence of each beam is rounded to; overrides that of `sequencing`.
    method : str, optional
        Sequencing method, one of `opentps_brimstone.sequencing.METHODS`; overrides that of `sequencing`.
    sequencing : SequencingSettings, optional
        How fluence becomes apertures. Its ``minimum_engine_mu`` limits the MU that sequencing gives an aperture, before
        they are optimized.
    minimum_mu : float
        Least machine MU per fraction of a segment: segments below it are dropped, and the others optimized again.
    step_mu : float
        Machine MU per fraction are rounded to multiples of this; 0: not rounded.
    reference : ReferenceField, optional
        Definition of a machine MU; by default 1 cGy, 10 cm deep in a 10 x 10 cm field, isocentric at the plan's SAD.
    settings : OptimizerSettings, optional
        For the MU of the segments.
    beamlets : DoseInfluence or opentps SparseBeamlets, optional
        Doses of the plan's beamlets on the grid of `ct`. By default those of the plan design if they fit, else they are
        computed. With full scatter: a DoseInfluence; one with full scatter judges segments by the full dose of the
        fluence, one without by what is within 2 cm of its beamlets. Computed by default.
    refine : ApertureSettings or bool
        Direct aperture optimization (`opentps_brimstone.sequencing.refine_apertures`): optimize leaf positions and
        MU together by the dose that they give, from segments of the settings' own number of levels. Leaf positions
        are then multiples of an eighth of a beamlet. Otherwise only MU are optimized.
    goals : iterable of DVHGoal or str
        With `refine`: those that the optimized dose meets are held in the dose of the segments.
    scatter : {"opentps", "full"}
        With `refine`: how far scatter reaches in the dose that segments are optimized, recalculated and judged by. With
        full scatter, what OpenTPS makes of the same segments is computed besides (`DeliverablePlan.opentps_dose`).
    beam_model : BeamModel, str or Path, optional
        With `refine` and full scatter: the beam of a machine, as for `compute_dose`. What its leaves and jaws let
        through, its leaf tips and its source then count in the dose of the segments, and its output says what a MU is.
    write_back : bool
        Write the segments into the given plan instead of a copy, once everything is computed.
    callback : callable or OptimizationCallback, optional
        As for `PlanOptimizer.optimize`.
    engine : {"native", "opentps"}
        What computes all doses, as for `opentps_brimstone.engine.compute_beamlets`.
    verify : {"auto", "full", "sample", "none"}
        How much of the dose of the segments OpenTPS's own program recalculates too, if it is of this package's engine:
        all of it, or some beamlets; "auto" is all if that takes less than half a minute.
    progress : bool or callable
        Show progress bars of engine and optimizer; a callable is called with the beamlets done and their total by every
        dose calculation, and ends it by returning False.
    cache : bool or BeamletCache
        Use the user's cache for beamlet doses and calibrations; the recalculation never does.
    processes : int, optional
        Engine threads or processes at a time. Default: the cores this process may use.
    density_table, overrides
        From HU to densities, as for `opentps_brimstone.engine.compute_beamlets`.

    Returns
    -------
    DeliverablePlan

    Raises
    ------
    TypeError, ValueError
        Before the engine starts: if plan, objectives, MLC or an option is in error, the fluence cannot be sequenced for
        the MLC, or OpenTPS would reconstruct a different fluence from the segments.
    EngineError
        If the dose engine fails.
    KeyboardInterrupt
        On Ctrl-C; the plan is as before.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import water_plan
    >>> ct, rois, photon_plan = water_plan().to_opentps()
    >>> objectives = [(rois["PTV"], pb.KLDivergenceTerm(dose_range=(3.8, 4.2)))]
    >>> _ = pb.optimize_photon_plan(photon_plan, ct, objectives, progress=False)
    >>> deliverable = pb.make_deliverable(photon_plan, ct, objectives, mlc="matched", progress=False)
    >>> deliverable.dose.shape
    (8, 8, 8)
    >>> deliverable.n_segments == len(deliverable.photon_plan.beamSegments)
    True
    """
    from opentps_brimstone.adapters.plan import layout_from_opentps, voxel_grid
    from opentps_brimstone.adapters.segments import FINEST, merged_plan
    from opentps_brimstone.engine.choice import EngineChoice
    from opentps_brimstone.engine.errors import DoseCanceledError
    from opentps_brimstone.engine.options import DoseOptions
    from opentps_brimstone.engine.plan_doses import inside_any
    from opentps_brimstone.integration.engine_check import VERIFY, check_engine
    from opentps_brimstone.integration.photon_plan import plan_terms
    from opentps_brimstone.integration.segment_dose import SegmentDose

    check_mu_limits(minimum_mu=minimum_mu, step_mu=step_mu)
    checked_choice("verify", verify, VERIFY)
    refining = _refining(refine, engine)
    held = tuple(as_goals(goals, of_dose=True))
    of_segments = EngineChoice(engine, scatter, None, beam_model)
    if refining is None and of_segments != EngineChoice(engine):
        raise ValueError("scatter='full' and a beam model are for segments that are refined: give refine=True, too")
    reference = checked_reference(reference, of_segments)
    options = DoseOptions(EngineChoice(engine), density_table, overrides, RunOptions(processes, cache, progress))
    in_full = replace(options, choice=of_segments)
    clock = StageTimes()
    grid = voxel_grid(ct)
    terms = [(structure, planned_term(term)) for structure, term in plan_terms(photon_plan, objectives, grid)]
    layout = layout_from_opentps(photon_plan)
    mu = np.asarray(photon_plan.beamletMUs, dtype=np.float64)
    chosen = _sequencing(sequencing, levels=levels if refining is None else refining.levels, method=method)
    beams = list(sequence_plan(layout, mu, _collimator(mlc, layout), chosen))
    _, spacing_mm = _written(photon_plan, beams)
    if refining is not None:
        spacing_mm = (float(layout.spacing_mm[0, 0]) / FINEST, spacing_mm[1])
    n_apertures = sum(len(beam.apertures) for beam in beams)
    _log.info("sequencing (%.1f s): %d segments", clock.lap("sequencing"), n_apertures)

    influence = _influence(beamlets, photon_plan, ct, grid, in_full, inside_any(structure for structure, _ in terms))
    wanted = influence.reached
    fractions = int(photon_plan.numberOfFractionsPlanned)
    optimized_dose = _dose_of_fluence(influence, mu, fractions)
    planned, delivered = _calibrations(photon_plan, ct, spacing_mm, reference, options)
    _log.info("calibration (%.1f s): %s", clock.lap("calibration"), delivered)
    rescaled = planned.gy_per_engine_mu / delivered.gy_per_engine_mu

    if refining is None:
        beams = [beam.scaled(rescaled) for beam in beams]
        segments = segment_influence(_cells(photon_plan, ct, grid, beams, spacing_mm, options, wanted), beams)
        weights = optimize_segment_weights(
            segments,
            terms,
            [aperture.mu for beam in beams for aperture in beam.apertures],
            number_of_fractions=fractions,
            wanted_dose=optimized_dose,
            minimum_engine_mu=float(delivered.engine_mu(minimum_mu)),
            step_engine_mu=float(delivered.engine_mu(step_mu)),
            settings=settings,
            callback=callback,
            progress=progress is True,
        )
        beams = _with_mu(beams, weights.mu)
        expected_dose = segments.dose(weights.mu, fractions)
        name = "weights"
    else:
        factor = rescaled if scatter == "opentps" else planned.factor / _machine_factor(planned, in_full)
        segment_dose = SegmentDose(photon_plan, ct, in_full, wanted, spacing_mm, factor)
        task = ApertureTask(
            influence=influence,
            terms=terms,
            optimized_dose=optimized_dose,
            number_of_fractions=fractions,
            full_dose=segment_dose,
            quick=scatter == "full",
            goals=held,
            edges=_edges(of_segments, planned.reference.sad_mm),
            raster_mm=spacing_mm[0],
            minimum_mu=float(planned.engine_mu(minimum_mu)),
            step_mu=float(planned.engine_mu(step_mu)),
            optimizer=settings,
        )
        refined = refine_apertures(beams, task, refining, progress)
        if refined.stopped:
            raise DoseCanceledError("making segments was stopped")
        beams = [beam.scaled(rescaled) for beam in refined.beams]
        weights = _weights(beams, refined)
        expected_dose = refined.dose
        name = "apertures"
    took = clock.lap(name)
    _log.info("%s (%.1f s): cost from %.4g to %.4g", name, took, weights.cost_before, weights.cost_after)

    written, _ = _written(photon_plan, beams, spacing_mm)
    if scatter == "full":
        kept = [beam.beam_index for beam in beams if beam.apertures]
        dose = segment_dose.of_plan(written, kept, rescaled)
    else:
        dose = _recalculated(ct, merged_plan(written), options, wanted)
    difference = largest_difference(dose, expected_dose)
    took = clock.lap("recalculation")
    _log.info("recalculation (%.1f s): differs by at most %.1e of the maximum", took, difference)
    gamma = _gamma(optimized_dose, dose, grid)
    opentps_dose = check = None
    if delivered.choice.is_native:
        followed = options if callable(progress) else options.running(progress=False)
        if refining is None:
            checked, its_dose = merged_plan(written), dose
        else:
            # Beamlets a fraction of a voxel wide are beyond the program's way of sampling them: it gets the plan's own.
            checked, mean_fluence = _as_beamlets(photon_plan, influence, refined.beams)
            its_dose = influence.dose(mean_fluence, fractions)
            if scatter == "full":
                its_dose = opentps_dose = _recalculated(ct, checked, followed, wanted)
                _log.info("as OpenTPS computes it (%.1f s)", clock.lap("as OpenTPS computes it"))
        check = check_engine(checked, ct, its_dose, grid, verify, followed)
        _log.info("OpenTPS's program (%.1f s): %s", clock.lap("OpenTPS's program"), check)
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
        check=check,
        times_s=clock.times_s,
        opentps_dose=opentps_dose,
    )


# ------------------------------------------------------------------------------------------------------------ the steps


def _refining(refine: ApertureSettings | bool, engine: str) -> ApertureSettings | None:
    """Find the settings of the refinement; None if there is to be none."""
    if refine is False:
        return None
    if engine != "native":
        raise ValueError(
            f"refine computes the dose of whole segments with this package's engine, not engine={engine!r}"
        )
    return ApertureSettings() if refine is True else refine


def checked_reference(given: ReferenceField | None, choice: EngineChoice) -> ReferenceField | None:
    """Choose what a MU is: the output of a beam model, if there is one.

    Raises
    ------
    ValueError
        If something else is given.
    """
    if choice.machine is None:
        return given
    if given not in (None, choice.machine.output):
        raise ValueError(f"{choice.machine} says itself what a MU is, {choice.machine.output}; not {given}")
    return choice.machine.output


def _dose_of_fluence(influence: DoseInfluence, mu: FloatArray, fractions: int) -> FloatArray:
    """Dose of the optimized fluence, with all scatter if the beamlets have it."""
    if influence.whole_dose is None:
        return influence.dose(mu, fractions)
    return influence.whole_dose(mu) * fractions


def _machine_factor(planned: Calibration, options: DoseOptions) -> float:
    """Machine MU of one MU of the dose of segments."""
    from opentps_brimstone.engine.calibration import calibrate

    machine = options.choice.machine
    reference = planned.reference if machine is None else machine.output
    return calibrate(planned.beamlet_mm, planned.voxel_mm, reference, options.running(progress=False)).factor


def _edges(choice: EngineChoice, sad_mm: float) -> LeafEdges:
    """How leaves of a machine show in the fluence."""
    machine = choice.machine
    if machine is None:
        return LeafEdges()
    head = machine.collimator
    return LeafEdges(head.leaf_transmission, head.leaf_tip_offset_mm, machine.penumbra_sigma_mm(sad_mm))


def _weights(beams: Sequence[SequencedBeam], refined: RefinedApertures) -> SegmentWeights:
    mu = np.array([aperture.mu for beam in beams for aperture in beam.apertures])
    return SegmentWeights(mu, refined.cost_before, refined.cost_after, refined.iterations)


def _as_beamlets(photon_plan: Any, influence: DoseInfluence, beams: Sequence[SequencedBeam]) -> tuple[Any, FloatArray]:
    """Copy a plan with the mean fluence of segments in its own beamlets; also give their MU."""
    from opentps_brimstone.adapters.copies import copy_plan
    from opentps_brimstone.adapters.plan import write_beamlet_mu

    model = ApertureFluence(influence.layout, beams)
    mu = model.fluence(model.segments())
    copied = copy_plan(photon_plan)
    write_beamlet_mu(copied, mu)
    return copied, mu


def _sequencing(given: SequencingSettings | None, **overrides: Any) -> SequencingSettings:
    stated = {name: value for name, value in overrides.items() if value is not None}
    return replace(given or SequencingSettings(), **stated)


def _collimator(mlc: MLC | str, layout: BeamletLayout) -> MLC:
    if mlc == "matched":
        return MLC.matched(layout.xy_mm[:, 1], float(layout.spacing_mm[0, 1]))
    return get_mlc(mlc) if isinstance(mlc, str) else mlc


def _written(
    photon_plan: Any, beams: Sequence[SequencedBeam], spacing_mm: tuple[float, float] | None = None
) -> tuple[Any, tuple[float, float]]:
    """Write segments into a copy of a plan; return it and the spacing at which OpenTPS samples the segments."""
    from opentps_brimstone.adapters.copies import copy_plan
    from opentps_brimstone.adapters.segments import write_segments

    written = copy_plan(photon_plan)
    return written, write_segments(written, beams, spacing_mm=spacing_mm)


def _influence(
    beamlets: Any, photon_plan: Any, ct: Any, grid: VoxelGrid, options: DoseOptions, wanted: BoolArray | None
) -> DoseInfluence:
    """Doses of the plan's beamlets: those given, of the plan design, or computed."""
    from opentps_brimstone.adapters.plan import layout_from_opentps
    from opentps_brimstone.engine.plan_doses import plan_influence

    if not isinstance(beamlets, DoseInfluence):
        return plan_influence(photon_plan, ct, grid, beamlets, options, wanted)
    if beamlets.whole_dose is not None and options.choice.scatter != "full":
        raise ValueError("the beamlets given were optimized with full scatter: give scatter='full', too")
    n_beamlets = layout_from_opentps(photon_plan).n_beamlets
    if beamlets.layout.n_beamlets != n_beamlets:
        raise ValueError(f"the beamlets given are {beamlets.layout.n_beamlets}, but the plan has {n_beamlets} beamlets")
    if beamlets.grid.shape != grid.shape:
        raise ValueError(
            f"the beamlets given are on a grid of {beamlets.grid.shape} voxels, but the CT has {grid.shape}"
        )
    return beamlets


def _calibrations(
    photon_plan: Any,
    ct: Any,
    spacing_mm: tuple[float, float],
    reference: ReferenceField | None,
    options: DoseOptions,
) -> tuple[Calibration, Calibration]:
    """Calibrate for the beamlets of the given plan and for those of its segments."""
    from opentps_brimstone.engine.calibration import calibrate, calibrate_plan

    quiet = options.running(progress=False)
    planned = calibrate_plan(photon_plan, ct, reference, quiet)
    return planned, calibrate(spacing_mm, planned.voxel_mm, planned.reference, quiet)


def _cells(
    photon_plan: Any,
    ct: Any,
    grid: VoxelGrid,
    beams: Sequence[SequencedBeam],
    spacing_mm: tuple[float, float],
    options: DoseOptions,
    wanted: BoolArray,
) -> DoseInfluence:
    """Compute the doses of the beamlets that OpenTPS makes of the segments."""
    from opentps_brimstone.adapters.segments import split_beamlets
    from opentps_brimstone.engine.plan_doses import plan_influence

    # All beamlets of the plan and not only the open ones: another sequence then finds them in the cache.
    split = split_beamlets(photon_plan, beams, spacing_mm)
    return plan_influence(split, ct, grid, None, options, wanted)


def _recalculated(ct: Any, merged: Any, options: DoseOptions, wanted: BoolArray) -> FloatArray:
    """Recompute the dose from the segments alone."""
    from opentps_brimstone.engine.compute import photon_dose

    image = photon_dose(ct, merged, options.running(cache=False), wanted=wanted)
    return np.asarray(image.imageArray, dtype=np.float64)


def _with_mu(beams: Sequence[SequencedBeam], mu: FloatArray) -> list[SequencedBeam]:
    """Set the MU of all apertures, beam after beam, and drop those without any."""
    values = iter(mu.tolist())
    changed = []
    for beam in beams:
        apertures = [replace(aperture, mu=next(values)) for aperture in beam.apertures]
        changed.append(replace(beam, apertures=tuple(each for each in apertures if each.mu > 0)))
    return changed


def _gamma(optimized: FloatArray, dose: FloatArray, grid: VoxelGrid) -> FloatArray:
    return gamma_analysis(
        optimized,
        dose,
        dose_percent=GAMMA_DOSE_PERCENT,
        distance_mm=GAMMA_DISTANCE_MM,
        dose_threshold=GAMMA_THRESHOLD,
        reference_grid=grid,
        evaluation_grid=grid,
    )
