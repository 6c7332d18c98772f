"""Each bug that others shipped has a test, and each test a mutation that it must find."""

from __future__ import annotations

from tests.mutations.shipped_bugs import SHIPPED_BUGS
from tests.regressions import test_shipped_bugs as regressions


def test_every_regression_test_has_a_mutation_and_every_mutation_its_test() -> None:
    named = {bug.test.partition("::")[2] for bug in SHIPPED_BUGS}
    tests = {name for name in vars(regressions) if name.startswith("test_")}
    assert tests == named
