from __future__ import annotations

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.note import LONGEST, Run, decode, encode

KEY = b"k" * 32
CLUSTER = "GTHgyM7bSiaNN6bi2u-eSQ"


def bits(offsets: set[int]) -> int:
    return sum(1 << offset for offset in offsets)


def offsets(runs: list[Run], base: int = 0) -> set[int]:
    return {offset - base for run in runs for offset in range(run.start, run.end)}


def told(settled: set[int], base: int = 1000) -> set[int]:
    note = encode(bits(settled), base, CLUSTER, KEY)
    assert len(note.encode()) <= LONGEST
    return offsets(decode(note, base, CLUSTER, KEY), base)


def test_nothing_settled_ahead_is_no_note():
    assert encode(0, 5, CLUSTER, KEY) == ""
    assert decode("", 5, CLUSTER, KEY) == []


@given(st.sets(st.integers(1, 5000), max_size=400))
def test_what_fits_is_told_whole(settled):
    assert told(settled) == settled


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=6000),
    st.integers(0, 2**62),
)
def test_what_does_not_fit_is_forgotten_and_never_invented(pairs, base):
    settled = bytearray()
    for gap, run in pairs[:4000]:
        settled += b"\0" * gap + b"\1" * run
    number = int(settled[::-1].translate(bytes.maketrans(b"\0\1", b"01")), 2)
    note = encode(number, base, CLUSTER, KEY)
    assert 0 < len(note) <= LONGEST
    runs = decode(note, base, CLUSTER, KEY)
    assert runs
    for start, end in runs:
        assert all(settled[start - base : end - base]), "an offset that is not settled"


def test_one_long_run_survives_ten_thousand_short_ones():
    short = bits(set(range(1, 30_000, 3)))
    settled = short | ((1 << 60_000) - 1) << 40_000
    runs = decode(encode(settled, 0, CLUSTER, KEY), 0, CLUSTER, KEY)
    assert max(run.end - run.start for run in runs) >= 59_980


def test_many_short_runs_are_told_as_a_bitset_cut_at_its_end():
    settled = set(range(1, 100_000, 2))
    known = told(settled)
    assert known < settled
    assert known == {offset for offset in settled if offset <= max(known)}
    assert len(known) > 11_000


@pytest.mark.parametrize(
    ("base", "cluster", "key"),
    [(8, CLUSTER, KEY), (7, "another", KEY), (7, CLUSTER, b"another")],
)
def test_a_note_is_believed_only_where_it_was_written(base, cluster, key):
    note = encode(0b110, 7, CLUSTER, KEY)
    assert decode(note, 7, CLUSTER, KEY) == [Run(8, 10)]
    assert decode(note, base, cluster, key) == []


def test_another_version_is_not_believed():
    note = encode(0b110, 7, CLUSTER, KEY)
    assert decode("2" + note[1:], 7, CLUSTER, KEY) == []


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_note_that_was_changed_is_not_believed(at, flip):
    note = encode(bits({3, 5, 6, 99}), 7, CLUSTER, KEY)
    at %= len(note)
    changed = note[:at] + chr(ord(note[at]) ^ flip) + note[at + 1 :]
    assert decode(changed, 7, CLUSTER, KEY) == []


@given(st.binary(max_size=3000), st.sampled_from("rbx"))
def test_a_payload_of_any_bytes_raises_nothing_and_costs_no_memory(payload, kind):
    import hashlib

    body = f"1 {CLUSTER} 7 {kind} {binascii.b2a_base64(payload, newline=False).decode()}"
    check = hashlib.blake2b(body.encode(), digest_size=8, key=KEY).hexdigest()
    runs = decode(f"{body} {check}", 7, CLUSTER, KEY)
    assert all(7 <= run.start <= run.end <= 7 + (1 << 25) for run in runs)


@given(st.text(max_size=300))
def test_any_text_at_all_is_no_note(text):
    assert decode(text, 7, CLUSTER, KEY) == []
