"""Prescription files to start from: doses and goals guessed from names and types of structures, to be changed."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from opentps_brimstone.adapters.physics import is_couch
from opentps_brimstone.dicom.choice import Choice
from opentps_brimstone.dicom.identity import IDENTITIES
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.model.series import Series
from opentps_brimstone.model.structure import Structure
from opentps_brimstone.sequencing import SequencingSettings

__all__ = ["starting_prescription", "write_starting_prescription"]

_USUAL_DOSE_GY = 50.0
_FRACTION_GY = 2.0
_BEAMS = 7
_BEAMLET_MM = 5.0
_COARSEST_GRID_MM = 4.0
# Prefixes of targets' names; targets with the first prefix that occurs are taken.
_TARGET_KINDS = ("PTV", "CTV", "ITV", "GTV")
_DOSE_IN_NAME = re.compile(r"(?<![\d.])(\d{4}|\d{2}(?:\.\d+)?)(?![\d.])")
_BODY = re.compile(r"\b(body|external|skin|outline|patient|contour)\b", re.IGNORECASE)
# Usual goals for organs in fractions of 2 Gy, by what their names contain (QUANTEC: Marks et al., Int. J. Radiat.
# Oncol. Biol. Phys. 76-3 suppl., 2010, S10).
_ORGAN_GOALS = (
    (r"brain\s*stem", "Dmax <= 54 Gy"),
    (r"cord|spinal", "Dmax <= 50 Gy"),
    (r"chiasm|optic", "Dmax <= 55 Gy"),
    (r"parotid", "Dmean <= 25 Gy"),
    (r"larynx", "Dmean <= 44 Gy"),
    (r"cochlea", "Dmean <= 45 Gy"),
    (r"lung", "V20Gy <= 30 %"),
    (r"heart", "V25Gy <= 10 %"),
    (r"o?esophagus", "Dmean <= 34 Gy"),
    (r"liver", "Dmean <= 30 Gy"),
    (r"kidney", "Dmean <= 15 Gy"),
    (r"rectum", "V70Gy <= 20 %"),
    (r"bladder", "V65Gy <= 50 %"),
    (r"bowel", "V45Gy <= 195 cc"),
    (r"penile|bulb", "Dmean <= 50 Gy"),
)


def starting_prescription(folder: Path | str, choice: Choice | None = None) -> str:
    """Draft a prescription file, TOML with comments, from the structures in a DICOM folder.

    `plan_folder` takes it as it is if a structure is a target; goals of organs are comments. What `choice` says of the
    folder stands in its table ``[input]``, and structures that seem to be a couch are left out.
    """
    chosen = choice or Choice()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        series = Series.from_dicom(folder, **chosen.keywords())
    structures = list(series.structures)
    if not structures:
        raise ValueError(f"{folder}: there are no structures to plan for")
    notes = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    usual = series.dose_grid(None).spacing_mm
    return _text(Path(folder), series.dicom.get("PatientID", ""), structures, usual, notes, chosen)


def write_starting_prescription(folder: Path | str, path: Path | str, choice: Choice | None = None) -> Path:
    """Write a draft of a prescription file for a DICOM folder; the file must not exist, nor lie in the folder."""
    target, source = Path(path), Path(folder)
    if source.resolve() in target.resolve().parents:
        raise ValueError(f"the file {target} would lie in the input folder {source}; give another place")
    if target.exists():
        raise FileExistsError(f"{target} exists; give another name, or remove it")
    text = starting_prescription(source, choice)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
    return target


# ------------------------------------------------------------------------------------------------------------- guesses


def _targets(structures: Iterable[Structure]) -> list[Structure]:
    """Choose the targets to plan for: the PTVs, or the nearest to them that there is."""
    every = [structure for structure in structures if structure.is_target]
    for kind in _TARGET_KINDS:
        of_kind = [structure for structure in every if structure.name.upper().startswith(kind)]
        if of_kind:
            return of_kind
    return every


def _dose(name: str) -> float:
    """Guess a dose from a target's name, in Gy or cGy; else a usual one."""
    for found in _DOSE_IN_NAME.findall(name):
        dose = float(found) / 100 if len(found) == 4 and "." not in found else float(found)
        if 10 <= dose <= 90:
            return dose
    return _USUAL_DOSE_GY


def _organ_goal(name: str, highest: float) -> str:
    return next(
        (goal for pattern, goal in _ORGAN_GOALS if re.search(pattern, name, re.IGNORECASE)),
        f"D10 <= {highest / 2:g} Gy",
    )


# ---------------------------------------------------------------------------------------------------------------- text


def _text(
    folder: Path,
    patient: str,
    structures: Sequence[Structure],
    grid_mm: tuple[float, ...],
    notes: Sequence[str],
    choice: Choice,
) -> str:
    couches = [structure.name for structure in structures if is_couch(structure)]
    structures = [structure for structure in structures if structure.name not in couches]
    targets = _targets(structures)
    doses = {target.name: _dose(target.name) for target in targets}
    highest = max(doses.values(), default=_USUAL_DOSE_GY)
    parts = [
        _comment(
            f"Prescription for the patient {patient or 'without number'}, folder {folder.name or folder}.",
            "Doses and goals are guesses from the names of the structures: read and change them before planning.",
            *notes,
        ),
        _plan_table(highest, couches, grid_mm),
        _input_table(choice),
        _beams(),
        _target_tables(doses, structures),
        _goals(doses, structures, highest),
        _rest(),
    ]
    return "\n".join(parts)


def _comment(*lines: str) -> str:
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _dose_grid(usual_mm: tuple[float, ...]) -> str:
    """Say which dose grid is taken, or ask for one that is finer than the beamlets where the CT is coarser.

    Between voxels that are farther apart than the edge of a field is wide, the dose at the ends of a target is unknown;
    on voxels as wide as beamlets, edges of beamlets fall on the points at which OpenTPS's program looks for them.
    """
    if max(usual_mm) <= _BEAMLET_MM:
        return "# dose_grid_mm = 3.0               # or [x, y, z]; by default that of the CT, but not finer than 2.5 mm"
    spacing = ", ".join(f"{min(step, _COARSEST_GRID_MM):.4g}" for step in usual_mm)
    return f"dose_grid_mm = [{spacing}]   # by default that of the CT, which is coarser than the beamlets"


def _plan_table(highest: float, couches: Sequence[str], grid_mm: tuple[float, ...]) -> str:
    if couches:
        leave_out = f"leave_out = {_list(couches)}   # seem to be no part of the patient"
    else:
        leave_out = '# leave_out = ["Couch"]            # structures that are not part of the patient'
    return f"""[plan]
name = "Brimstone plan"
fractions = {max(1, round(highest / _FRACTION_GY))}
{_dose_grid(grid_mm)}
# isocenter_mm = [0.0, 0.0, 0.0]   # DICOM patient coordinates; by default the middle of the targets
{leave_out}

[beamlets]
spacing_mm = {_BEAMLET_MM}   # rows of beamlets have to lie on the leaves of the collimator
margin_mm = 5.0    # around the targets
"""


def _input_table(choice: Choice) -> str:
    """Say which files were read, or how to say it."""
    chosen = {name: value for name, value in choice.keywords().items() if value}
    texts = {name: _quoted(value) if isinstance(value, str) else _list(value) for name, value in chosen.items()}
    lines = [f"{name} = {text}" for name, text in texts.items()]
    if lines:
        return "\n".join(["[input]", *lines]) + "\n"
    return (
        '[input]\n# series = "2"                     # UID, number or description of the CT, if there are several\n'
        '# structure_set = "RS.dcm"         # UID, label or file name, if there are several\n'
        f"# accept = []                      # contradictions that do not matter: {', '.join(IDENTITIES)}\n"
        '# patient_position = "HFS"         # if the CT does not say it\n'
    )


def _beams() -> str:
    angles = [round(number * 360 / _BEAMS) for number in range(_BEAMS)]
    head = _comment(
        "Angles are IEC, in degrees; couch_angle and collimator_angle are 0 if not given, isocenter_mm the plan's."
    )
    return head + "".join(f"[[beams]]\ngantry_angle = {angle}\n\n" for angle in angles).rstrip("\n") + "\n"


def _target_tables(doses: dict[str, float], structures: Iterable[Structure]) -> str:
    if not doses:
        names = ", ".join(_quoted(structure.name) for structure in structures)
        return _comment(
            "No structure is of type PTV, CTV or GTV or named like one. Name at least one target.",
            f"There are {names}.",
            "[[targets]]",
            'structure = ""',
            f"dose_gy = {_USUAL_DOSE_GY:g}",
        )
    head = _comment("Doses are over all fractions.")
    tables = "\n".join(f"[[targets]]\nstructure = {_quoted(n)}\ndose_gy = {dose:g}\n" for n, dose in doses.items())
    others = [structure.name for structure in structures if structure.is_target and structure.name not in doses]
    more = _comment("These are shown, and not planned with: " + ", ".join(map(_quoted, others))) if others else ""
    return head + tables + more


def _goals(doses: dict[str, float], structures: Iterable[Structure], highest: float) -> str:
    lines = ["[prescription]", "goals = ["]
    for name, dose in doses.items():
        lines += _goal_lines(name, f"D95 >= {dose:g} Gy")
        # Where a target lies in one of a higher dose, its own highest dose cannot be kept.
        lines += _goal_lines(name, f"D2 <= {1.07 * dose:.4g} Gy", comment=dose < highest)
    others = []
    for structure in structures:
        if structure.is_target:
            continue
        if _BODY.search(structure.name):
            others.append(structure.name)
        else:
            lines += _goal_lines(structure.name, _organ_goal(structure.name, highest), comment=True)
    lines.append("]")
    text = "\n".join(lines) + "\n"
    if others:
        names = ", ".join(map(_quoted, others))
        text += _comment(f"Without a goal, these get as little dose as the goals leave open: {names}.")
    return text


def _goal_lines(name: str, asked: str, *, comment: bool = False) -> list[str]:
    """Write a goal on a line; as a comment if requested, or if its structure's name cannot be parsed from it."""
    goal = f"{name} {asked}"
    try:
        readable = DVHGoal.parse(goal).structure == name
    except ValueError:
        readable = False
    return [f"  {'' if readable and not comment else '# '}{_quoted(goal)},"]


def _rest() -> str:
    return (
        _comment(
            "Terms are optimized as they stand, and goals then only judged. Kinds: kl (dvh or dose_range,",
            "volume_fraction, direction), maximum-dose, minimum-dose, mean-dose (limit_gy), squared-deviation",
            "(dose_gy), eud (limit_gy, a, minimum), dvh-limit (dose_gy, volume, minimum), homogeneity; each may have",
            "a weight.",
            "[[terms]]",
            'structure = "PTV"',
            'kind = "kl"',
            "dose_range = [50.0, 53.0]",
        )
        + f"""
[machine]
mlc = "millennium-120"   # "hd-120", "agility", or "matched": leaves as the beamlets' rows
scatter = "full"         # through the whole patient, leaves optimized by that dose; "opentps": as in its beamlets
# beam_model = "Kernels_6MV"   # or a file: leaves that leak, a source that is not a point; nobody measured this one
minimum_mu = 1.0         # least MU of a segment per fraction
step_mu = 0.1
# levels = {SequencingSettings.levels}            # with scatter "opentps": of the fluence; more levels, more segments
# method = "engel"       # or "kalinowski", "sliding-window", "xia-verhey"
# name = "LINAC1"        # of the treatment machine, for the plan file

[calibration]            # what a MU is: dose at a depth in a square field on water
gy_per_mu = 0.01
field_mm = 100.0
depth_mm = 100.0         # at the isocenter, if ssd_mm is not given

"""
        + _comment("[optimizer] and [planner] take the fields of OptimizerSettings and GoalPlannerSettings.")
    )
