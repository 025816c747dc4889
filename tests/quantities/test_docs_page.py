"""The page about quantities says what the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from opentps_brimstone.quantities import ALPHA_BETA, QUANTITIES

PAGE = (Path(__file__).parents[2] / "docs" / "quantities.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("tissue", sorted(ALPHA_BETA))
def test_values_of_tissues_are_those_of_the_page(tissue):
    published = ALPHA_BETA[tissue]
    interval = "" if published.interval_gy is None else "{:g} to {:g}".format(*published.interval_gy)
    cells = (tissue, f"{published.value_gy:g}", interval, published.endpoint, published.source)
    assert f"| {' | '.join(cells)} |".replace("  ", " ") in PAGE


@pytest.mark.parametrize("identifier", sorted(QUANTITIES))
def test_every_quantity_is_on_the_page(identifier):
    assert f"\n| `{identifier}` | " in PAGE
