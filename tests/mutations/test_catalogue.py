"""The catalogue of mutations fits the code that it changes."""

from __future__ import annotations

import ast

import pytest

from tests.mutations.catalogue import MUTATIONS, Mutation
from tests.mutations.planting import mutated


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_each_mutation_still_fits_and_is_a_program(mutation: Mutation) -> None:
    for file in mutation.files():
        ast.parse(mutated(mutation, file))


def test_twenty_mutations_or_more_are_left_to_the_simulation() -> None:
    assert sum(mutation.found_by is None for mutation in MUTATIONS.values()) >= 20
