"""Which dead letters are meant, in which order they are sent again, and as what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.core.model import DeadLetter, Partition, ReadDeadLetter, Reason, Record, Source
from gateway.core.replays import (
    CannotEdit,
    Edit,
    Identity,
    Selection,
    copied_by,
    copy_of,
    identity_of,
    in_original_order,
    job_of,
    replays_of,
    source_from,
)

TOPIC = "job-results"
HEADERS = (("gateway-target", b"blue"), ("empty", None), ("gateway-target", b"green"))


def record(offset: int = 42, partition: int = 1, **changes: Any) -> Record:
    one = Record(TOPIC, partition, offset, 1_790_000_000.25, b"job-1", b'{"jobId":"1"}', HEADERS)
    return one._replace(**changes)


def found(of: Record | None = None, place: int = 7, **changes: Any) -> ReadDeadLetter:
    letter = DeadLetter(
        record=of or record(),
        reason=Reason.INVALID,
        explanation="$.jobId: is wrong",
        time=1_790_000_100.0,
        stage="decode",
        target="blue",
        job_id="job-1",
    )
    return ReadDeadLetter(replace(letter, **changes), Source("dead", 0, place))


def as_record(of: Record, offset: int, edit: Edit | None = None) -> Record:
    """The copy, as it stands in the input topic a minute later."""
    copy = copy_of(of, edit or Edit())
    return Record(*copy.partition, offset, of.timestamp + 60, copy.key, copy.value, copy.headers)


def test_a_copy_is_the_record_in_its_own_partition_and_says_where_it_comes_from() -> None:
    copy = copy_of(record(), Edit())
    assert copy.partition == Partition(TOPIC, 1)
    assert (copy.key, copy.value) == (b"job-1", b'{"jobId":"1"}')
    assert copy.headers == (
        *HEADERS,
        ("gateway-replay", b"1"),
        ("gateway-replay-of", b"job-results/1/42"),
        ("gateway-original-source", b"job-results/1/42"),
        ("gateway-original-timestamp", b"1790000000250"),
    )


def test_a_copy_of_a_copy_counts_on_and_remembers_the_very_first_record() -> None:
    second = as_record(as_record(record(), 50), 60)
    assert second.headers == (
        *HEADERS,
        ("gateway-replay", b"2"),
        ("gateway-replay-of", b"job-results/1/50"),
        ("gateway-original-source", b"job-results/1/42"),
        ("gateway-original-timestamp", b"1790000000250"),
    )
    assert replays_of(second) == 2


def test_a_copy_names_the_record_that_it_replays() -> None:
    first = record()
    copy = as_record(first, 50)
    assert copied_by(copy) == identity_of(first) == Identity(first.source, 1_790_000_000_250)
    assert copied_by(as_record(copy, 60)) == identity_of(copy)
    assert copied_by(first) is None


def test_the_same_offset_of_a_topic_made_anew_is_another_record() -> None:
    assert identity_of(record()) != identity_of(record(timestamp=1_790_000_001.0))


@pytest.mark.parametrize("text", [b"0", b"-1", b"x", b"", b"1.0", b"9" * 5000, None, b"\xff"])
def test_what_is_no_count_counts_as_none(text: bytes | None) -> None:
    assert replays_of(record(headers=(("gateway-replay", text),))) == 0


@given(
    some.lists(
        some.tuples(
            some.sampled_from(
                [
                    "gateway-replay",
                    "gateway-replay-of",
                    "gateway-original-source",
                    "gateway-original-timestamp",
                ]
            )
            | some.text(max_size=5),
            some.none() | some.binary(max_size=30) | some.just(b"job-results/1/7"),
        ),
        max_size=8,
    ),
    some.none() | some.binary(max_size=20),
)
def test_whatever_the_headers_hold_the_copy_is_found_again_by_its_record(
    headers: list[tuple[str, bytes | None]], value: bytes | None
) -> None:
    one = record(headers=tuple(headers), value=value)
    copied_by(one)
    copy = as_record(one, 50)
    assert copied_by(copy) == identity_of(one)
    assert replays_of(copy) == replays_of(one) + 1
    kept = [name for name, _ in copy.headers if not name.startswith("gateway-")]
    assert kept == [name for name, _ in headers if not name.startswith("gateway-")]


def test_events_go_in_the_order_in_which_they_first_stood() -> None:
    replayed_once = as_record(record(10), 100)
    letters = [
        found(record(30)),
        found(replayed_once),
        found(record(5, partition=2)),
        found(record(20)),
        found(record(20), place=9),
    ]
    ordered = in_original_order(letters)
    assert [(one.letter.record.source[1:], one.position.offset) for one in ordered] == [
        ((1, 100), 7),
        ((1, 20), 9),
        ((1, 20), 7),
        ((1, 30), 7),
        ((2, 5), 7),
    ]


def test_a_forged_origin_in_another_partition_moves_nothing() -> None:
    forged = record(30, headers=(("gateway-original-source", b"job-results/0/1"),))
    assert in_original_order([found(forged), found(record(20))])[0].letter.record.offset == 20
    assert ("gateway-original-source", b"job-results/1/30") in copy_of(forged, Edit()).headers


def test_every_criterion_given_must_fit() -> None:
    letter = found()
    fitting = Selection(
        frozenset({Reason.INVALID, Reason.MALFORMED}),
        frozenset({"job-1"}),
        frozenset({"blue"}),
        frozenset({letter.position}),
        letter.letter.time,
        letter.letter.time + 1,
    )
    assert fitting.fits(letter)
    assert Selection().is_everything
    assert not fitting.is_everything
    for change in (
        {"reasons": frozenset({Reason.REFUSED})},
        {"jobs": frozenset({"job-2"})},
        {"targets": frozenset({"green"})},
        {"positions": frozenset({Source(TOPIC, 1, 43)})},
        {"since": letter.letter.time + 0.001},
        {"until": letter.letter.time},
    ):
        assert not replace(fitting, **change).fits(letter), change
    by_source = Selection(positions=frozenset({letter.letter.record.source}))
    assert by_source.fits(letter)


def test_without_job_id_the_key_stands_for_the_job() -> None:
    assert job_of(found(job_id=None)) == "job-1"
    assert job_of(found(record(key=None), job_id=None)) is None
    assert job_of(found(record(key=b"\xff"), job_id=None)) == "\ufffd"


def edited(value: bytes | None, **changes: Any) -> Any:
    return json.loads(Edit(**changes).apply(record(value=value)).value or b"null")


def test_members_are_set_and_the_rest_of_the_value_stays_as_it_means() -> None:
    value = b'{"a": 1790000000.123, "b": {"c": 12345678901234567890}, "d": "\xc3\xb6"}'
    members = ((("b", "x"), None), (("n", "m"), [1]), (("d",), "u"))
    assert edited(value, members=members) == {
        "a": 1790000000.123,
        "b": {"c": 12345678901234567890, "x": None},
        "d": "u",
        "n": {"m": [1]},
    }
    whole = Edit(value=b"{}", members=((("a",), 1),))
    assert whole.apply(record(value=b"{")).value == b'{"a":1}'
    assert Edit().apply(record(value=b"{")).value == b"{"


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"7", b'{"a": 1}', b"[" * 100_000])
def test_what_has_no_such_member_cannot_be_edited(value: bytes | None) -> None:
    with pytest.raises(CannotEdit) as fault:
        Edit(members=((("a", "secret"), 1),)).apply(record(value=value))
    assert "100" not in str(fault.value)


def test_headers_are_replaced_and_left_out() -> None:
    edit = Edit(headers={"gateway-target": b"red"}, without_headers=frozenset({"empty"}))
    assert edit.apply(record()).headers == (("gateway-target", b"red"),)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a/0/7", Source("a", 0, 7)),
        ("a.b-c_d/12/0", Source("a.b-c_d", 12, 0)),
        ("a/0", None),
        ("/0/7", None),
        ("a/b/0/7", None),
        ("a/-1/7", None),
        ("a/0/9223372036854775807", Source("a", 0, 2**63 - 1)),
        ("a/0/" + "9" * 30, None),
        ("", None),
    ],
)
def test_a_position_is_read_or_refused(text: str, source: Source | None) -> None:
    assert source_from(text) == source


@pytest.mark.parametrize("timestamp", [1e300, -1e300, 1e18, -0.001, 1_790_000_000.123])
@pytest.mark.parametrize("offset", [0, 2**63 - 1])
def test_a_copy_is_recognised_whatever_its_dead_letter_says(timestamp: float, offset: int) -> None:
    original = record()._replace(timestamp=timestamp, offset=offset)
    _, key, value, headers = copy_of(original, Edit())
    copy = record()._replace(timestamp=5.0, offset=9, key=key, value=value, headers=headers)
    assert copied_by(copy) == identity_of(original)
