"""Two readings of one note: the gateway's own, and the judge's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.note import encode
from gateway.simulation.note_reading import settled_ahead

BASE = 1000


def noted(offsets: set[int]) -> str:
    return encode(sum(1 << offset for offset in offsets), BASE, "cluster", b"key")


@given(st.sets(st.integers(0, 3000), max_size=60))
def test_the_judge_reads_what_the_gateway_writes(offsets: set[int]) -> None:
    expected = {BASE + offset for offset in offsets}
    assert settled_ahead(noted(offsets), BASE) == expected


@given(st.integers(0, 2000), st.integers(1, 5000))
def test_long_runs_and_bitsets_alike(first: int, length: int) -> None:
    run = set(range(first, first + length))
    assert settled_ahead(noted(run), BASE) == {BASE + offset for offset in run}
    odd = set(range(first, first + length, 2))
    assert settled_ahead(noted(odd), BASE) == {BASE + offset for offset in odd}


def test_a_note_for_another_offset_says_nothing() -> None:
    assert settled_ahead(noted({1, 2}), BASE + 1) == frozenset()


@given(st.text(max_size=60))
def test_what_is_no_note_says_nothing_and_raises_nothing(text: str) -> None:
    assert settled_ahead(text, BASE) == frozenset()
    assert settled_ahead(f"1 c {BASE} r {text}", BASE) == frozenset()
    settled_ahead(f"1 c {BASE} b {text.replace(' ', '')} x", BASE)
