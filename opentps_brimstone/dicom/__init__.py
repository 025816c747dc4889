"""DICOM in and out: one module per kind of object."""

from __future__ import annotations

from opentps_brimstone.dicom.rt_dose import write_rt_dose
from opentps_brimstone.dicom.rt_plan_reader import RTPlanError, RTPlanWarning, read_rt_plan
from opentps_brimstone.dicom.rt_plan_writer import write_rt_plan

__all__ = ["RTPlanError", "RTPlanWarning", "read_rt_plan", "write_rt_dose", "write_rt_plan"]
