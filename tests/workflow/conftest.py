"""A cache of beamlets for each module of these tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache_folder, monkeypatch):
    monkeypatch.setenv("OPENTPS_BRIMSTONE_CACHE", str(cache_folder))
