from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_case import BEAMLET_MM, small_phantom

import opentps_brimstone
from opentps_brimstone._util.run_options import RunOptions
from opentps_brimstone.cli import main
from opentps_brimstone.cli.cache import readable_size
from opentps_brimstone.engine.compute import EngineError
from opentps_brimstone.phantoms import PHANTOMS
from opentps_brimstone.sequencing import ApertureSettings, SequencingSettings
from opentps_brimstone.workflow.phantom_case import PhantomSettings


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(folder))
    return folder


@pytest.fixture
def asked(monkeypatch):
    """Arguments run_demo got, instead of a demo."""
    calls = []

    def run_demo(*arguments):
        calls.append(arguments)
        logging.getLogger("opentps_brimstone.workflow").info("a message")
        logging.getLogger("opentps_brimstone.workflow").debug("a detail")
        return SimpleNamespace(passed=True, folder="there", summary=lambda: "the tables")

    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.run_demo", run_demo)
    return calls


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"opentps-brimstone {opentps_brimstone.__version__}\n"


def test_help_lists_commands_and_exit_codes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("demo", "info", "cache", "130", "not a medical device"):
        assert word in text


def test_demo_defaults(asked, capsys):
    assert main(["demo"]) == 0
    assert asked == [("c-shape", None, PhantomSettings(), RunOptions())]
    assert PhantomSettings().sequencing.levels == 15
    assert capsys.readouterr().out == "a message\n\nthe tables\n\nWritten to there\n"


def test_demo_options_are_handed_on(asked, capsys):
    arguments = "demo --case c-shape --out there --grid 3 --beamlet 2.5 --threads 2 --no-cache --quiet"
    assert main([*arguments.split(), "--mlc", "agility", "--levels", "7"]) == 0
    assert main([*arguments.split(), "--fluence-only", "--levels", "7"]) == 0
    options = RunOptions(threads=2, cache=False)
    settings = PhantomSettings(3.0, 2.5, "agility", SequencingSettings(levels=7))
    assert asked == [
        ("c-shape", "there", settings, options),
        ("c-shape", "there", replace(settings, mlc=None), options),
    ]
    assert capsys.readouterr() == ("", "")


def test_apertures_are_handed_on(asked, capsys):
    assert main(["demo", "--refine", "--max-segments", "50"]) == 0
    assert main(["demo", "--no-refine"]) == 0
    assert [settings.refine for _, _, settings, _ in asked] == [True, False]
    assert asked[0][2].apertures == ApertureSettings(max_segments=50)
    assert main(["demo", "--max-segments", "0"]) == 2
    assert "0 is less than 1" in capsys.readouterr().err


def test_engine_and_check_are_handed_on(asked, capsys):
    assert main(["demo", "--engine", "opentps", "--verify", "none"]) == 0
    assert asked[0][2] == PhantomSettings(engine="opentps", verify="none")
    assert PhantomSettings().engine == "native"
    assert PhantomSettings().verify == "auto"
    assert main(["demo", "--verify", "half"]) == 2
    assert main(["demo", "--fluence-only", "--scatter", "full"]) == 0
    assert asked[-1][2] == PhantomSettings(mlc=None, scatter="full")
    assert main(["demo", "--beam-model", "Kernels_6MV"]) == 0
    assert asked[-1][2] == PhantomSettings(beam_model="Kernels_6MV")
    assert main(["demo", "--scatter", "some"]) == 2
    assert "invalid choice: 'half'" in capsys.readouterr().err


def test_bars_are_for_terminals(asked, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    main(["demo"])
    main(["demo", "--quiet"])
    assert [options.progress for *_, options in asked] == [True, False]


# ------------------------------------------------------------------------------------------------------------ messages


@pytest.mark.parametrize("arguments", [["demo", "--verbose"], ["--verbose", "demo"], ["demo", "--debug"]])
def test_verbose_dates_messages_and_shows_details(arguments, asked, capsys):
    assert main(arguments) == 0
    message, detail = capsys.readouterr().out.splitlines()[:2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:,]+ INFO opentps_brimstone\.workflow: a message", message)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:,]+ DEBUG opentps_brimstone\.workflow: a detail", detail)


def test_opentps_own_handler_does_not_repeat_messages(asked, capsys, monkeypatch):
    """OpenTPS configures the root logger at level INFO to standard output when it is imported."""
    root, own = logging.getLogger(), logging.getLogger("opentps_brimstone")
    before = (own.handlers[:], own.level, own.propagate)
    monkeypatch.setattr(root, "handlers", [*root.handlers, logging.StreamHandler(sys.stdout)])
    monkeypatch.setattr(root, "level", logging.INFO)
    assert main(["demo"]) == 0
    assert capsys.readouterr().out.count("a message") == 1
    assert (own.handlers, own.level, own.propagate) == before
    own.info("in a notebook")
    assert capsys.readouterr().out.count("in a notebook") == 1


def test_quiet_and_verbose_exclude_each_other(capsys):
    assert main(["demo", "--quiet", "--verbose"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["demo", "--debug"], ["--debug", "demo"]])
def test_debug_shows_tracebacks_of_own_errors(arguments, monkeypatch, capsys):
    def fail(*_, **__):
        raise EngineError("the dose engine is missing")

    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.run_demo", fail)
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "opentps-brimstone: the dose engine is missing"


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "required: <command>"),
        ("plane", "invalid choice: 'plane'"),
        ("plan there --out here", "the following arguments are required: --prescription"),
        ("plan there --prescription none.toml --out here --threads 0", "0 is less than 1"),
        ("demo --case nothing", "invalid choice: 'nothing'"),
        ("demo --grid 0", "0 mm is not positive"),
        ("demo --grid nan", "nan mm is not positive"),
        ("demo --beamlet wide", "'wide' is not a number of mm"),
        ("demo --threads 0", "0 is less than 1"),
        ("demo --threads 1.5", "'1.5' is not a whole number"),
        ("demo --mlc varian", "invalid choice: 'varian'"),
        ("demo --levels 0", "0 is less than 1"),
        ("demo --levels 1", "opentps-brimstone: "),
        ("demo --beamlet 7 --grid 12", "no rows of 7 mm lie on the leaves of Varian Millennium 120"),
        ("demo --grid 60", "opentps-brimstone: the grid spacing is 60 mm; TG-119 C-shape needs 22 mm or finer"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_clear_line(arguments, complaint, capsys):
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EngineError("the dose engine is missing"), 1, "opentps-brimstone: the dose engine is missing"),
        (FileNotFoundError("no such folder"), 1, "opentps-brimstone: no such folder"),
        (ValueError("the mask is empty"), 2, "opentps-brimstone: the mask is empty"),
        (KeyboardInterrupt(), 130, "interrupted; nothing unfinished was written"),
    ],
)
def test_failures_are_one_line_and_a_code(error, code, line, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.run_demo", fail)
    assert main(["demo"]) == code
    assert capsys.readouterr().err == line + "\n"


def test_bugs_are_not_hidden(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.run_demo", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["demo"])


def test_a_missed_goal_ends_with_3(monkeypatch):
    result = SimpleNamespace(passed=False, folder="there", summary=str)
    monkeypatch.setattr("opentps_brimstone.workflow.phantom_case.run_demo", lambda *_, **__: result)
    assert main(["demo", "--quiet"]) == 3


def test_a_real_demo(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(PHANTOMS, "small", small_phantom)
    out = tmp_path / "out"
    arguments = ["demo", "--case", "small", "--grid", "10", "--beamlet", str(BEAMLET_MM), "--out", str(out)]
    arguments.append("--fluence-only")
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].startswith("Small cylinder: 5 fields")
    assert lines[-1] == f"Written to {out}"
    assert any(line.split()[:2] == ["Tumor", "D90"] and line.endswith("yes") for line in lines)
    said = captured.out.lower().replace("opentps-brimstone", "").replace("opentps's program", "")
    assert "opentps" not in said
    assert any(line.startswith("OpenTPS's program agrees: in full, ") for line in lines)
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_info(capsys, own_cache):
    assert main(["info"]) == 0
    captured = capsys.readouterr()
    facts = dict(line.split(":", 1) for line in captured.out.splitlines())
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["opentps-brimstone"] == opentps_brimstone.__version__
    assert facts["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert int(facts["optimizer threads"]) >= 1
    assert int(facts["processors"]) <= (os.cpu_count() or 1)
    assert facts["dose engine"].endswith("CCC_DoseEngine")
    assert facts["engine state"].startswith("runs")
    assert facts["beamlet cache"].startswith(str(own_cache))
    assert facts["cache entries"] == "0"
    assert captured.err == ""


def test_info_says_what_is_wrong_with_the_engine(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("OPENTPS_BRIMSTONE_ENGINE", str(tmp_path / "missing"))
    assert main(["info"]) == 1
    assert "does not run: " in capsys.readouterr().out


def test_cache_is_shown_and_cleared(capsys):
    import numpy as np

    from opentps_brimstone.engine.cache import BeamletCache

    cache = BeamletCache()
    cache.put("0" * 64, {"values": np.zeros(300_000)}, {"content": "test"})
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert str(cache.directory) in shown and "2.3 MiB of at most 20.0 GiB" in shown
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out == f"removed 2.3 MiB from {cache.directory}\n"
    assert cache.entries == []
    assert main(["cache", "--clear"]) == 0
    assert "removed 0 bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 * 2**30, "5.0 GiB")]
)
def test_sizes_are_readable(n_bytes, text):
    assert readable_size(n_bytes) == text


@pytest.mark.parametrize("argument", ["--version", "--help", "cache"])
def test_heavy_packages_wait_until_they_are_used(argument):
    code = (
        f"import sys; from opentps_brimstone.cli import main; main(['{argument}']); "
        "sys.exit(bool({'opentps', 'matplotlib', 'scipy.optimize'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
