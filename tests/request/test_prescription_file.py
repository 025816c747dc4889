"""Prescription files: what is read, and what is said of what is wrong."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from opentps_brimstone.engine.calibration import ReferenceField
from opentps_brimstone.evaluation import DVHGoal
from opentps_brimstone.goal_planning.settings import GoalPlannerSettings
from opentps_brimstone.model.structure import Structure, StructureSet
from opentps_brimstone.optimization.objectives import DVHLimitTerm, EUDTerm, HomogeneityTerm, SquaredDeviationTerm
from opentps_brimstone.optimization.settings import OptimizerSettings
from opentps_brimstone.optimization.terms import KLDivergenceTerm, MaximumDoseTerm, MeanDoseTerm, MinimumDoseTerm
from opentps_brimstone.request.prescription_file import (
    BeamRequest,
    MachineRequest,
    PrescriptionFileError,
)
from opentps_brimstone.request.reader import parse_prescription, read_prescription
from opentps_brimstone.sequencing import ApertureSettings, SequencingSettings

SMALLEST = """[plan]
fractions = 25
[[beams]]
gantry_angle = 0
[[targets]]
structure = "PTV"
dose_gy = 50
[prescription]
goals = ["PTV D95 >= 50 Gy"]
"""

WHOLE = """[plan]
name = "Left lung"
fractions = 30
dose_grid_mm = [3.0, 3, 5]
isocenter_mm = [1, -2, 3.5]
leave_out = ["Couch"]
[input]
series = "planning CT"
structure_set = "RS.dcm"
[beamlets]
spacing_mm = 2.5
margin_mm = 7
[[beams]]
gantry_angle = -30
couch_angle = 10
collimator_angle = 5
name = "left"
[[beams]]
gantry_angle = 180.0
[[targets]]
structure = "PTV"
dose_gy = 60
[prescription]
goals = ["lung V20Gy <= 30 %"]
[[terms]]
structure = "PTV"
kind = "kl"
dose_range = [60, 63]
weight = 2
direction = "target_calc"
[[terms]]
structure = "cord"
kind = "maximum-dose"
limit_gy = 45
[[terms]]
structure = "lung"
kind = "kl"
dvh = [[0, 1], [10, 0.4], [30, 0]]
[machine]
mlc = "agility"
name = "LINAC1"
levels = 15
method = "sliding-window"
minimum_mu = 2
step_mu = 0.5
minimum_area_mm2 = 100
maximum_apertures = 12
avoid_tongue_and_groove = true
share_wide_leaves = true
energy_mv = 10
dose_rate_mu_per_min = 600
[calibration]
gy_per_mu = 0.008
field_mm = 200
depth_mm = 50
ssd_mm = 1000
[optimizer]
kl_direction = "target_calc"
number_of_levels = 3
grid_of_level = [0, 0, 1]
cg_tolerance = [1e-3, 1e-2, 1e-2]
slope_variance = false
[planner]
rounds = 4
"""


def test_what_is_not_said_has_defaults():
    asked = parse_prescription(SMALLEST)
    assert asked.beams == (BeamRequest(0.0, 0.0, 0.0, None, None),)
    assert (asked.fractions, asked.targets, asked.prescription_gy) == (25, {"PTV": 50.0}, 50.0)
    assert asked.goals == (DVHGoal.parse("PTV D95 >= 50 Gy"),)
    assert (asked.terms, asked.leave_out, asked.dose_grid_mm, asked.isocenter_mm) == ((), (), None, None)
    assert (asked.beamlet_spacing_mm, asked.beamlet_margin_mm) == (5.0, 5.0)
    assert asked.machine == MachineRequest()
    assert (asked.optimizer, asked.planner) == (OptimizerSettings(), GoalPlannerSettings())


def test_all_that_can_be_said():
    asked = parse_prescription(WHOLE)
    assert (asked.name, asked.series, asked.structure_set) == ("Left lung", "planning CT", "RS.dcm")
    assert (asked.dose_grid_mm, asked.isocenter_mm) == ((3.0, 3.0, 5.0), (1.0, -2.0, 3.5))
    assert (asked.beamlet_spacing_mm, asked.beamlet_margin_mm, asked.leave_out) == (2.5, 7.0, ("Couch",))
    assert asked.beams[0] == BeamRequest(-30.0, 10.0, 5.0, None, "left")
    (on, kl), (cord, guard), (lung, broad) = asked.terms
    assert (on, cord, lung) == ("PTV", "cord", "lung")
    assert isinstance(kl, KLDivergenceTerm) and isinstance(guard, MaximumDoseTerm)
    assert (kl.weight, kl.direction, kl.dvh.tolist()) == (2.0, "target_calc", [[60, 1], [63, 0]])
    assert (guard.limit_gy, guard.weight) == (45.0, 3000.0)
    np.testing.assert_array_equal(broad.dvh, [(0, 1), (10, 0.4), (30, 0)])
    ways = SequencingSettings(
        method="sliding-window",
        levels=15,
        avoid_tongue_and_groove=True,
        minimum_area_mm2=100.0,
        maximum_apertures=12,
        share_wide_leaves=True,
    )
    reference = ReferenceField(field_mm=200.0, depth_mm=50.0, ssd_mm=1000.0, gy_per_mu=0.008)
    assert asked.machine == MachineRequest("agility", "LINAC1", 2.0, 0.5, 10.0, 600.0, ways, reference)
    assert asked.optimizer == OptimizerSettings(
        kl_direction="target_calc",
        number_of_levels=3,
        grid_of_level=(0, 0, 1),
        cg_tolerance=(1e-3, 1e-2, 1e-2),
        slope_variance=False,
    )
    assert asked.planner == GoalPlannerSettings(rounds=4)


def test_apertures_may_be_refined():
    asked = parse_prescription(
        changed("energy_mv = 10", "energy_mv = 10\nrefine = true\n[apertures]\nmax_segments = 40\nlevels = 9").replace(
            "dose_rate_mu_per_min = 600\n", ""
        )
    )
    assert asked.machine.refinement == ApertureSettings(max_segments=40, levels=9)
    assert asked.machine.refine is True
    assert parse_prescription(WHOLE).machine.refine is None
    assert parse_prescription(WHOLE).machine.refinement is False
    assert json.loads(json.dumps(asked.settings()))["machine"]["apertures"]["max_segments"] == 40
    with pytest.raises(PrescriptionFileError, match=r"apertures, max_segments: this is 0; it must be a whole number"):
        parse_prescription(SMALLEST + "[apertures]\nmax_segments = 0\n")


def test_a_beam_may_have_its_own_isocenter() -> None:
    own = parse_prescription(changed('name = "left"', 'name = "left"\nisocenter_mm = [4, 5, -6.5]'))
    assert [beam.isocenter_mm for beam in own.beams] == [(4.0, 5.0, -6.5), None]
    assert own.settings()["beams"][0]["isocenter_mm"] == (4.0, 5.0, -6.5)


def test_every_kind_of_term():
    kinds = {
        "kl": ("dose_range = [50, 52]\nvolume_fraction = 0.9", KLDivergenceTerm((50, 52), volume_fraction=0.9)),
        "maximum-dose": ("limit_gy = 3", MaximumDoseTerm(3)),
        "minimum-dose": ("limit_gy = 3\nweight = 7", MinimumDoseTerm(3, weight=7)),
        "mean-dose": ("limit_gy = 0", MeanDoseTerm(0)),
        "squared-deviation": ("dose_gy = 50", SquaredDeviationTerm(50)),
        "eud": ("limit_gy = 20\na = -8\nminimum = true", EUDTerm(20, -8, minimum=True)),
        "dvh-limit": ("dose_gy = 20\nvolume = 0.3", DVHLimitTerm(20, 0.3)),
        "homogeneity": ("weight = 2", HomogeneityTerm(weight=2)),
    }
    tables = [f'[[terms]]\nstructure = "PTV"\nkind = "{kind}"\n{said}\n' for kind, (said, _) in kinds.items()]
    asked = parse_prescription(SMALLEST + "".join(tables))
    for (on, term), (_, meant) in zip(asked.terms, kinds.values(), strict=True):
        assert on == "PTV"
        assert type(term) is type(meant)
        assert {k: v for k, v in vars(term).items() if k != "_points"} == {
            k: v for k, v in vars(meant).items() if k != "_points"
        }


def test_settings_are_plain_and_whole():
    settings = json.loads(json.dumps(parse_prescription(WHOLE).settings()))
    assert settings["machine"]["sequencing"]["levels"] == 15
    assert settings["machine"]["reference"]["gy_per_mu"] == 0.008
    assert settings["optimizer"]["kl_floor"] == OptimizerSettings().kl_floor
    assert settings["beams"][0]["name"] == "left"
    assert settings["goals"] == ["lung V20 <= 30 %"]
    assert settings["terms"][1] == "cord: MaximumDoseTerm(45, weight=3000)"


def changed(old: str, new: str, text: str = WHOLE) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            changed("fractions = 30", "fractions = 0"),
            "line 3: plan, fractions: this is 0; it must be a whole number, from 1",
        ),
        (changed("fractions = 30", "fractions = 2.5"), "line 3: plan, fractions: 2.5 is a number; it must be a whole"),
        (changed("fractions = 30", f"fractions = 1{400 * '0'}"), "line 3: plan, fractions: this is inf; it must be a"),
        (
            changed('"LINAC1"', '"Linac of the cellar"'),
            "line 41: machine, name: 'Linac of the cellar' has 19 letters; DICOM has room for 16",
        ),
        (changed("weight = 2", f"weight = 1{400 * '0'}"), "line 29: terms 1, weight: this is inf; it must be a number"),
        (changed("fractions = 30", "fractions = true"), "line 3: plan, fractions: True is true or false; it must be"),
        (changed("fractions = 30\n", ""), "line 1: plan: fractions is missing"),
        (
            changed('name = "Left lung"', "nmae = 'x'"),
            "line 2: plan, nmae: there is no such key; there are name, fractions",
        ),
        (changed('name = "Left lung"', "nmae = 'x'"), "do you mean name?"),
        (changed("[plan]", "[paln]"), "line 1: paln: there is no such key; there are plan, input, beamlets, beams"),
        (
            changed("3.0, 3, 5]", "3.0, 3]"),
            "line 4: plan, dose_grid_mm: a list of 2; it must be a number of mm, or three",
        ),
        (changed("[1, -2, 3.5]", "[1, nan, 3]"), "line 5: plan, isocenter_mm: this is nan; it must be a number of mm"),
        (
            changed('name = "left"', 'name = "left"\nisocenter_mm = [1, 2]'),
            "line 18: beams 1, isocenter_mm: a list of 2; it must be three numbers",
        ),
        (changed('["Couch"]', '"Couch"'), "line 6: plan, leave_out: 'Couch' is text; it must be a list of texts"),
        (
            changed("spacing_mm = 2.5", "spacing_mm = '5'"),
            "line 11: beamlets, spacing_mm: '5' is text; it must be a number",
        ),
        (
            changed("gantry_angle = 180.0", "gantry_angle = 400"),
            "line 19: beams 2, gantry_angle: this is 400; it must be a number of degrees, from -360 to 360",
        ),
        (changed("gantry_angle = 180.0", "name = 'AP'"), "line 18: beams 2: gantry_angle is missing"),
        (
            changed("dose_gy = 60", "dose_gy = -1"),
            "line 22: targets 1, dose_gy: this is -1; it must be a number of Gy over all fractions, above 0",
        ),
        (
            changed("[prescription]", '[[targets]]\nstructure = "PTV"\ndose_gy = 3\n[prescription]'),
            "line 24: targets 2, structure: 'PTV' is a target already",
        ),
        (
            changed("V20Gy <=", "V20Gy is"),
            "line 24: prescription, goals 1: goal 'lung V20Gy is 30 %' is not understood",
        ),
        (changed('["lung V20Gy <= 30 %"]', '["PTV D95 >= 5",\n\n 7]'), "line 26: prescription, goals 2: 7 is a number"),
        (changed('"maximum-dose"', '"max"'), "line 33: terms 2, kind: this is 'max'; it may be 'kl', 'maximum-dose', "),
        (changed("limit_gy = 45\n", ""), "line 31: terms 2: limit_gy is missing"),
        (
            changed("limit_gy = 45", "limit_gy = 45\ndirection = 'x'"),
            "line 35: terms 2, direction: there is no such key",
        ),
        (changed("[60, 63]", "[63, 60]"), "line 25: terms 1: the dose range (63, 60) Gy is empty or negative"),
        (changed("0.4]", "1.4]"), "line 35: terms 3: a target DVH must fall: volume share 1.4 at 10 Gy follows 1"),
        (
            changed("[10, 0.4]", "[10]"),
            "line 38: terms 3, dvh: a list of 1; it must be a pair [dose in Gy, volume share]",
        ),
        (
            changed('"agility"', '"agile"'),
            "line 40: machine, mlc: this is 'agile'; it may be 'millennium-120', 'hd-120', ",
        ),
        (
            changed("levels = 15", "levels = 1"),
            "line 42: machine, levels: this is 1; it must be a whole number, from 2",
        ),
        (changed('"sliding-window"', '"sliding"'), "line 43: machine, method: this is 'sliding'; it may be 'engel', "),
        (
            changed("wide_leaves = true", "wide_leaves = 1"),
            "line 49: machine, share_wide_leaves: 1 is a number; it must be true",
        ),
        (
            changed("field_mm = 200", "field_mm = 0"),
            "line 54: calibration, field_mm: this is 0; it must be a number of mm, above 0",
        ),
        (changed("ssd_mm = 1000", "ssd_mm = 1001"), "line 52: calibration: the water surface at 1001 mm lies beyond"),
        (
            changed("number_of_levels = 3", "number_of_levels = 9"),
            "line 59: optimizer, number_of_levels: number_of_levels is 9",
        ),
        (changed("[0, 0, 1]", "[0, 0.5, 1]"), "line 60: optimizer, grid_of_level: 0.5 is a number; it must be a whole"),
        (changed("rounds = 4", "rounds = 0"), "line 64: planner, rounds: rounds is 0; it must be at least 1"),
        (
            changed('[prescription]\ngoals = ["PTV D95 >= 50 Gy"]\n', "", SMALLEST),
            "prescription: there are neither goals nor [[terms]]",
        ),
        (
            changed("[[beams]]\ngantry_angle = 0\n", "", SMALLEST),
            "beams: there are none; add one with the head [[beams]]",
        ),
        (changed("[[beams]]", "[beams]", SMALLEST), "line 3: beams: this is a table; it must be an array of tables"),
        (
            "beams = [3]\n" + changed("[[beams]]\ngantry_angle = 0\n", "", SMALLEST),
            "line 1: beams 1: 3 is a number; it must be a table",
        ),
        (
            changed("fractions = 25", "fractions = ", SMALLEST),
            "x.toml, line 2: this is not valid TOML: Invalid value in column",
        ),
        ("[plan]\nfractions = [", "x.toml, line 2: this is not valid TOML: Invalid value at the end"),
    ],
)
def test_errors_name_line_key_and_what_is_allowed(text, complaint):
    with pytest.raises(PrescriptionFileError, match=re.escape(complaint)) as caught:
        parse_prescription(text, "x.toml")
    assert all(line.startswith("x.toml") for line in str(caught.value).splitlines())


def test_all_problems_are_told_at_once_in_their_order():
    text = changed("gantry_angle = 0", "gantry_angle = 'left'", SMALLEST).replace("25", "'many'") + "goal = 3\n"
    with pytest.raises(PrescriptionFileError) as caught:
        parse_prescription(text, "x.toml")
    lines = [re.match(r"x\.toml, line (\d+)", line)[1] for line in str(caught.value).splitlines()]
    assert lines == ["2", "4", "10"]


def test_files_are_read_with_mark_and_line_ends_of_windows(tmp_path):
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert read_prescription(path).targets == {"PTV": 50.0}
    path.write_bytes(SMALLEST.replace("\n", "\r\n").replace("= 50\r", "= 'x'\r").encode())
    with pytest.raises(PrescriptionFileError, match=re.escape(f"{path}, line 7: targets 1, dose_gy: 'x' is text")):
        read_prescription(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(PrescriptionFileError, match="this is not text in UTF-8: invalid start byte at byte 8"):
        read_prescription(path)
    with pytest.raises(FileNotFoundError):
        read_prescription(tmp_path / "none.toml")


def structures(*names: str) -> StructureSet:
    return StructureSet([Structure(name, np.ones((2, 2, 2))) for name in names], {"Marker": "it has no outlines"})


def test_names_are_spelled_as_in_the_structure_set():
    asked = parse_prescription(WHOLE).for_structures(structures("ptv", "Lung", "Cord", "COUCH"))
    assert asked.targets == {"ptv": 60.0}
    assert [goal.structure for goal in asked.goals] == ["Lung"]
    assert [name for name, _ in asked.terms] == ["ptv", "Cord", "Lung"]
    assert asked.leave_out == ("COUCH",)


def test_percent_are_of_the_targets_doses():
    text = changed('["PTV D95 >= 50 Gy"]', '["ptv D95 >= 95 %", "lung Dmax <= 80 %"]', SMALLEST)
    asked = parse_prescription(text).for_structures(structures("PTV", "Lung"))
    dose = asked.targets["PTV"]
    assert [goal.value for goal in asked.goals] == [0.95 * dose, 0.8 * dose]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            changed('"cord"', '"Chord"'),
            (
                "line 32: terms 2, structure: there is no structure 'Chord'; there are 'PTV', 'lung', "
                "'cord', 'Couch'; do you mean 'cord'?"
            ),
        ),
        (
            changed('"cord"', '"Marker"'),
            "line 32: terms 2, structure: structure 'Marker' cannot be used: it has no outlines",
        ),
        (
            changed("[prescription]", '[[targets]]\nstructure = "ptv"\ndose_gy = 50\n[prescription]', SMALLEST),
            "line 9: targets 2, structure: 'PTV' is a target already",
        ),
        (changed('["lung V20Gy', '["gland V20Gy'), "line 24: prescription, goals 1: there is no structure 'gland'"),
        (changed('["Couch"]', '["lung"]'), "line 6: plan, leave_out 1: 'lung' is a target or has goals or terms"),
        (
            changed('["PTV D95 >= 50 Gy"]', '["PTV D95 >= 50 Gy",\n"cord D95 >= 3"]', SMALLEST),
            "line 10: prescription, goals 2: 'cord D95 >= 3 Gy' asks for dose in 'cord', which is not a target",
        ),
        (
            changed('["PTV D95 >= 50 Gy"]', '["PTV D95 >= 50 Gy",\n"cord LET D2 <= 6"]', SMALLEST),
            (
                "line 10: prescription, goals 2: 'cord LET D2 <= 6 keV/µm': let does not follow from dose; here, goals "
                "are of dose, EQD2, BED or effect"
            ),
        ),
        (
            changed("D95 >= 50", "D95 <= 50", SMALLEST),
            (
                "line 6: targets 1, structure: nothing asks for dose in the target 'PTV'; "
                "add a goal for its lowest dose, such as 'PTV D95 >= 50 Gy'"
            ),
        ),
        (
            changed('structure = "PTV"\nkind = "kl"', 'structure = "cord"\nkind = "kl"'),
            (
                "line 21: targets 1, structure: nothing asks "
                "for dose in the target 'PTV'; add a term of kind \"kl\", such as dose_range = [60, 63]"
            ),
        ),
    ],
)
def test_structures_that_do_not_fit_are_named(text, complaint):
    with pytest.raises(PrescriptionFileError, match=re.escape(complaint)):
        parse_prescription(text, "x.toml").for_structures(structures("PTV", "lung", "cord", "Couch"))
