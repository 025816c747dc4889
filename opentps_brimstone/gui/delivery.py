"""From a plan in the window to segments, their dose, and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from opentps_brimstone.gui.session import Planned
from opentps_brimstone.gui.watch import Watch

if TYPE_CHECKING:
    from opentps_brimstone.integration.deliverable import DeliverablePlan

__all__ = ["Delivered", "deliver", "export", "in_opentps"]


@dataclass(frozen=True, eq=False)
class Delivered:
    """Segments of a plan.

    Attributes
    ----------
    planned : Planned
        The plan that they are of.
    deliverable : DeliverablePlan
    """

    planned: Planned
    deliverable: DeliverablePlan

    def facts(self) -> dict[str, str]:
        """Say what was made of what.

        Returns
        -------
        dict of str to str
        """
        weights = self.planned.result.beamlet_weights
        return {
            "before": f"{np.count_nonzero(weights)} beamlets of at most {np.max(weights):.0f} engine MU",
            **self.deliverable.facts(),
            "verdict": "agrees with the optimized dose"
            if self.deliverable.passed
            else "DIFFERS from the optimized dose",
        }


def deliver(
    planned: Planned, watch: Watch, *, mlc: str, levels: int = 10, minimum_mu: float = 1.0, verify: str = "auto"
) -> Delivered:
    """Make segments of a plan and compute their dose anew.

    Parameters
    ----------
    planned : Planned
    watch : Watch
        Told of progress; stops the work.
    mlc : str
        As for `make_deliverable`.
    levels : int
    minimum_mu : float
        Machine MU per fraction.
    verify : str
        How much OpenTPS's own program recalculates, as for `make_deliverable`.

    Returns
    -------
    Delivered

    Raises
    ------
    DoseCanceledError
        If it was stopped.
    """
    from opentps_brimstone.integration.deliverable import make_deliverable

    ct, _, photon_plan = planned.plan.to_opentps()
    photon_plan.name = planned.request.name
    objectives = [
        (planned.plan.structures[asked.structure], term) for asked in planned.request.asked for term in asked.terms()
    ]
    deliverable = make_deliverable(
        photon_plan,
        ct,
        objectives,
        mlc=mlc,
        levels=levels,
        minimum_mu=minimum_mu,
        verify=verify,
        beamlets=planned.plan.dose_influence,
        callback=lambda **_: not watch.is_stopping,
        progress=watch.on_progress,
    )
    watch.check()
    return Delivered(planned, deliverable)


def in_opentps(planned: Planned, delivered: Delivered | None) -> tuple[Any, Any]:
    """Give plan and dose as OpenTPS has them: of the segments if there are any, else of the fluence.

    Parameters
    ----------
    planned : Planned
    delivered : Delivered or None

    Returns
    -------
    plan : opentps PhotonPlan
        Named after the request.
    dose : opentps DoseImage
        Named after what it is the dose of.
    """
    from opentps.core.data.images import DoseImage

    grid, name = planned.plan.dose_influence.grid, planned.request.name
    if delivered is None:
        photon_plan, dose, kind = planned.plan.to_opentps().plan, planned.result.dose, "of beamlets"
    else:
        made = delivered.deliverable
        photon_plan, dose, kind = made.photon_plan, made.dose, "of segments, recalculated"
    photon_plan.name = name
    image = DoseImage(
        imageArray=np.array(dose, dtype=np.float64),
        name=f"{name} dose {kind}",
        origin=np.array(grid.origin_mm),
        spacing=np.array(grid.spacing_mm),
    )
    return photon_plan, image


def export(delivered: Delivered, folder: Path, *, patient_id: str, frame_of_reference_uid: str | None) -> list[Path]:
    """Write RT Plan and RT Dose.

    Parameters
    ----------
    delivered : Delivered
    folder : Path
        Exists.
    patient_id : str
    frame_of_reference_uid : str or None
        Of the CT.

    Returns
    -------
    list of Path
        Files written.
    """
    from opentps_brimstone.dicom import write_rt_dose, write_rt_plan

    request, deliverable = delivered.planned.request, delivered.deliverable
    plan_file, dose_file = folder / "rtplan.dcm", folder / "rtdose.dcm"
    dataset = write_rt_plan(
        deliverable.machine_plan(),
        plan_file,
        mlc=deliverable.sequenced_beams[0].mlc,
        prescription={each.structure: each.prescribed_gy for each in request.asked if each.is_target},
        frame_of_reference_uid=frame_of_reference_uid,
        patient_id=patient_id,
        label=request.name[:16],
        calibration=str(deliverable.calibration.reference),
    )
    write_rt_dose(deliverable.dose, deliverable.grid, dose_file, description=request.name[:64], rt_plan=dataset)
    return [plan_file, dose_file]
