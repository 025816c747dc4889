"""Beam of a machine as data: kernels and spectrum, source, collimator and output.

A beam model is a TOML file; ``Kernels_6MV`` comes with the package::

    name = "6 MV of machine 2"
    kernels = "Kernels_6MV"       # a folder of OpenTPS, or one of the same form beside the file

    [spectrum]                    # if it is not that of the kernels
    fluence = [0.001, 0.01, ...]  # of each energy of the kernels

    [source]
    sigma_mm = 0.8

    [extra_focal]                 # if there is any
    share = 0.08
    sigma_mm = 13.0
    distance_mm = 125.0

    [collimator]
    distance_mm = 450.0
    leaf_transmission = 0.015
    jaw_transmission = 0.005
    leaf_tip_offset_mm = 0.8
    largest_field_mm = 400.0

    [output]
    gy_per_mu = 0.01
    field_mm = 100.0
    depth_mm = 100.0
    ssd_mm = 900.0
    sad_mm = 1000.0
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone._util.toml_positions import KeyPath, key_lines
from opentps_brimstone.engine.reference_field import ReferenceField

__all__ = [
    "BEAM_MODELS",
    "BeamModel",
    "BeamModelError",
    "Collimator",
    "ExtraFocalSource",
    "beam_model_text",
    "read_beam_model",
]

_FOLDER = Path(__file__).parent / "beam_models"

BEAM_MODELS = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
"""Names of the models that come with the package."""


class BeamModelError(BrimstoneError, ValueError):
    """A beam model is missing, cannot be read, or has values that cannot be."""


@dataclass(frozen=True)
class ExtraFocalSource:
    """Wide source of photons that the head scatters.

    Attributes
    ----------
    share : float
        Of the fluence on the axis of a field that hides none of it.
    sigma_mm : float
        Standard deviation of a Gaussian.
    distance_mm : float
        From the source to its plane.
    """

    share: float
    sigma_mm: float
    distance_mm: float

    def __post_init__(self) -> None:
        _check("the extra-focal share", self.share, 0.0, 0.5)
        _check("the extra-focal sigma_mm", self.sigma_mm, 1.0, 100.0)
        _check("the extra-focal distance_mm", self.distance_mm, 0.0, 900.0)


@dataclass(frozen=True)
class Collimator:
    """Leaves and jaws.

    Attributes
    ----------
    distance_mm : float
        From the source to the middle of leaves and jaws, at which the source casts its penumbra.
    leaf_transmission, jaw_transmission : float
        Shares of the fluence that closed leaves and jaws let through.
    leaf_tip_offset_mm : float
        How far, at the isocenter plane, the field reaches beyond the position of each open leaf's rounded tip.
    largest_field_mm : float
        Side of the square outside of which the primary collimator lets nothing through.
    """

    distance_mm: float
    leaf_transmission: float
    jaw_transmission: float
    leaf_tip_offset_mm: float
    largest_field_mm: float

    def __post_init__(self) -> None:
        _check("the collimator's distance_mm", self.distance_mm, 50.0, 2000.0)
        _check("the collimator's leaf_transmission", self.leaf_transmission, 0.0, 1.0)
        _check("the collimator's jaw_transmission", self.jaw_transmission, 0.0, 1.0)
        _check("the collimator's leaf_tip_offset_mm", self.leaf_tip_offset_mm, 0.0, 10.0)
        _check("the collimator's largest_field_mm", self.largest_field_mm, 10.0, 1000.0)


@dataclass(frozen=True)
class BeamModel:
    """Beam of a machine.

    Attributes
    ----------
    name : str
    kernels : str or Path
        Folder of kernels, as for `read_kernel_tables`.
    source_sigma_mm : float
        Standard deviation of a Gaussian; 0 is a point.
    collimator : Collimator
    output : ReferenceField
        What a MU is.
    spectrum : tuple of float, optional
        Fluence of each energy of the kernels. Default: the kernels' own.
    extra_focal : ExtraFocalSource, optional

    Raises
    ------
    BeamModelError
        If a value cannot be, naming it.

    Examples
    --------
    >>> model = read_beam_model("Kernels_6MV")
    >>> model.collimator.leaf_transmission
    0.015
    >>> print(model)
    beam model 'Kernels_6MV'
    """

    name: str
    kernels: str | Path
    source_sigma_mm: float
    collimator: Collimator
    output: ReferenceField
    spectrum: tuple[float, ...] | None = None
    extra_focal: ExtraFocalSource | None = None

    def __post_init__(self) -> None:
        _check("the source's sigma_mm", self.source_sigma_mm, 0.0, 20.0)
        for index, value in enumerate(self.spectrum or ()):
            _check(f"the fluence of energy {index} in the spectrum", value, 0.0, 1e6)
        if self.spectrum is not None and not sum(self.spectrum) > 0:
            raise BeamModelError("the fluence of the spectrum is 0 at all energies")
        extra, distance = self.extra_focal, self.collimator.distance_mm
        if extra is not None and not extra.distance_mm <= distance - 10.0:
            raise BeamModelError(
                f"the extra-focal distance_mm is {extra.distance_mm:g}; it must be less than the collimator's "
                f"{distance:g} by 10 or more"
            )

    def __str__(self) -> str:
        return f"beam model {self.name!r}"

    def penumbra_sigma_mm(self, sad_mm: float) -> float:
        """Width that the source gives edges of the field.

        Parameters
        ----------
        sad_mm : float
            Source to isocenter.

        Returns
        -------
        float
            Standard deviation in the isocenter plane, by similar triangles.
        """
        distance = self.collimator.distance_mm
        return self.source_sigma_mm * max(sad_mm - distance, 0.0) / distance


def read_beam_model(given: str | Path | BeamModel) -> BeamModel:
    """Read a beam model.

    Parameters
    ----------
    given : str, Path or BeamModel
        Name of one that comes with the package (`BEAM_MODELS`), or a TOML file. A model is returned as it is.

    Returns
    -------
    BeamModel

    Raises
    ------
    BeamModelError
        If there is no such model, the file is not TOML, or a value is missing, unknown or cannot be; with file and
        line.
    """
    if isinstance(given, BeamModel):
        return given
    path = _FOLDER / f"{given}.toml" if str(given) in BEAM_MODELS else Path(given)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BeamModelError(
            f"there is no beam model {str(given)!r}: name a TOML file, or one that comes with the package: "
            f"{', '.join(BEAM_MODELS)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BeamModelError(f"the beam model {path} cannot be read: {error}") from None
    return _parsed(text, path)


def beam_model_text(model: BeamModel) -> str:
    """Write a beam model as TOML.

    Parameters
    ----------
    model : BeamModel

    Returns
    -------
    str
        From which `read_beam_model` makes an equal model, if kernels are a folder of OpenTPS or given in full.
    """
    lines = [f"name = {_quoted(model.name)}", f"kernels = {_quoted(str(model.kernels))}"]
    if model.spectrum is not None:
        lines += ["", "[spectrum]", f"fluence = [{', '.join(f'{value:.6g}' for value in model.spectrum)}]"]
    lines += ["", "[source]", f"sigma_mm = {model.source_sigma_mm!r}"]
    tables = {"extra_focal": model.extra_focal, "collimator": model.collimator, "output": model.output}
    for name, table in tables.items():
        if table is not None:
            lines += ["", f"[{name}]", *(f"{each.name} = {getattr(table, each.name)!r}" for each in fields(table))]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------- values


def _check(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BeamModelError(f"{what} is {value:g}; it must lie between {low:g} and {high:g}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# ------------------------------------------------------------------------------------------------- the file


_TABLES = {
    "spectrum": ("fluence",),
    "source": ("sigma_mm",),
    "extra_focal": tuple(each.name for each in fields(ExtraFocalSource)),
    "collimator": tuple(each.name for each in fields(Collimator)),
    "output": tuple(each.name for each in fields(ReferenceField)),
}
_OPTIONAL = ("spectrum", "extra_focal")


class _File:
    """Tables of a file, and errors that say where in it."""

    def __init__(self, text: str, path: Path) -> None:
        self._path = path
        try:
            self.content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise self.error(f"is not TOML: {error}") from None
        self._lines = key_lines(text)

    def error(self, message: str, key: KeyPath = ()) -> BeamModelError:
        line = f", line {self._lines[key]}" if key and key in self._lines else ""
        return BeamModelError(
            f"the beam model {self._path}{line}: {message}" if key else f"the beam model {self._path} {message}"
        )

    def check_keys(self, found: Mapping[str, Any], known: tuple[str, ...], table: KeyPath) -> None:
        where = f"[{table[0]}]" if table else "the file"
        for key in found:
            if key not in known:
                raise self.error(f"there is no {key!r} in {where}; there are {', '.join(known)}", (*table, key))

    def text(self, key: str) -> str:
        value = self.content.get(key)
        if value is None:
            raise self.error(f"has no {key!r}")
        if not isinstance(value, str) or not value:
            raise self.error(f"{key} must be a text, not {value!r}", (key,))
        return value

    def numbers(self, table: str) -> dict[str, Any] | None:
        """Values of a table: numbers, or lists of them; None if it may be missing and is."""
        found = self.content.get(table)
        if found is None and table in _OPTIONAL:
            return None
        if found is None:
            raise self.error(f"has no table [{table}] with {', '.join(_TABLES[table])}")
        if not isinstance(found, dict):
            raise self.error(f"{table} must be a table, not {found!r}", (table,))
        self.check_keys(found, _TABLES[table], (table,))
        for key in _TABLES[table]:
            if key not in found:
                raise self.error(f"[{table}] has no {key}", (table,))
        return {key: self._number(value, table, key) for key, value in found.items()}

    def _number(self, value: Any, table: str, key: str) -> Any:
        if key == "fluence":
            if isinstance(value, list) and value and all(_is_number(item) for item in value):
                return tuple(float(item) for item in value)
            raise self.error(f"fluence must be a list of finite numbers, not {value!r}", (table, key))
        if not _is_number(value):
            raise self.error(f"{key} must be a finite number, not {value!r}", (table, key))
        return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parsed(text: str, path: Path) -> BeamModel:
    file = _File(text, path)
    file.check_keys(file.content, ("name", "kernels", *_TABLES), ())
    name, kernels = file.text("name"), file.text("kernels")
    beside = path.parent / kernels
    spectrum, source, extra, collimator, output = (file.numbers(table) for table in _TABLES)
    assert source is not None
    assert collimator is not None
    assert output is not None
    try:
        return BeamModel(
            name,
            beside if beside.is_dir() else kernels,
            source["sigma_mm"],
            Collimator(**collimator),
            ReferenceField(**output),
            None if spectrum is None else spectrum["fluence"],
            None if extra is None else ExtraFocalSource(**extra),
        )
    except ValueError as error:
        raise file.error(f"cannot be used: {error}") from None
