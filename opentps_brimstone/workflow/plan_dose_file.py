"""The dose of an RT Plan as an RT Dose file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone._util.silence import silent_opentps
from opentps_brimstone.dicom.choice import Choice
from opentps_brimstone.engine.beam_model import read_beam_model
from opentps_brimstone.integration.plan_dose import compute_dose
from opentps_brimstone.model.series import Series
from opentps_brimstone.workflow.notes import noted_warnings

if TYPE_CHECKING:
    from opentps_brimstone.model.dose import DoseArray

__all__ = ["write_plan_dose"]

_log = logging.getLogger(__name__)


def write_plan_dose(
    folder: Path | str,
    plan: Path | str,
    out: Path | str,
    *,
    scatter: str = "full",
    kernels: str | Path | None = None,
    beam_model: str | Path | None = None,
    dose_grid_mm: float | None = None,
    choice: Choice | None = None,
    force: bool = False,
    options: RunOptions | None = None,
) -> DoseArray:
    """Compute the dose of an RT Plan on the CT of a DICOM folder, and write it.

    Parameters
    ----------
    folder : Path or str
        With a CT; voxels of its structures, if there are any, get a dose even in air.
    plan : Path or str
        The RT Plan.
    out : Path or str
        RT Dose file to write.
    scatter, kernels, beam_model, dose_grid_mm
        As for `opentps_brimstone.compute_dose`.
    choice : Choice, optional
        Which CT and structure set to read, and which contradictions to accept, also between CT and plan.
    force : bool
        Replace an existing file.
    options : RunOptions, optional

    Returns
    -------
    DoseArray
        As of `opentps_brimstone.compute_dose`.

    Raises
    ------
    ValueError
        Before long work: `DicomError` for the folder, `RTPlanError` for the plan; if they are in different frames of
        reference, an isocenter lies outside the CT, or an option is invalid.
    OSError
        Before long work: if a file cannot be read, or `out` exists and `force` is not given.
    EngineError
        If kernels are missing or of another form.
    """
    from opentps_brimstone.dicom import write_rt_dose
    from opentps_brimstone.dicom.files import read_known_file

    options, chosen = options or RunOptions(), choice or Choice()
    target = Path(out)
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists; give another name, or force it to be replaced")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"the folder {target.absolute().parent} of the file to write does not exist")
    with silent_opentps(), noted_warnings():
        series = Series.from_dicom(folder, **chosen.keywords(), progress=bool(options.progress))
        rt_plan = read_known_file(Path(plan))
        dose = compute_dose(
            Path(plan),
            series,
            scatter=scatter,
            kernels=kernels,
            beam_model=beam_model,
            dose_grid_mm=dose_grid_mm,
            accept=chosen.accept,
            processes=options.threads,
            progress=options.progress,
        )
        assert dose.grid is not None
        write_rt_dose(dose, dose.grid, target, description=_description(rt_plan, beam_model), rt_plan=rt_plan)
    _log.info("dose of %s on %d voxels of %s mm", plan, dose.grid.n_voxels, dose.grid.spacing_mm)
    return dose


def _description(rt_plan: object, beam_model: str | Path | None) -> str:
    label = getattr(rt_plan, "RTPlanName", "") or getattr(rt_plan, "RTPlanLabel", "") or "plan"
    machine = "" if beam_model is None else f", {read_beam_model(beam_model)}"
    return f"Dose of {label}{machine}"[:64]
