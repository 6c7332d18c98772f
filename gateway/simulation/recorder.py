"""Writes down a history from what outlives a SIGKILL: topics, committed offsets, books.

The shapes read here are published ones: outcome records and dead letters as their readers see
them, `__consumer_offsets` as Kafka keeps it, the simulator's books as it shows them. What cannot
be read becomes a fact that the judge will not believe, never an exception.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.simulation.history import (
    ACCEPTED,
    Call,
    Commit,
    Ended,
    Entry,
    History,
    Letter,
    Source,
)
from gateway.simulation.note_reading import settled_ahead
from gateway.simulation.offsets_log import GenerationMade, OffsetCommitted, read_offsets_record
from gateway.simulation.reading import content_of_event, content_of_request
from gateway.simulation.topics import Stored, read_all

OFFSETS_TOPIC = "__consumer_offsets"
_NOWHERE = Source("", -1, -1)
_OPERATIONS = frozenset(
    {
        "PutJobSuccessResult",
        "PutThirdPartyJobSuccessResult",
        "PutJobFailureResult",
        "PutThirdPartyJobFailureResult",
    }
)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a gateway reads and writes."""

    results: str = "job-results"
    outcomes: str = "job-results.outcomes"
    dead_letters: str = "job-results.dead-letters"
    group: str = "job-result-gateway"


@dataclass
class Witness:
    """What only the one who staged it knows."""

    expected: dict[Source, str] = field(default_factory=dict)
    """What the author of each record meant it to be (`simulation/workload.py`)."""
    early_attempts: int = 2
    attempt_timeout_seconds: float = 10.0


async def record_history(
    bootstrap_servers: str, places: Places, books: Iterable[bytes], witness: Witness
) -> History:
    """Everything there is now. `books`: the lines of `/_simulation/books`, or of its file."""
    results = await read_all(bootstrap_servers, [places.results])
    outcomes = await read_all(bootstrap_servers, [places.outcomes])
    dead_letters = await read_all(bootstrap_servers, [places.dead_letters])
    offsets = await read_all(bootstrap_servers, [OFFSETS_TOPIC])
    originals = {record.source: record for record in results}
    commits, generations = _offsets(offsets, places)
    return History(
        entries=[_entry(record, witness.expected) for record in results],
        calls=_calls(books),
        outcomes=[ended_of(record) for record in outcomes],
        letters=[_letter(record, originals) for record in dead_letters],
        commits=commits,
        handovers=generations,
        early_attempts=witness.early_attempts,
        attempt_timeout_seconds=witness.attempt_timeout_seconds,
    )


def _entry(record: Stored, expected: Mapping[Source, str]) -> Entry:
    return Entry(
        record.source,
        record.timestamp,
        content_of_event(record.value),
        is_null=record.value is None,
        expected=expected.get(record.source),
    )


def _calls(books: Iterable[bytes]) -> list[Call]:
    """The calls of the four operations. A later line about the same call replaces an earlier."""
    lines = [json.loads(line) for line in books if line.strip()]
    latest = {line["sequence"]: line for line in lines}
    return [_call(line) for line in latest.values() if line["operation"] in _OPERATIONS]


def _call(line: Mapping[str, Any]) -> Call:
    code = line["code"]
    has_request_id = line["fault"] not in ("html-200", "no-request-id")
    accepted = code == "" and line["status"] == 200 and has_request_id
    return Call(
        content_of_request(line["operation"], line["request"] or {"jobId": line["job_id"]}),
        line["begun"],
        float("inf") if line["ended"] is None else line["ended"],
        ACCEPTED if accepted else code or "",
        instance=line["instance"] or line["access_key"] or "",
        was_applied=line["applied"],
        was_delivered=line["delivered"],
    )


def ended_of(record: Stored) -> Ended:
    """What an outcome record says; the kind `unreadable` if it says nothing."""
    try:
        told = json.loads(record.value or b"")
        return Ended(
            Source(*(told["source"][name] for name in Source._fields)),
            told["outcome"],
            told["certainty"],
            record.timestamp,
            float(told["time"]),
            told.get("reason"),
            told.get("job"),
            told.get("operation"),
        )
    except (ValueError, TypeError, KeyError):
        return Ended(_NOWHERE, "unreadable", "", record.timestamp, record.timestamp)


def _letter(record: Stored, originals: Mapping[Source, Stored]) -> Letter:
    names = ("topic", "partition", "offset")
    topic, partition, offset = (
        (record.header(f"__connect.errors.{name}") or b"").decode(errors="replace")
        for name in names
    )
    reason, at = (
        (record.header(f"gateway-dead-letter-{name}") or b"").decode(errors="replace")
        for name in ("reason", "at")
    )
    if not (partition.isdecimal() and offset.isdecimal()):
        return Letter(_NOWHERE, reason, moment=at)
    source = Source(topic, int(partition), int(offset))
    return Letter(source, reason, _is_unchanged(record, originals.get(source)), at)


def _is_unchanged(record: Stored, original: Stored | None) -> bool:
    if original is None:  # the judge says so in other words
        return True
    if record.header("gateway-dead-letter-truncated") == b"true":
        return (original.value or b"").startswith(record.value or b"")
    is_whole = (record.key, record.value or b"") == (original.key, original.value or b"")
    return is_whole and set(original.headers) <= set(record.headers)


def _offsets(records: Iterable[Stored], places: Places) -> tuple[list[Commit], list[float]]:
    """The group's commits, and when its generations with members began, less the first."""
    commits: list[Commit] = []
    generations: dict[int, float] = {}
    for record in records:
        read = read_offsets_record(record.key, record.value)
        if read is None or read.group != places.group:
            continue
        if isinstance(read, GenerationMade) and not read.is_empty:
            generations.setdefault(read.generation, record.timestamp)
        elif isinstance(read, OffsetCommitted) and read.topic == places.results:
            ahead = settled_ahead(read.note, read.offset)
            commits.append(Commit(read.topic, read.partition, read.offset, read.timestamp, ahead))
    return commits, sorted(generations.values())[1:]
