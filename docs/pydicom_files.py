"""Page of the docs: what the readers make of every file that pydicom brings for its tests.

    python docs/pydicom_files.py

writes docs/pydicom_files.md. Each file is read by itself, by the reader for its kind of object.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pydicom

from opentps_brimstone import Series, dose_from_dataset
from opentps_brimstone._util.errors import BrimstoneError
from opentps_brimstone.dicom import read_rt_plan
from opentps_brimstone.dicom.files import read_file
from opentps_brimstone.dicom.header import ION_PLAN_CLASS, RT_DOSE_CLASS, RT_PLAN_CLASS

PAGE = Path(__file__).with_suffix(".md")
FILES = Path(pydicom.__file__).parent / "data"
_FOLDERS = ("test_files", "charset_files")

_HEAD = """# pydicom's files

pydicom brings files for its own tests that hardly any system writes: without preamble, truncated, in every encoding and
compression. Each is read here by itself, with pydicom {version}, and so is each folder: as a CT, or by the reader of
its kind. Whatever is not read is refused by name; nothing else happens. `python docs/pydicom_files.py` writes this
page, and a test checks it.

"""


class Outcome(NamedTuple):
    """A file, the kind of object it holds, and what came of it."""

    name: str
    kind: str
    outcome: str


def outcomes() -> Iterator[Outcome]:
    """Read all of pydicom's files."""
    for folder in _FOLDERS:
        for path in sorted((FILES / folder).rglob("*")):
            if path.is_file():
                yield _outcome(path)
            elif any(each.is_file() for each in path.iterdir()):
                yield Outcome(_name(path), "folder", _series_of(path))


def _outcome(path: Path) -> Outcome:
    name = _name(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            dataset = read_file(path)
            kind = "" if dataset is None else _kind(dataset)
            return Outcome(name, kind, _read(path, str(dataset.get("SOPClassUID", "")) if dataset else ""))
        except (BrimstoneError, ValueError) as error:
            return Outcome(name, "", f"refused: {_plain(error, path)}")


def _name(path: Path) -> str:
    return path.relative_to(FILES).as_posix()


def _series_of(folder: Path) -> str:
    """Read a folder without its subfolders as a series."""
    with tempfile.TemporaryDirectory() as copy, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for path in folder.iterdir():
            if path.is_file():
                shutil.copy(path, copy)
        try:
            series = Series.from_dicom(copy)
        except (BrimstoneError, ValueError) as error:
            return f"refused: {_plain(error, folder)}"
    return f"read: CT of {' x '.join(map(str, series.grid.shape))} voxels"


def _kind(dataset: pydicom.Dataset) -> str:
    try:
        return pydicom.uid.UID(str(dataset.get("SOPClassUID", ""))).name
    except ValueError:
        return ""


def _read(path: Path, sop_class: str) -> str:
    try:
        if sop_class in (RT_PLAN_CLASS, ION_PLAN_CLASS):
            return f"read: {len(read_rt_plan(path).beams)} beams"
        if sop_class == RT_DOSE_CLASS:
            return f"read: dose of {' x '.join(map(str, dose_from_dataset(path).shape))} voxels"
        return _read_alone(path)
    except (BrimstoneError, ValueError) as error:
        return f"refused: {_plain(error, path)}"


def _read_alone(path: Path) -> str:
    """Read a folder that has this file alone; a structure set gets no CT."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, folder)
        series = Series.from_dicom(folder)
    return f"read: CT of {' x '.join(map(str, series.grid.shape))} voxels"


def _plain(error: Exception, path: Path) -> str:
    """Message of an error without the places of files."""
    text = re.sub(rf"\S*{re.escape(path.name)}", path.name, str(error))
    text = re.sub(r"\S*/tmp\w*", "the folder", text)
    return " ".join(text.split()).replace("|", r"\|")


def page() -> str:
    """Write the page; files with the same outcome share a row."""
    rows: dict[tuple[str, str], list[str]] = {}
    count: Counter[str] = Counter()
    for each in outcomes():
        text = each.outcome.replace(Path(each.name).name, "the file")
        rows.setdefault((each.kind or "not DICOM, or damaged", text), []).append(each.name)
        count[text.split(":")[0]] += 1
    lines = [
        f"Read: {count['read']}. Refused: {count['refused']}.\n",
        "| kind | outcome | files |",
        "| --- | --- | --- |",
    ]
    for (kind, text), names in sorted(rows.items()):
        lines.append(f"| {kind} | {text} | {', '.join(f'`{name}`' for name in names)} |")
    return _HEAD.format(version=pydicom.__version__) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
