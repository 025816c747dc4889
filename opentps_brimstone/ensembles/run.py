"""Many variants of a plan, side by side."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from opentps_brimstone._util.progress import Progress, following
from opentps_brimstone._util.threads import thread_count
from opentps_brimstone.ensembles.checkpoint import FinishedVariants
from opentps_brimstone.ensembles.cluster import ClusterPool
from opentps_brimstone.ensembles.memory import EnsembleMemory
from opentps_brimstone.ensembles.pool import Answer, WorkerPool
from opentps_brimstone.ensembles.results import EnsembleResult, VariantResult
from opentps_brimstone.ensembles.shared_plan import PlanFiles, share_plan
from opentps_brimstone.ensembles.solving import Outcome, solve
from opentps_brimstone.ensembles.variants import Objectives, Variant, checked_variants, tasks_of

if TYPE_CHECKING:
    from opentps_brimstone.model.plan import Plan
    from opentps_brimstone.optimization.settings import OptimizerSettings

__all__ = ["Ensemble", "result_of", "run_ensemble"]

_log = logging.getLogger(__name__)


def run_ensemble(
    plan: Plan,
    variants: Iterable[Mapping[str, Any]],
    client: Any = None,
    *,
    objectives: Objectives | None = None,
    settings: OptimizerSettings | None = None,
    workers: int | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    callback: Callable[[VariantResult], Any] | None = None,
    progress: Progress = True,
) -> EnsembleResult:
    """Optimize many variants of a plan at once.

    Every variant gives bitwise the weights that `PlanOptimizer` gives alone. A variant that fails is reported in its
    result and loses no other.

    Parameters
    ----------
    plan : Plan
        Not changed.
    variants : iterable of mapping
        Each with any of ``objectives`` (structures or their names, with terms), ``settings`` (OptimizerSettings),
        ``initial_weights`` (MU per fraction), ``beams`` (numbers of the beams to use) and ``name``.
    client : dask.distributed.Client, optional
        Whose workers compute. Default: processes on this machine; a script then needs ``if __name__ == "__main__":``.
    objectives : iterable of (Structure or str, ObjectiveTerm), optional
        Of the variants that have none of their own.
    settings : OptimizerSettings, optional
        Of the variants that have none of their own.
    workers : int, optional
        Processes on this machine. Default: one for each core.
    threads : int, optional
        Threads of each worker, whatever the settings say. Default: the cores divided among the processes; 1 with a
        client.
    checkpoint : path, optional
        Folder for finished variants; those found in it are not computed again. Variants, and the plan, are recognized
        by what they consist of.
    folder : path, optional
        For the files that workers map: the matrix, and its form in the optimizer. Default: a temporary one, removed at
        the end.
    callback : callable, optional
        Called with the `VariantResult` of each variant when it ends.
    progress : bool or callable
        Show a progress bar on standard error; a callable gets the variants done and their total, and stops the ensemble
        by returning False.

    Returns
    -------
    EnsembleResult
        In the order of the variants.

    Raises
    ------
    TypeError, ValueError
        Before the first variant is run: naming the variant and what is wrong in it.
    EnsembleMemoryError
        Before the first variant is run: if so many workers do not fit into memory.
    EnsembleError
        If workers cannot be started.

    Examples
    --------
    >>> import opentps_brimstone as pb
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> def objectives(limit):
    ...     return [("PTV", pb.KLDivergenceTerm(dose_range=(9, 11))), ("Cord", pb.MaximumDoseTerm(limit))]
    >>> variants = [{"objectives": objectives(limit), "name": f"{limit} Gy"} for limit in (3.0, 4.0, 5.0)]
    >>> results = run_ensemble(three_voxel_plan(), variants, workers=1, progress=False)
    >>> results.summary, results[2].name, results[2].beamlet_weights.shape
    ('3 of 3 variants', '5.0 Gy', (2,))
    """
    with Ensemble(
        plan, client, objectives=objectives, settings=settings, workers=workers, threads=threads, folder=folder
    ) as ensemble:
        return ensemble.run(variants, checkpoint=checkpoint, callback=callback, progress=progress)


class Ensemble:
    """Workers that have a plan, for several rounds of variants.

    Parameters
    ----------
    plan, client, objectives, settings, workers, threads, folder
        As for `run_ensemble`.

    Examples
    --------
    >>> from opentps_brimstone.model.example import three_voxel_plan
    >>> with Ensemble(three_voxel_plan(), workers=2) as ensemble:
    ...     ensemble.workers
    2
    """

    def __init__(
        self,
        plan: Plan,
        client: Any = None,
        *,
        objectives: Objectives | None = None,
        settings: OptimizerSettings | None = None,
        workers: int | None = None,
        threads: int | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        cores = thread_count()
        self.plan = plan
        self.workers = thread_count(workers, "workers")
        given = None if threads is None else thread_count(threads, "threads")
        self.threads = given or (1 if client is not None else max(1, cores // self.workers))
        self._objectives = None if objectives is None else list(objectives)
        self._settings = settings
        self._pool = WorkerPool(self.workers) if client is None else ClusterPool(client)
        self._temporary = (
            None
            if folder is not None
            else tempfile.TemporaryDirectory(
                prefix="brimstone-",
                ignore_cleanup_errors=True,  # Windows removes no file that a process maps
            )
        )
        self._folder = Path(folder if self._temporary is None else self._temporary.name)  # type: ignore[arg-type]
        self._on_this_machine = client is None
        self._stated: int | None = None  # bytes that were said to be needed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and remove temporary files."""
        self._pool.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def run(
        self,
        variants: Iterable[Mapping[str, Any]],
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        callback: Callable[[VariantResult], Any] | None = None,
        progress: Progress = False,
    ) -> EnsembleResult:
        """Run variants; as `run_ensemble`."""
        started = time.perf_counter()
        asked = checked_variants(self.plan, variants, self._objectives, self._settings, self.threads)
        finished = FinishedVariants(checkpoint)
        files = self._files(asked)
        digests = [variant.digest(files) for variant in asked]
        results: dict[int, VariantResult] = {}
        with following(progress, len(asked), "plans", "plan") as report:
            for number, outcome, attempts in self._outcomes(asked, files, digests, finished):
                results[number] = result_of(number, asked[number], outcome, attempts)
                if callback is not None:
                    callback(results[number])
                if not report(len(results)):
                    break
        stopped = Outcome(error="it was not computed: the ensemble was stopped before")
        every = (results.get(number) or result_of(number, each, stopped, 0) for number, each in enumerate(asked))
        return EnsembleResult(self.plan, every, time.perf_counter() - started)

    def _outcomes(
        self, asked: Sequence[Variant], files: PlanFiles, digests: Sequence[str], finished: FinishedVariants
    ) -> Iterator[tuple[int, Outcome, int]]:
        """Give number, outcome and attempts of each variant: first of those that were finished before."""
        left = []
        for number, digest in enumerate(digests):
            known = finished.get(digest)
            if known is None:
                left.append(number)
            else:
                yield number, known, 0
        if not left:
            return
        tasks = tasks_of([asked[number] for number in left], files)
        if self._on_this_machine:
            memory = EnsembleMemory.of(self.plan, tasks, self.workers)
            if self._stated is None or memory.total > self._stated:
                _log.info("%s", memory)
                self._stated = memory.total
            memory.check()
        for answer in self._pool.run(solve, tasks):
            number, outcome = left[answer.number], _outcome(answer)
            finished.put(digests[number], outcome)
            yield number, outcome, answer.attempts

    def _files(self, asked: Sequence[Variant]) -> PlanFiles:
        names = dict.fromkeys(name for variant in asked for name in variant.structures)
        return share_plan(self.plan, self._folder, names)


def _outcome(answer: Answer) -> Outcome:
    return answer.value if isinstance(answer.value, Outcome) else Outcome.failed(answer.value)


def result_of(number: int, variant: Variant, outcome: Outcome, attempts: int) -> VariantResult:
    """Make the result of a variant of its outcome."""
    told = {each.name: getattr(outcome, each.name) for each in fields(outcome) if each.name != "beamlet_weights"}
    return VariantResult(number=number, name=variant.name, attempts=attempts, _weights=outcome.beamlet_weights, **told)
