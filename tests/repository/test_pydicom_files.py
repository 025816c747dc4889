"""All of pydicom's own files are read or refused by name, as the docs have it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pydicom
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_the_docs_list_the_outcome_of_every_file() -> None:
    spec = importlib.util.spec_from_file_location("pydicom_files", DOCS / "pydicom_files.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    page = program.page()  # any other exception than a refusal ends it
    listed = set(re.findall(r"`((?:test|charset)_files/[^`]*)`", page))
    assert {path for path in listed if path.endswith("rtplan.dcm")}
    every = {
        path.relative_to(program.FILES).as_posix()
        for folder in ("test_files", "charset_files")
        for path in (program.FILES / folder).rglob("*")
        if path.is_file()
    }
    assert every <= listed
    written = (DOCS / "pydicom_files.md").read_text(encoding="utf-8")
    if f"pydicom {pydicom.__version__}," in written:
        assert page == written
