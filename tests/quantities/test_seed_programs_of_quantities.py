"""The specification's programs run as they were written, but for the name of the package, and the dij they take."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import opentps_brimstone as pb
from opentps_brimstone.quantities import QUANTITIES, FluenceDependentQuantity

TEXT = (Path(__file__).parent / "seed_programs.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"### (.+?)\n```python\n(.*?)```", TEXT, re.DOTALL))


def run(name, **variables):
    exec(PROGRAMS[name].replace("pyRadPlan", "opentps_brimstone"), variables)
    return variables


def test_objectives_take_a_quantity():
    objective = run("Objectives")["obj"]
    assert isinstance(objective, pb.ObjectiveTerm)
    assert (objective.weight, objective.d_ref, objective.quantity) == (1000.0, 60.0, "rbe_x_dose")


def test_the_resolver_gives_both_doses():
    dij = SimpleNamespace(
        physical_dose=np.array([[1.0, 0.5], [0.4, 0.8]]),
        alpha_dose=np.array([[0.5, 0.1], [0.2, 0.4]]),
        sqrt_beta_dose=np.array([[0.2, 0.05], [0.1, 0.15]]),
        alphax=np.array([0.1, 0.2]),
        betax=np.array([0.05, 0.02]),
    )
    found = run("Resolver", dij=dij, fluence=np.array([2.0, 3.0]))
    np.testing.assert_allclose(found["dose"], [3.5, 3.2])
    np.testing.assert_allclose(found["rbe_dose"], [4.74891294, 6.23053872], rtol=1e-8)


def test_the_quantities_of_the_specification_are_there():
    named = {
        "physical_dose": "PhysicalDose",
        "let": "LET",
        "let_dose": "LETDose",
        "alpha_dose": "AlphaDose",
        "sqrt_beta_dose": "SqrtBetaDose",
        "effect": "Effect",
        "rbe_x_dose": "RBExDose",
    }
    for identifier, name in named.items():
        assert QUANTITIES[identifier].__name__ == name
        assert issubclass(QUANTITIES[identifier], FluenceDependentQuantity)
