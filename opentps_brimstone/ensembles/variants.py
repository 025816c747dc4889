"""Variants of a plan: what a user writes, checked and made ready to be sent to a worker."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from opentps_brimstone import __version__
from opentps_brimstone._typing import FloatArray
from opentps_brimstone.ensembles.shared_plan import PlanFiles
from opentps_brimstone.model.plan import Plan
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.optimization.optimizer import PlanOptimizer
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import KLDivergenceTerm, ObjectiveTerm

__all__ = ["Objectives", "Task", "Variant", "checked_variants", "tasks_of"]

Objectives = Iterable[tuple[Structure | str, ObjectiveTerm]]
"""Structures, or their names, each with a term."""

_KEYS = ("objectives", "settings", "initial_weights", "beams", "name")


@dataclass(frozen=True)
class Variant:
    """A variant of a plan with all that it consists of.

    Attributes
    ----------
    name : str
    objectives : tuple of (str, ObjectiveTerm)
        Names of structures, and terms that belong to none.
    settings : OptimizerSettings
    initial_weights : ndarray or None
    beams : tuple of int or None
    """

    name: str
    objectives: tuple[tuple[str, ObjectiveTerm], ...]
    settings: OptimizerSettings
    initial_weights: FloatArray | None
    beams: tuple[int, ...] | None

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures that it has terms on."""
        return tuple(dict.fromkeys(name for name, _ in self.objectives))

    @property
    def matrix_key(self) -> object:
        """Variants with equal keys use the same matrices."""
        settings = self.settings
        grids = (settings.inclusion_threshold, settings.grid_of_level[: settings.number_of_levels])
        return (frozenset(self.structures), self.beams, grids, self._targets)

    @property
    def _targets(self) -> frozenset[str]:
        return frozenset(name for name, term in self.objectives if isinstance(term, KLDivergenceTerm))

    def digest(self, files: PlanFiles) -> str:
        """Identify the variant by everything that its result depends on."""
        settings = asdict(replace(self.settings, threads=None))
        weights = None if self.initial_weights is None else self.initial_weights.tobytes()
        terms = [(files.structures[name], _content(term)) for name, term in self.objectives]
        parts = (__version__, files.digest, terms, settings, weights, self.beams)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Task:
    """What a worker gets.

    Attributes
    ----------
    files : PlanFiles
    variant : Variant
    share_core : bool
        Whether other variants use the same matrices.
    """

    files: PlanFiles
    variant: Variant
    share_core: bool


def checked_variants(
    plan: Plan,
    variants: Iterable[Mapping[str, Any]],
    objectives: Objectives | None,
    settings: OptimizerSettings | None,
    threads: int,
) -> list[Variant]:
    """Complete variants from what they have in common, and check them before the first is run."""
    made = []
    for number, given in enumerate(variants):
        try:
            made.append(_checked(plan, number, given, objectives, settings or OptimizerSettings(), threads))
        except (TypeError, ValueError, KeyError) as error:
            text = error.args[0] if error.args else error
            raise type(error)(f"variant {number}: {text}") from None
    if not made:
        raise ValueError("there are no variants")
    return made


def tasks_of(variants: Sequence[Variant], files: PlanFiles) -> list[Task]:
    """Make tasks of variants; matrices that only one of them uses are not kept in files."""
    used = Counter(variant.matrix_key for variant in variants)
    return [Task(files, variant, used[variant.matrix_key] > 1) for variant in variants]


def _checked(
    plan: Plan,
    number: int,
    given: Mapping[str, Any],
    objectives: Objectives | None,
    settings: OptimizerSettings,
    threads: int,
) -> Variant:
    if not isinstance(given, Mapping):
        raise TypeError(f"it is {type(given).__name__}; it must be a mapping, such as {{'settings': ...}}")
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise ValueError(f"the key {unknown[0]!r} is unknown; there are {', '.join(_KEYS)}")
    asked = given.get("objectives", objectives)
    if asked is None:
        raise ValueError("it has no objectives, and run_ensemble was given none for all variants")
    own = given.get("settings", settings)
    if not isinstance(own, OptimizerSettings):
        raise TypeError(f"its settings are {type(own).__name__}; they must be OptimizerSettings")
    weights = given.get("initial_weights")
    beams = given.get("beams")
    optimizer = PlanOptimizer(plan, own)
    terms = tuple(_detached(plan, structure, term) for structure, term in asked)
    for name, term in terms:
        if term.robustness is not None:
            raise ValueError(
                f"{term!r} is on scenarios, which the files of a plan for worker processes do not have: optimize such "
                "plans with PlanOptimizer, one after another"
            )
        optimizer.add_objective(plan.structures[name], copy.copy(term))
    if beams is not None and plan.dose_influence.whole_dose is not None:
        raise ValueError(
            "some beams alone cannot be planned: the plan's matrix leaves out scatter from far away, which is known of "
            "all beams together; compute its dose influence with scatter='opentps'"
        )
    return Variant(
        name=str(given.get("name", number)),
        objectives=terms,
        settings=replace(own, threads=threads),
        initial_weights=None if weights is None else plan.dose_influence.check_weights(weights),
        beams=None if beams is None else optimizer.checked_beams(beams),
    )


def _detached(plan: Plan, structure: Structure | str, term: ObjectiveTerm) -> tuple[str, ObjectiveTerm]:
    """Copy a term without its structure, whose mask is sent in a file."""
    if not isinstance(term, ObjectiveTerm):
        raise TypeError(f"{term!r} is not an objective; it must be an ObjectiveTerm, such as KLDivergenceTerm")
    own = plan.structures[structure] if isinstance(structure, str) else plan.own_structure(structure)
    copied = copy.copy(term)
    copied.structure = None
    return own.name, copied


def _content(term: ObjectiveTerm) -> tuple[object, ...]:
    """All that a term holds; NumPy shows long arrays in part only."""
    shown = (
        (name, (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value))
        for name, value in sorted(vars(term).items())
    )
    return (f"{type(term).__module__}.{type(term).__qualname__}", *shown)
