"""The plan: beams on a CT with structures, their dose influence and beamlet weights. Independent of OpenTPS."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opentps_brimstone._typing import FloatArray
from opentps_brimstone._util.choices import checked_choice
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.tables import html_table
from opentps_brimstone.model.beam import Beam, beamlets_on_target, checked_angle
from opentps_brimstone.model.dose import DoseArray
from opentps_brimstone.model.grid import same_grid
from opentps_brimstone.model.influence import EFFORTS, BeamletLayout, DoseInfluence, VoxelGrid
from opentps_brimstone.model.isocenter import checked_isocenter
from opentps_brimstone.model.patient_position import HEAD_FIRST_SUPINE
from opentps_brimstone.model.scenario import Scenario, ScenarioInfluence, checked_scenarios
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure, StructureSet, structures_html

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from opentps_brimstone.engine.beam_model import BeamModel
    from opentps_brimstone.model.previous_course import PreviousCourse

__all__ = ["Plan"]

Targets = Structure | str | Iterable[Structure | str]


class Plan:
    """Beams on a series, and the dose of their beamlet weights.

    Made from a `Series`, or without one by `from_dose_influence`, `from_influence` or `from_opentps`.

    Parameters
    ----------
    series : Series
        With at least one structure.
    number_of_fractions : int
        Doses are summed over this many.
    dose_grid_mm : float or (float, float, float), optional
        Spacing of the dose grid; by default that of the CT, with 3 mm along every axis on which the CT is finer than
        2.5 mm.

    Attributes
    ----------
    series : Series or None
        None if the plan was made from a matrix.
    structures : StructureSet
        Those of the series, on the dose grid; found by name or number.
    beams : tuple of Beam
        In a plan made from a matrix or by OpenTPS, one for each fluence map.
    number_of_fractions : int

    Raises
    ------
    TypeError
        If `series` is not a Series.
    ValueError
        If it has no structures, or a number is out of its range.

    Examples
    --------
    >>> mask = np.zeros((20, 20, 20))
    >>> mask[8:12, 8:12, 8:12] = 1
    >>> series = Series(np.zeros((20, 20, 20)), (5, 5, 5), (0, 0, 0), [Structure("PTV", mask, is_target=True)])
    >>> plan = Plan(series, number_of_fractions=5)
    >>> plan.add_beam(gantry_angle=90.0)
    Beam('G090', gantry 90°, couch 0°, collimator 0°)
    >>> plan.beams[0].isocenter
    array([47.5, 47.5, 47.5])
    """

    def __init__(
        self,
        series: Series,
        number_of_fractions: int = 1,
        *,
        dose_grid_mm: float | tuple[float, float, float] | None = None,
    ) -> None:
        given: object = series
        if not isinstance(given, Series):
            hint = "; Plan.from_influence takes a DoseInfluence" if isinstance(given, DoseInfluence) else ""
            raise TypeError(f"a Plan is made from a Series, not {type(given).__name__}{hint}")
        if not len(series.structures):
            raise ValueError("the series has no structures; a plan needs at least one")
        grid = series.dose_grid(dose_grid_mm)
        own = [structure._copied_for_plan(grid) for structure in series.structures]
        self._set(grid, StructureSet(own, series.structures.left_out), number_of_fractions, series)

    def _set(
        self, grid: VoxelGrid, structures: StructureSet, number_of_fractions: int, series: Series | None = None
    ) -> None:
        if int(number_of_fractions) != number_of_fractions or number_of_fractions < 1:
            raise ValueError(f"the number of fractions is {number_of_fractions}; it must be a whole number from 1")
        self.series = series
        self.structures = structures
        self.number_of_fractions = int(number_of_fractions)
        self._grid = grid
        self._beams: list[Beam] = []
        self._influence: DoseInfluence | None = None
        self._scenarios: tuple[ScenarioInfluence, ...] = ()
        self._dose_options: Any = None  # those of `compute_dose_influence`
        self._weights: FloatArray | None = None
        self._targets: list[Structure] = []
        self._ct_hu: FloatArray | None = None
        # What quantities are computed from besides; see `opentps_brimstone.quantities`.
        self.alpha_dose: Any = None
        self.sqrt_beta_dose: Any = None
        self.let_dose: Any = None
        self.alphax: Any = None
        self.betax: Any = None
        self._previous: PreviousCourse | None = None
        self._intermediate: DoseArray | None = None
        self._opentps_plan: Any = None  # what the plan was made from, to give it back without loss

    # --------------------------------------------------------------------------------------------- other origins

    @classmethod
    def from_influence(
        cls, dose_influence: DoseInfluence, structures: Iterable[Structure], number_of_fractions: int = 1
    ) -> Plan:
        """Make a plan from a dose influence matrix with its grid and layout.

        Parameters
        ----------
        dose_influence : DoseInfluence
            Gy per MU and fraction.
        structures : iterable of Structure
            The plan has copies of its own; one that lies on another grid is resampled.
        number_of_fractions : int
            Doses are summed over this many.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If there are no structures, two have the same name, or the mask of one without a grid has another shape.
        """
        given = StructureSet(structures)
        if not len(given):
            raise ValueError("a plan needs at least one structure")
        own = StructureSet(_own_copy(structure, dose_influence.grid) for structure in given)
        plan = cls.__new__(cls)
        plan._set(dose_influence.grid, own, number_of_fractions)
        plan._influence = dose_influence
        plan._beams = [Beam(plan, number) for number in range(dose_influence.layout.n_beams)]
        return plan

    @classmethod
    def from_dose_influence(
        cls,
        matrix: Any,
        structures: Iterable[Structure],
        *,
        grid_shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        beamlet_xy_mm: npt.ArrayLike,
        beam_index: npt.ArrayLike,
        beamlet_spacing_mm: npt.ArrayLike,
        origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
        number_of_fractions: int = 1,
        alpha_dose: Any = None,
        sqrt_beta_dose: Any = None,
        let_dose: Any = None,
        alphax: npt.ArrayLike | None = None,
        betax: npt.ArrayLike | None = None,
    ) -> Plan:
        """Make a plan from a dose influence matrix of any origin, and those of other quantities.

        Parameters
        ----------
        matrix : sparse matrix, shape (n_voxels, n_beamlets)
            Gy per MU and fraction; rows are voxels in C order of [x, y, z].
        structures, number_of_fractions
            As for `from_influence`.
        grid_shape : (int, int, int)
            Voxels along x, y, z.
        spacing_mm : (float, float, float)
            Voxel spacing, in mm.
        beamlet_xy_mm : array_like, shape (n_beamlets, 2)
            Beamlet centers in the beam's eye view at the isocenter plane, in mm.
        beam_index : array_like of int, shape (n_beamlets,)
            Beam of each beamlet: 0, 1, …, beam after beam.
        beamlet_spacing_mm : float, or array_like of a shape that broadcasts to (n_beams, 2)
            Beamlet spacing in x and y, in mm.
        origin_mm : (float, float, float)
            Center of voxel [0, 0, 0], in mm.
        alpha_dose, sqrt_beta_dose, let_dose : sparse matrix, shape (n_voxels, n_beamlets), optional
            Of the same beamlets, as for `opentps_brimstone.quantities.QuantityResolver`. Terms may be on what follows
            from them: ``effect`` and, with `alphax` and `betax`, ``rbe_x_dose`` from the first two, ``let_dose`` and
            ``let`` from the last.
        alphax, betax : float or array_like of shape (n_voxels,), optional
            Of photons, in 1/Gy and 1/Gy²: one, or one for each voxel.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            Naming what does not fit.

        Examples
        --------
        >>> plan = Plan.from_dose_influence(
        ...     np.array([[0.5, 0.0], [0.0, 0.25]]),
        ...     [Structure("PTV", np.ones((2, 1, 1)), is_target=True)],
        ...     grid_shape=(2, 1, 1),
        ...     spacing_mm=(5.0, 5.0, 5.0),
        ...     beamlet_xy_mm=[(0.0, 0.0), (5.0, 0.0)],
        ...     beam_index=[0, 0],
        ...     beamlet_spacing_mm=5.0,
        ... )
        >>> plan.beamlet_weights = [4.0, 8.0]
        >>> plan.get_dose().ravel().tolist()
        [2.0, 2.0]
        """
        grid = VoxelGrid(grid_shape, spacing_mm, origin_mm)
        layout = BeamletLayout(
            np.asarray(beamlet_xy_mm, dtype=np.float64),
            np.asarray(beam_index),
            np.asarray(beamlet_spacing_mm, dtype=np.float64),
        )
        plan = cls.from_influence(DoseInfluence(matrix, grid, layout), structures, number_of_fractions)
        more = {"alpha_dose": alpha_dose, "sqrt_beta_dose": sqrt_beta_dose, "let_dose": let_dose}
        for name, given in more.items():
            if given is not None:
                try:
                    setattr(plan, name, DoseInfluence(given, grid, layout).matrix)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        plan.alphax, plan.betax = alphax, betax
        return plan

    @classmethod
    def from_opentps(cls, photon_plan: Any, ct: Any, rois: Sequence[Any], **options: Any) -> Plan:
        """Make a plan from an OpenTPS plan, with beamlet doses of its CCC engine.

        Parameters
        ----------
        photon_plan : opentps PhotonPlan
            Not changed. Its MU become the beamlet weights.
        ct : opentps CTImage
            In HU; not changed.
        rois : sequence of opentps ROIMask or ROIContour
            Its structures.
        **options
            Passed on to `opentps_brimstone.integration.photon_plan.plan_from_opentps`.

        Returns
        -------
        Plan
        """
        from opentps_brimstone.integration.photon_plan import plan_from_opentps

        return plan_from_opentps(photon_plan, ct, rois, **options)

    def came_from(self, source: Any, series: Series, beams: Iterable[Mapping[str, Any]]) -> None:
        """Tell a plan that was made from a matrix where that came from.

        Parameters
        ----------
        source : object
            Kept in `source`, and given back by `to_opentps` with the plan's weights.
        series : Series
            CT on the dose grid, with the plan's structures.
        beams : iterable of mapping
            One for each beam of the plan: ``gantry_angle``, ``couch_angle``, ``collimator_angle``, ``isocenter`` and
            ``name`` of `add_beam`.

        Raises
        ------
        ValueError
            If there is not one for each beam.
        """
        described = [Beam(self, number, **beam) for number, beam in enumerate(beams)]
        if len(described) != len(self._beams):
            raise ValueError(f"the plan has {len(self._beams)} beams; {len(described)} are described")
        self._opentps_plan, self.series, self._beams = source, series, described

    @property
    def source(self) -> Any:
        """OpenTPS plan that this one was made from; None if it was made from something else."""
        return self._opentps_plan

    def to_opentps(self) -> Any:
        """Convert the plan to OpenTPS's data classes.

        Returns
        -------
        OpenTPSCase
            ``ct`` on the dose grid, ``rois`` by name and ``plan``, a PhotonPlan whose beamlets have the plan's MU per
            fraction, or 1 MU before it has weights. Everything else of a plan that came from OpenTPS is unchanged.

        Raises
        ------
        ValueError
            If the plan was made from a matrix, so that CT and angles are not known, or has no beams.

        Examples
        --------
        >>> mask = np.zeros((8, 8, 8))
        >>> mask[3:5, 3:5, 3:5] = 1
        >>> plan = Plan(Series(np.zeros((8, 8, 8)), (9, 9, 9), (0, 0, 0), [Structure("PTV", mask, is_target=True)]))
        >>> beam = plan.add_beam(gantry_angle=90.0)
        >>> _ = plan.compute_dose_influence(beamlet_spacing_mm=20.0, progress=False)
        >>> ct, rois, photon_plan = plan.to_opentps()
        >>> photon_plan.beams[0].gantryAngle_degree  # OpenTPS turns the other way
        270.0
        """
        from opentps_brimstone.adapters.series import plan_to_opentps

        return plan_to_opentps(self)

    # --------------------------------------------------------------------------------------------- beams

    @property
    def beams(self) -> tuple[Beam, ...]:
        """The beams in the order of their beamlets."""
        return tuple(self._beams)

    def add_beam(
        self,
        gantry_angle: float,
        isocenter: npt.ArrayLike | None = None,
        couch_angle: float = 0.0,
        collimator_angle: float = 0.0,
        *,
        name: str | None = None,
    ) -> Beam:
        """Add a static field. Dose influence and beamlet weights computed before are discarded.

        Parameters
        ----------
        gantry_angle : float
            The machine's, IEC, in degrees: from which side it comes depends on how the patient lies.
        isocenter : array_like, shape (3,), optional
            In DICOM's patient coordinates, in mm; each beam may have its own. Default: the center of the targets.
        couch_angle, collimator_angle : float
            IEC, in degrees.
        name : str, optional
            Default: from the gantry angle.

        Returns
        -------
        Beam

        Raises
        ------
        TypeError, ValueError
            If an angle is not a finite number, the isocenter is outside the CT, the plan was not made from a series, or
            a patient on its side is to be irradiated with another couch angle than 0.

        Examples
        --------
        >>> target = Structure("PTV", np.ones((4, 4, 4)), is_target=True)
        >>> plan = Plan(Series(np.zeros((4, 4, 4)), (5, 5, 5), (0, 0, 0), [target]))
        >>> plan.add_beam(gantry_angle=-45.0, isocenter=(5.0, 5.0, 5.0), couch_angle=10.0)
        Beam('G315', gantry 315°, couch 10°, collimator 0°)
        """
        if self.series is None or self._opentps_plan is not None:
            raise ValueError("this plan's beams came with it; beams can be added to a Plan made from a Series")
        beam = Beam(
            self,
            len(self._beams),
            gantry_angle=checked_angle("gantry_angle", gantry_angle),
            couch_angle=checked_angle("couch_angle", couch_angle),
            collimator_angle=checked_angle("collimator_angle", collimator_angle),
            isocenter=None
            if isocenter is None
            else checked_isocenter(name or "the new beam", isocenter, self.series.grid),
            name=name,
        )
        _ = beam.supine_angles  # an error if the patient's position does not allow these angles
        self._beams.append(beam)
        self._forget_influence()
        return beam

    def target_center(self) -> FloatArray:
        """Center of the volume of all targets.

        Returns
        -------
        ndarray, shape (3,)
            x, y, z in mm.

        Raises
        ------
        ValueError
            If no structure is a target.
        """
        share = self._target_share(self._targets or self._default_targets())
        index = np.argwhere(share > 0)
        place = np.average(index, axis=0, weights=share[share > 0])
        center: FloatArray = np.array(self._grid.origin_mm) + place * np.array(self._grid.spacing_mm)
        return center

    def _default_targets(self) -> list[Structure]:
        targets = [structure for structure in self.structures if structure.is_target]
        if not targets:
            raise ValueError(
                f"no structure is a target (there are {', '.join(self.structures.keys())}): name it with target=, or "
                "set its is_target"
            )
        return targets

    def _target_share(self, targets: Sequence[Structure]) -> FloatArray:
        share: FloatArray = np.maximum.reduce([target.share for target in targets])
        return share

    # --------------------------------------------------------------------------------------------- dose influence

    @property
    def patient_position(self) -> str:
        """How the patient lies, by DICOM's term; head first supine in a plan without a series."""
        return HEAD_FIRST_SUPINE if self.series is None else self.series.patient_position

    @property
    def grid(self) -> VoxelGrid:
        """Grid of the dose."""
        return self._grid

    @property
    def ct_hu(self) -> FloatArray | None:
        """HU on the dose grid, shape (nx, ny, nz); None if the plan has no series."""
        if self._ct_hu is None and self.series is not None:
            self._ct_hu = self.series.on_grid(self._grid).ct_hu
        return self._ct_hu

    @property
    def density_overrides(self) -> list[dict[str, Any]]:
        """Densities that structures of the series have in place of the CT's, on the dose grid."""
        return [] if self.series is None else self.series.density_overrides(self._grid)

    @property
    def dose_influence(self) -> DoseInfluence:
        """Gy per MU and fraction; computed by `compute_dose_influence` on first use, with its defaults."""
        if self._influence is None:
            self.compute_dose_influence()
        assert self._influence is not None
        return self._influence

    def prepare(self, targets: Iterable[Structure], *, progress: bool = True) -> None:
        """Compute the dose influence unless the plan has it already.

        Parameters
        ----------
        targets : iterable of Structure
            To be covered by the beamlets.
        progress : bool
            Show a progress bar on standard error.
        """
        if self._influence is None:
            self.compute_dose_influence(list(targets), progress=progress)

    def compute_dose_influence(
        self,
        target: Targets | None = None,
        beamlet_spacing_mm: float = 5.0,
        margin_mm: float = 5.0,
        dose_grid_mm: float | tuple[float, float, float] | None = None,
        *,
        engine: str = "native",
        scatter: str = "opentps",
        kernels: str | Path | None = None,
        beam_model: BeamModel | str | Path | None = None,
        density_table: Any = None,
        overrides: Sequence[Mapping[str, Any]] | None = None,
        processes: int | None = None,
        cache: Any = True,
        progress: bool | Callable[[int, int], Any] = True,
    ) -> DoseInfluence:
        """Place beamlets on the target's projections, and compute their doses.

        Parameters
        ----------
        target : Structure, str or several of them, optional
            To be covered by the beamlets. Default: all targets.
        beamlet_spacing_mm : float
            At the isocenter. Beamlet edges lie at its multiples.
        margin_mm : float
            Beamlets are placed up to this distance, plus half a spacing, from the target's projection.
        dose_grid_mm : float or (float, float, float), optional
            Spacing of the dose grid. Default: keep the plan's.
        engine : {"native", "opentps"}
            This package's collapsed cone engine, or OpenTPS's own program.
        beam_model : BeamModel, str or Path, optional
            With full scatter: the beam of a machine, as for `opentps_brimstone.compute_dose`.
        scatter, kernels, density_table, overrides, processes, cache, progress
            As for `opentps_brimstone.engine.compute_beamlets`; masks of overrides are on the dose grid, and by default
            they are the densities that structures of the series have. Voxels of the plan's structures get a dose even
            if they are air beside the patient.

        Returns
        -------
        DoseInfluence

        Raises
        ------
        TypeError, ValueError
            Before the engine starts, if there are no beams or no target, or a number is out of its range.
        DoseMemoryError
            Before the engine starts, if the doses would not fit into memory.
        EngineError
            If the dose engine fails.
        """
        from opentps_brimstone.engine.choice import EngineChoice
        from opentps_brimstone.engine.options import DoseOptions
        from opentps_brimstone.engine.plan_doses import compute_influence

        run = RunOptions(processes, cache, progress)
        choice = EngineChoice(engine, scatter, kernels, beam_model)
        options = DoseOptions(choice, density_table, overrides, run)
        if self.series is None or self._opentps_plan is not None:
            raise ValueError("this plan came with its dose influence; it cannot be computed again")
        if not self._beams:
            raise ValueError("the plan has no beams: add some with add_beam")
        _check_length("beamlet_spacing_mm", beamlet_spacing_mm, positive=True)
        _check_length("margin_mm", margin_mm, positive=False)
        targets = self._own_targets(target)
        if dose_grid_mm is not None:
            self._use_grid(self.series.dose_grid(dose_grid_mm))
        if overrides is None:
            options = replace(options, overrides=self.density_overrides)
        self._targets = targets
        share = self._target_share(targets)
        xy = [self._beamlets_of(beam, share, beamlet_spacing_mm, margin_mm) for beam in self._beams]
        self._influence = compute_influence(self, xy, float(beamlet_spacing_mm), options)
        self._intermediate = None
        self._scenarios = ()
        self._dose_options = options
        self._forget_weights()
        return self._influence

    def set_dose_influence(self, influence: DoseInfluence, target: Targets | None = None) -> None:
        """Take a dose influence that was computed elsewhere for the plan's beams; weights set before are discarded.

        Parameters
        ----------
        influence : DoseInfluence
            On the plan's dose grid, with a fluence map for each beam, in their order.
        target : Structure, str or several of them, optional
            That its beamlets cover. Default: all targets.

        Raises
        ------
        ValueError
            If the plan came with its dose influence, or grid or number of beams are others.
        """
        if self.series is None or self._opentps_plan is not None:
            raise ValueError("this plan came with its dose influence; it cannot get another one")
        if influence.grid != self._grid:
            raise ValueError(f"the dose influence is on {influence.grid.description}; the plan's grid is another one")
        if influence.layout.n_beams != len(self._beams):
            raise ValueError(
                f"the dose influence is of {influence.layout.n_beams} beams; the plan has {len(self._beams)}"
            )
        self._targets = self._own_targets(target)
        self._forget_influence()
        self._influence = influence

    # --------------------------------------------------------------------------------------------- scenarios

    @property
    def scenarios(self) -> tuple[ScenarioInfluence, ...]:
        """Scenarios that robust terms are on, with the doses of the beamlets in each; empty before they are set."""
        return self._scenarios

    def compute_scenarios(
        self,
        scenarios: Iterable[Scenario],
        structures: Targets | None = None,
        *,
        processes: int | None = None,
        progress: bool | Callable[[int, int], Any] = True,
    ) -> tuple[ScenarioInfluence, ...]:
        """Compute the doses of the plan's beamlets in scenarios, which robust terms are on.

        The dose of the nominal scenario is the plan's own; in each other one it is computed anew, with the isocenters
        displaced in the patient and the densities scaled. They are forgotten with the dose influence.

        Parameters
        ----------
        scenarios : iterable of Scenario
            Such as `setup_scenarios` makes.
        structures : Structure, str or several of them, optional
            That robust terms will be on: doses elsewhere are not kept, which saves memory. Default: keep them all.
        processes : int, optional
            Threads. Default: the cores this process may use.
        progress : bool or callable
            As for `compute_dose_influence`.

        Returns
        -------
        tuple of ScenarioInfluence
            The plan's `scenarios`.

        Raises
        ------
        TypeError, ValueError
            Before the engine starts, if two scenarios are the same, one moves an isocenter out of the dose grid, or the
            plan's dose influence is not known to be of this package's engine with ``scatter="opentps"``.
        DoseMemoryError
            Before the engine starts, if the doses would not fit into memory.
        EngineError
            If the engine fails, or `progress` returned False.
        """
        from opentps_brimstone.engine.scenarios import scenario_influences

        _ = self.dose_influence
        if self.series is not None and self._dose_options is None:
            raise ValueError(
                "how the plan's dose influence was computed is not known, and other scenarios must not differ from it: "
                "set the plan's dose_options, or give doses in scenarios to set_scenarios"
            )
        named = [structures] if isinstance(structures, Structure | str) else structures
        if named is not None and not (named := list(named)):
            raise ValueError("structures is empty: name those that robust terms will be on, or leave it out")
        kept = None if named is None else self._own_targets(named)
        options = self.dose_options.running(threads=processes, progress=progress)
        self._scenarios = scenario_influences(self, scenarios, options, kept)
        return self._scenarios

    @property
    def dose_options(self) -> Any:
        """What the dose influence was computed with; the engine's defaults if that is not known.

        An `opentps_brimstone.engine.options.DoseOptions`. Set it for a dose influence that was computed elsewhere; the
        plan forgets it with that. TypeError if it is something else.
        """
        from opentps_brimstone.engine.options import DoseOptions

        return DoseOptions(overrides=self.density_overrides) if self._dose_options is None else self._dose_options

    @dose_options.setter
    def dose_options(self, options: Any) -> None:
        from opentps_brimstone.engine.options import DoseOptions

        if not isinstance(options, DoseOptions):
            raise TypeError(f"dose_options is {options!r}; it must be an opentps_brimstone.engine.options.DoseOptions")
        self._dose_options = options

    def set_scenarios(self, scenarios: Iterable[tuple[Scenario, DoseInfluence | None]]) -> None:
        """Take doses of the plan's beamlets in scenarios that were computed elsewhere.

        Parameters
        ----------
        scenarios : iterable of (Scenario, DoseInfluence or None)
            On the plan's dose grid, of the same beamlets, with all scatter. None: the plan's own, which is that of the
            nominal scenario. An empty list forgets those that the plan has. Of dose influences that `compute_scenarios`
            computed it is known which structures they have doses in.

        Raises
        ------
        TypeError, ValueError
            If two scenarios are the same, the nominal one has another dose influence than the plan, or a dose influence
            has another grid, other beamlets, or leaves out scatter from far away.
        """
        given = list(scenarios)
        if given:
            checked_scenarios(scenario for scenario, _ in given)
        own = self.dose_influence
        for scenario, influence in given:
            if influence is None and not scenario.is_nominal:
                raise ValueError(f"the scenario {scenario.name!r} has no dose influence, and is not the nominal one")
            if influence is None or influence is own:
                continue
            if scenario.is_nominal:
                raise ValueError(
                    f"the scenario {scenario.name!r} is the nominal one, whose dose influence is the plan's own: give "
                    "None"
                )
            if influence.whole_dose is not None:
                raise ValueError(
                    f"the dose influence of the scenario {scenario.name!r} leaves out scatter from far away, which "
                    "scenarios need: compute it with scatter='opentps'"
                )
            if influence.grid != own.grid:
                raise ValueError(
                    f"the dose influence of the scenario {scenario.name!r} is on {influence.grid.description}; the "
                    "plan's grid is another one"
                )
            if influence.layout.n_beamlets != own.layout.n_beamlets:
                raise ValueError(
                    f"the dose influence of the scenario {scenario.name!r} is of {influence.layout.n_beamlets} "
                    f"beamlets; the plan has {own.layout.n_beamlets}"
                )
            if not influence.layout.has_same_beamlets(own.layout):
                raise ValueError(
                    f"the dose influence of the scenario {scenario.name!r} is of beamlets elsewhere in their beams "
                    "than the plan's, or in another order"
                )
        cut = {id(each.dose_influence): each.structures for each in self._scenarios}
        self._scenarios = tuple(
            ScenarioInfluence(scenario, own if influence is None else influence, cut.get(id(influence)))
            for scenario, influence in given
        )

    def _own_targets(self, target: Targets | None) -> list[Structure]:
        if target is None:
            return self._default_targets()
        several = [target] if isinstance(target, Structure | str) else list(target)
        if not several:
            raise ValueError("the list of targets is empty")
        return [self.structures[each] if isinstance(each, str) else self.own_structure(each) for each in several]

    def _beamlets_of(self, beam: Beam, share: FloatArray, spacing_mm: float, margin_mm: float) -> FloatArray:
        return beamlets_on_target(share, self._grid, beam.isocenter, beam.supine_angles, spacing_mm, margin_mm)

    def _use_grid(self, grid: VoxelGrid) -> None:
        if same_grid(grid, self._grid):
            return
        self._grid = grid
        self._ct_hu = None
        self._forget_influence()
        for structure in self.structures:
            structure._move_to(grid)

    def _forget_influence(self) -> None:
        self._influence = None
        self._scenarios = ()
        self._dose_options = None
        self._intermediate = None
        self._forget_weights()

    def _forget_weights(self) -> None:
        self._weights = None
        self._forget_histograms()

    def _forget_histograms(self) -> None:
        for structure in self.structures:
            structure._forget_dose()

    # --------------------------------------------------------------------------------------------- structures

    def own_structure(self, structure: Structure) -> Structure:
        """Find the plan's own structure, on the dose grid.

        Parameters
        ----------
        structure : Structure
            Of the plan or of its series.

        Returns
        -------
        Structure

        Raises
        ------
        ValueError
            If it belongs to neither, or does not overlap the dose grid.
        """
        own = self.structures.get(structure.name)
        if own is None or (own is not structure and own._origin is not structure._origin):
            names = ", ".join(self.structures.keys())
            raise ValueError(f"structure {structure.name!r} is not the plan's; its structures are {names}")
        own.check_on_grid()  # fails now, not after the beamlets are computed
        return own

    # --------------------------------------------------------------------------------------------- weights and dose

    @property
    def beamlet_weights(self) -> FloatArray | None:
        """MU per fraction of each beamlet, shape (n_beamlets,); None before they are set."""
        return self._weights

    @beamlet_weights.setter
    def beamlet_weights(self, weights: npt.ArrayLike) -> None:
        checked = self.dose_influence.check_weights(weights).copy()
        self._forget_weights()
        self._weights = checked
        self._weights.flags.writeable = False

    @property
    def dose(self) -> DoseArray:
        """The same as `get_dose`."""
        return self.get_dose()

    def get_dose(
        self,
        quantity: str = "physical_dose",
        *,
        alpha_beta: npt.ArrayLike | None = None,
        with_previous: bool = True,
    ) -> DoseArray:
        """Dose of the beamlet weights, or a quantity that follows from it.

        Parameters
        ----------
        quantity : str
            ``physical_dose``, ``bed``, ``eqd2`` or ``effect``; with matrices for them also ``rbe_x_dose``,
            ``let_dose``, ``let``, ``alpha_dose`` and ``sqrt_beta_dose``; ``effect`` then follows from matrices, too.
            These take the plan's `alphax` and `betax`, and count nothing in that was given before.
        alpha_beta : float or array_like of shape (nx, ny, nz), optional
            In Gy, for all voxels. Default: that of the smallest structure around each voxel, and 3 Gy outside of all.
        with_previous : bool
            Whether dose given before is counted in.

        Returns
        -------
        DoseArray, shape (nx, ny, nz)
            Over all fractions, in Gy unless the quantity has another unit.

        Raises
        ------
        ValueError
            If no weights are set, or the quantity is unknown or lacks something.

        Examples
        --------
        >>> from opentps_brimstone.model.example import three_voxel_plan
        >>> plan = three_voxel_plan()
        >>> plan.beamlet_weights = [10.0, 10.0]
        >>> plan.get_dose("eqd2", alpha_beta=2.0).round(3).ravel().tolist()
        [12.0, 12.0, 2.0]
        """
        if self._weights is None:
            raise ValueError("the plan has no beamlet weights yet: set beamlet_weights, or optimize it")
        dose = self.dose_of(self._weights)
        if quantity != "physical_dose":
            from opentps_brimstone.quantities.of_plan import follows_from_matrices, plan_quantity, quantity_of_weights

            if follows_from_matrices(self, quantity):
                return DoseArray(quantity_of_weights(self, self._weights, quantity), self._grid)
            dose = plan_quantity(self, dose, quantity, alpha_beta=alpha_beta, with_previous=with_previous)
        return DoseArray(dose, self._grid)

    def dose_of(self, weights: npt.ArrayLike) -> FloatArray:
        """Dose that beamlet weights would give, with the intermediate dose.

        Parameters
        ----------
        weights : array_like, shape (n_beamlets,)
            MU per fraction; the plan keeps its own.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Gy over all fractions.
        """
        dose = self.dose_influence.dose(weights, self.number_of_fractions)
        return dose if self._intermediate is None else np.maximum(dose + np.asarray(self._intermediate), 0.0)

    @property
    def intermediate_dose(self) -> DoseArray | None:
        """Dose that `set_intermediate_dose` was told of, shape (nx, ny, nz); None if there is none."""
        return self._intermediate

    def set_intermediate_dose(self, dose: npt.ArrayLike | None) -> None:
        """Tell what to add to the dose of the beamlet weights, whatever they are.

        Optimization, `get_dose`, DVHs and results are then of the sum, before any quantity such as EQD2 follows from
        it. It stands for what the dose influence cannot hold, such as scatter from far away, of weights near those
        that it was computed for. It is forgotten with the dose influence, and not scaled by anything.

        Parameters
        ----------
        dose : array_like of shape (nx, ny, nz), or None
            Gy over all fractions on the plan's dose grid. It may be negative where the dose influence gives too much; a
            sum below 0 is 0. None: nothing is added.

        Raises
        ------
        ValueError
            If its shape is not that of the dose grid, or a dose is not finite.

        Examples
        --------
        >>> from opentps_brimstone.model.example import three_voxel_plan
        >>> plan = three_voxel_plan()
        >>> plan.beamlet_weights = [10.0, 10.0]
        >>> plan.set_intermediate_dose(np.reshape([1.0, 0.5, -5.0], (3, 1, 1)))
        >>> plan.get_dose().round(3).ravel().tolist()
        [7.0, 6.5, 0.0]
        """
        if dose is None:
            self._intermediate = None
            self._forget_histograms()
            return
        values = np.asarray(dose, dtype=np.float64)
        if values.shape != self._grid.shape:
            raise ValueError(f"the intermediate dose has the shape {values.shape}; the dose grid is {self._grid.shape}")
        if not np.isfinite(values).all():
            at = tuple(np.argwhere(~np.isfinite(values))[0].tolist())
            raise ValueError(f"the intermediate dose is {values[at]} in voxel {at}; it must be finite")
        self._intermediate = DoseArray(values, self._grid)
        self._intermediate.flags.writeable = False
        self._forget_histograms()

    def update_intermediate_dose(self, weights: npt.ArrayLike | None = None, *, effort: str = "full") -> FloatArray:
        """Compute what the dose influence leaves out of the dose of some weights, and set it as intermediate dose.

        For a dose influence with ``scatter="full"``, whose matrix has the scatter near beamlets. `PlanOptimizer` and
        `GoalPlanner` do this by themselves.

        Parameters
        ----------
        weights : array_like, shape (n_beamlets,), optional
            MU per fraction. Default: the plan's own.
        effort : {"full", "half", "rough"}
            Share of the directions that scatter is followed in. The final dose takes all; half of them change doses by
            some tenths of a percent of the maximum, in half of the time.

        Returns
        -------
        ndarray, shape (nx, ny, nz)
            Their dose, Gy over all fractions.

        Raises
        ------
        ValueError
            If the dose influence leaves nothing out, or there are no weights.
        """
        influence = self.dose_influence
        if influence.whole_dose is None:
            raise ValueError(
                "the dose influence leaves nothing out: compute it with scatter='full', or set_intermediate_dose"
            )
        given = self._weights if weights is None else weights
        if given is None:
            raise ValueError("the plan has no beamlet weights yet: set beamlet_weights, or give some")
        chosen = influence.check_weights(given)
        whole = (
            influence.whole_dose(chosen, effort=checked_choice("effort", effort, EFFORTS)) * self.number_of_fractions
        )
        self.set_intermediate_dose(whole - influence.dose(chosen, self.number_of_fractions))
        return whole

    @property
    def previous_dose(self) -> PreviousCourse | None:
        """What was given before to all of the patient; structures may have their own."""
        return self._previous

    def set_previous_dose(
        self,
        dose: Any,
        number_of_fractions: int | None = None,
        recovery: float = 0.0,
        *,
        structures: Iterable[Structure | str] | None = None,
        accept: str | Iterable[str] = (),
    ) -> None:
        """Tell what was given before, to be counted in with every quantity but dose itself.

        Terms, goals, DVHs and reports of ``bed``, ``eqd2`` and ``effect`` are then those of both courses together.

        Parameters
        ----------
        dose : path, DoseArray, array_like of shape (nx, ny, nz), Plan, or None
            Gy over all fractions of the earlier course: an RT Dose file on any grid of the same frame of reference, a
            dose with its grid, an array on this plan's dose grid, or the plan of that course. None: nothing was given.
        number_of_fractions : int
            Of the earlier course; by default those of a Plan.
        recovery : float
            Share of its effect that the tissue has recovered from since, in [0, 1].
        structures : iterable of Structure or str, optional
            For which this holds, in place of what was set for all. Default: all, and the tissue between them.
        accept : str or iterable of str
            Contradictions between the file and the plan's series that do not matter, as for `Series.from_dicom`.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file cannot be read or has another frame of reference than the plan's series, the dose does not
            overlap the plan's dose grid, or a number is out of its range.

        Examples
        --------
        >>> from opentps_brimstone.model.example import three_voxel_plan
        >>> plan = three_voxel_plan()
        >>> plan.beamlet_weights = [10.0, 10.0]
        >>> plan.set_previous_dose(np.full((3, 1, 1), 40.0), 20)
        >>> plan.get_dose("eqd2", alpha_beta=2.0).round(3).ravel().tolist()
        [52.0, 52.0, 42.0]
        """
        from opentps_brimstone.quantities.of_plan import previous_course

        course = previous_course(self, dose, number_of_fractions, recovery, accept)
        if structures is None:
            self._previous = course
            chosen = list(self.structures)
        else:
            chosen = [self.own_structure(self.structures[s] if isinstance(s, str) else s) for s in structures]
        for structure in chosen:
            structure.previous_dose = course

    def update_histograms(self) -> DoseArray:
        """Compute the DVH of every structure from the current beamlet weights.

        Returns
        -------
        DoseArray, shape (nx, ny, nz)
            Their dose, Gy over all fractions.

        Warns
        -----
        UserWarning
            Naming structures without a DVH because they do not overlap the dose grid.
        """
        dose = self.get_dose()
        values = np.asarray(dose)
        for structure in self.structures:
            try:
                structure.check_on_grid()
            except ValueError as error:
                warnings.warn(f"no DVH of {structure.name!r}: {error}", stacklevel=2)
                continue
            structure.set_dose(values)
        return dose

    def __repr__(self) -> str:
        names = ", ".join(self.structures.keys())
        if self._influence is not None:
            return f"Plan({self._influence!r}, structures: {names}, {self._fractions})"
        beams = ", ".join(beam.name for beam in self._beams) or "none"
        return f"Plan(beams: {beams}, structures: {names}, {self._fractions})"

    @property
    def _fractions(self) -> str:
        return f"{self.number_of_fractions} fraction{'s' * (self.number_of_fractions > 1)}"

    def _repr_html_(self) -> str:
        columns = ("beam", "gantry", "couch", "collimator", "beamlets", "MU per fraction")
        rows = [beam._html_row(has_beamlets=self._influence is not None) for beam in self._beams]
        beams = html_table(columns, rows, caption=f"Plan, {self._grid.description}, {self._fractions}")
        return f"{beams}<br>{structures_html(self.structures)}"


def _own_copy(structure: Structure, grid: VoxelGrid) -> Structure:
    shape = structure.share.shape
    if structure.grid is None and shape != grid.shape:
        raise ValueError(f"the mask of {structure.name!r} has the grid {shape}; the dose grid is {grid.shape}")
    own = structure._copied_for_plan(grid)
    own.check_on_grid()
    return own


def _check_length(name: str, value: float, *, positive: bool) -> None:
    if not np.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} is {value!r}; it must be {'positive' if positive else '0 or more'}, in mm")
