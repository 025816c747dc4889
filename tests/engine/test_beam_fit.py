"""Measured beam data, and beam models fitted to them."""

import dataclasses

import numpy as np
import pytest

from opentps_brimstone.cli import main
from opentps_brimstone.engine import beam_fit
from opentps_brimstone.engine.beam_fit import BeamFit, BeamFitError, Comparison, fit_beam_model, square_field_curves
from opentps_brimstone.engine.beam_model import read_beam_model
from opentps_brimstone.engine.kernel_tables import kernel_spectrum
from opentps_brimstone.engine.measured_beam import BeamDataError, BeamGeometry, read_measured_beam
from opentps_brimstone.workflow.beam_model_file import fit_beam_model_file

START = read_beam_model("Kernels_6MV")
HEADER = "curve,field_mm,ssd_mm,depth_mm,x_mm,value\n"
DEPTHS = np.array([15.0, 25.0, 50.0, 75.0, 100.0, 150.0, 200.0])


def depth_dose(values=None, depths=DEPTHS, field=100):
    values = 100 * np.exp(-0.005 * depths) if values is None else values
    return "".join(f"depth_dose,{field},900,{d:g},,{v:.8g}\n" for d, v in zip(depths, values, strict=True))


def write(folder, *parts):
    path = folder / "measured.csv"
    path.write_text(HEADER + "".join(parts))
    return path


# ------------------------------------------------------------------------------------------------- files


def test_doses_are_relative_to_the_reference(tmp_path):
    profile = "".join(f"profile,100,900,100,{x},{v}\n" for x, v in ((60, 2), (-60, 3), (0, 50), (30, 48), (-30, 49)))
    outputs = "output,100,,,,2.0\noutput,40,900,100,0,1.8\n"
    measured = read_measured_beam(write(tmp_path, depth_dose(), profile, outputs, "\n"), START.output)
    (falling,), (across,) = measured.depth_doses, measured.profiles
    assert falling.value[DEPTHS == 100] == pytest.approx([1.0])
    assert (across.position_mm.tolist(), across.value.tolist()) == ([-60, -30, 0, 30, 60], [0.06, 0.98, 1, 0.96, 0.04])
    assert measured.outputs == {100.0: 1.0, 40.0: 0.9}
    assert str(across) == "profile of the 10 cm field, SSD 90 cm, 10 cm deep"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "has no depth dose"),
        ([depth_dose(depths=DEPTHS[:4])], "reaches from 15 to 75 mm, and lacks the depth of reference, 100 mm"),
        ([depth_dose(np.array([90, 100, 80, 81, 60, 50, 40]))], "does not fall from 50 mm on"),
        ([depth_dose(DEPTHS)], "does not fall from 150 mm on"),
        ([depth_dose(depths=DEPTHS[3:6])], "has 3 points; 4 are needed"),
        ([depth_dose(), "depth_dose,100,900,50,,70\n"], "two values at 50 mm"),
        ([depth_dose(), "depth_dose,100,900,60,,-1\n"], "line 9: the value is -1; doses must be positive"),
        ([depth_dose(), "depth_dose,100,900,60,,\n"], "line 9: value is missing; a depth_dose needs it"),
        ([depth_dose(), "depth_dose,100,900,60,20,1\n"], "x_mm of a depth_dose is 20; it must be 0 or empty"),
        ([depth_dose(), "output,100,1000,,,1\n"], "ssd_mm of a output is 1000; it must be 900 or empty"),
        ([depth_dose(), "output,2,,,,1\n"], "field_mm is 2; it must lie between 5 and 400"),
        ([depth_dose(), "depth_dose,100,1100,60,,1\n"], "ssd_mm is 1100; it must lie between 500"),
        ([depth_dose(), "depth_dose,100,900,600,,1\n"], "depth_mm is 600; it must lie between 0 and 400"),
        ([depth_dose(), "wedge,100,900,60,,1\n"], "curve must be depth_dose, output or profile, not 'wedge'"),
        ([depth_dose(), "output,100,,,,much\n"], "value must be a finite number, not 'much'"),
        ([depth_dose(), "output,100\n"], "there are 2 values, not 6"),
        ([depth_dose(), "output,40,,,,1\n"], "output factors are of fields of 40 mm; that of the reference field, 100"),
        ([depth_dose(), "output,100,,,,1\noutput,100,,,,1\n"], "2 output factors of the 100 mm field"),
        ([depth_dose(), *[f"profile,100,900,100,{x},1\n" for x in (-9, 0, 9, 20)]], "does not fall below 40 %"),
        ([depth_dose(), *[f"profile,100,900,100,{x},1\n" for x in (9, 10, 20, 30)]], "lacks the axis"),
    ],
)
def test_data_that_cannot_be(tmp_path, parts, message):
    with pytest.raises(BeamDataError, match=message):
        read_measured_beam(write(tmp_path, *parts), START.output)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BeamDataError, match="there is no file"):
        read_measured_beam(tmp_path / "none.csv", START.output)
    (tmp_path / "other.csv").write_text("depth;dose\n")
    with pytest.raises(BeamDataError, match="must begin with the line curve,field_mm"):
        read_measured_beam(tmp_path / "other.csv", START.output)


# ------------------------------------------------------------------------------------------------- the fit


def hardened(exponent):
    energies, fluence = kernel_spectrum(START.kernels)
    return tuple((fluence * energies**exponent).tolist())


def measured_of(model, folder):
    """What a model gives, as if it had been measured."""
    axis = square_field_curves(model, BeamGeometry(100.0, 900.0), DEPTHS)
    outputs = {f: square_field_curves(model, BeamGeometry(f, 900.0), [100.0])[0] for f in (40.0, 100.0)}
    lines = [f"output,{field:g},,,,{dose:.8g}\n" for field, dose in outputs.items()]
    tank = beam_fit._Tank(BeamGeometry(40.0, 900.0), 50.0, model, beam_fit._FINE_MM, 50.0)
    x = np.arange(-40.0, 41.0, 2.5)
    across = tank.profile(tank.dose(model, None), 50.0)(x)
    lines += [f"profile,40,900,50,{at:g},{dose:.8g}\n" for at, dose in zip(x, across, strict=True)]
    return write(folder, depth_dose(axis), *lines)


@pytest.mark.slow
def test_a_fit_to_a_known_model_finds_it_again(tmp_path):
    extra = dataclasses.replace(START.extra_focal, share=0.13)
    truth = dataclasses.replace(START, spectrum=hardened(0.35), source_sigma_mm=1.7, extra_focal=extra)
    fit = fit_beam_model(read_measured_beam(measured_of(truth, tmp_path), START.output), START, name="fitted")
    assert fit.misfits()["depth doses"] < 0.005
    assert fit.hardness == pytest.approx(0.35, abs=0.03)
    assert fit.model.source_sigma_mm == pytest.approx(1.7, rel=0.05)
    assert fit.model.extra_focal.share == pytest.approx(0.13, abs=0.01)
    assert fit.model.name == "fitted"
    # What profiles, outputs and depth doses do not tell is kept.
    assert (fit.model.collimator, fit.model.output) == (START.collimator, START.output)


@pytest.mark.slow
def test_a_fit_that_does_not_reach_the_data_says_by_how_much(tmp_path):
    """Doses that fall twice as fast as in any photon beam."""
    steep = write(tmp_path, depth_dose(np.exp(-0.02 * DEPTHS)))
    with pytest.raises(BeamFitError, match=r"misses depth doses by \d+\.\d % \(1 % at most\)"):
        fit_beam_model_file(steep, tmp_path / "beam.toml")
    assert [path.name for path in tmp_path.iterdir()] == ["measured.csv"]


@pytest.fixture
def quick_fit(monkeypatch):
    """A fit that finds what it started from."""

    def fit(measured, start, *, name, threads, progress):
        curves = [
            Comparison(str(curve), kind, curve.position_mm, curve.value, 1.01 * curve.value)
            for kind, those in (("depth doses", measured.depth_doses), ("profiles", measured.profiles))
            for curve in those
        ]
        fields = np.array(sorted(measured.outputs))
        values = np.array([measured.outputs[field] for field in fields])
        curves.append(Comparison("output factors", "output factors", fields, values, values))
        return BeamFit(dataclasses.replace(start, name=name), 0.0, tuple(curves))

    monkeypatch.setattr(beam_fit, "fit_beam_model", fit)


MEASURED = (
    depth_dose(),
    *[f"output,{field},,,,{value}\n" for field, value in ((40, 0.9), (100, 1.0), (200, 1.1))],
    *[f"profile,100,900,100,{x},{value}\n" for x, value in ((-60, 3), (-50, 25), (0, 50), (50, 25), (60, 3))],
)


def test_the_command_writes_a_model_and_a_picture(tmp_path, quick_fit, capsys):
    measured, out = write(tmp_path, *MEASURED), tmp_path / "linac.toml"
    assert main(["beam-model", "fit", str(measured), "--out", str(out)]) == 0
    assert (
        "hardness +0.000, source 0.80 mm, extra-focal share 0.080; misfit: depth doses 1.0 %" in capsys.readouterr().out
    )
    assert read_beam_model(out) == dataclasses.replace(START, name="linac")
    assert (tmp_path / "linac.png").stat().st_size > 10_000


def test_existing_files_are_kept_unless_forced(tmp_path, quick_fit, capsys):
    measured, out = write(tmp_path, *MEASURED), tmp_path / "linac.toml"
    (tmp_path / "linac.png").write_text("mine")
    arguments = ["beam-model", "fit", str(measured), "--out", str(out), "--quiet"]
    assert main(arguments) == 1
    assert "linac.png exists" in capsys.readouterr().err
    assert not out.exists()
    assert main([*arguments, "--force"]) == 0
    assert out.exists()


def test_what_the_command_cannot_do(tmp_path, quick_fit, capsys):
    measured = write(tmp_path, *MEASURED)
    for out, message in (("beam.txt", "a beam model is a TOML file"), ("none/beam.toml", "does not exist")):
        assert main(["beam-model", "fit", str(measured), "--out", str(tmp_path / out)]) in (1, 2)
        assert message in capsys.readouterr().err
    assert main(["beam-model", "fit", str(tmp_path / "none.csv")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["beam-model", "fit", str(measured), "--start", "Kernels_9MV"]) == 2
    assert "no beam model 'Kernels_9MV'" in capsys.readouterr().err
