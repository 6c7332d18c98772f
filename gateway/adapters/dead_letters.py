"""Dead letters into their topic and back: the record as it was, and why it could not be delivered.

Key, value, headers and timestamp are the original record's. Added, as text in UTF-8:

    __connect.errors.{topic,partition,offset}    where the record stands
    __connect.errors.stage                       VALUE_CONVERTER (decode), TRANSFORMATION (route),
                                                 TASK_PUT (deliver)
    __connect.errors.class.name                  gateway.<stage>
    __connect.errors.exception.class.name        AWS's code, else the reason
    __connect.errors.exception.message           the explanation: members and rules, no values
    gateway-dead-letter-version                  1
    gateway-dead-letter-reason                   a word of core.model.Reason
    gateway-dead-letter-stage                    decode, route, deliver
    gateway-dead-letter-at                       when, RFC 3339 in UTC
    gateway-dead-letter-{target,job-id,operation,error-code,attempts,ambiguous}   where known
    gateway-dead-letter-timestamp                the original timestamp in milliseconds; the topic
                                                 may have its own idea of the dead letter's
    gateway-dead-letter-null-value               true: the value was null and stands as empty

A record that itself comes from a dead letter loses these of the former one: a replay that fails
again does not grow. Every other header stays, in order.

What is too large for the topic (or refused for another reason) is kept smaller, with

    gateway-dead-letter-truncated                true
    gateway-dead-letter-{key,value}-bytes        how long they were
    gateway-dead-letter-value-sha256             of the whole value
    gateway-dead-letter-headers-dropped          how many headers are missing

    first        key within 16 KiB, headers within 16 KiB, the first 64 KiB of the value
    then         the same without timestamp
    last         the headers of this list alone: enough to find the record at its source
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.producer_run import Message
from gateway.adapters.topic_writer import Pace, TopicWriter
from gateway.core.model import DeadLetter, Operation, ReadDeadLetter, Reason, Record, Source
from gateway.ports import SignalSink

VERSION = 1
CONNECT = "__connect.errors."
OURS = "gateway-dead-letter-"

KEPT_VALUE_BYTES = 65_536
KEPT_HEADER_BYTES = 16_384
KEPT_KEY_BYTES = 16_384

_CONNECT_STAGES = {"decode": "VALUE_CONVERTER", "route": "TRANSFORMATION", "deliver": "TASK_PUT"}
_KEPT_TEXT_CHARACTERS = 4_096
_MOST_AHEAD_SECONDS = 3600.0
"""Kafka's own default: timestamps further ahead are refused, and each refusal costs a producer."""
_MOST_BEHIND_SECONDS = 86_400.0
"""An older one would make retention delete the dead letter early, or at once: lost after all."""

Headers = Sequence[tuple[str, bytes | None]]


class DeadLetterWriter:
    """The dead-letter topic (ports.DeadLetterLog): durable first, told second, exactly once.

    No dead letter, whatever it holds, keeps those behind it waiting. `start` returns at once;
    dead letters wait until brokers and topic are there.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        signals: SignalSink,
        pace: Pace | None = None,
    ) -> None:
        self._writer = TopicWriter(connection, topic, "dead-letters", signals, pace)
        self.start = self._writer.start
        self.stop = self._writer.stop
        self.pending = self._writer.pending

    @property
    def trouble(self) -> str | None:
        """Why no dead letter can be written now; None: all is well."""
        return self._writer.trouble

    def append(self, dead_letter: DeadLetter, when_durable: Callable[[], None]) -> None:
        self._writer.write(
            whole(dead_letter), when_durable, lambda level: smaller(dead_letter, level)
        )


def whole(letter: DeadLetter) -> Message:
    """The dead letter with everything that its record had."""
    record = letter.record
    headers = [*_own(record.headers), *_told(letter), *_null(record)]
    return Message(record.value or b"", record.key, headers, _timestamp_ms(letter))


def smaller(letter: DeadLetter, level: int) -> Message | None:
    """The n-th smaller form, from 1; None: there is none."""
    if level > 3:
        return None
    record = letter.record
    kept, dropped = _within(_own(record.headers), KEPT_HEADER_BYTES if level < 3 else 0)
    headers = [*kept, *_told(letter), *_null(record), *_truncated(record, dropped)]
    if level == 3:
        return Message(b"", None, headers, None)
    return Message(
        (record.value or b"")[:KEPT_VALUE_BYTES],
        record.key[:KEPT_KEY_BYTES] if record.key else record.key,
        headers,
        _timestamp_ms(letter) if level == 1 else None,
    )


def dead_letter_from_record(record: Record | Any) -> ReadDeadLetter | None:
    """None: not a dead letter of ours, or of a version that we do not read. Never raises.

    `record` is a Record, or aiokafka's ConsumerRecord (timestamps in milliseconds).
    """
    told = {
        name: (value or b"").decode("utf-8", "replace")
        for name, value in record.headers
        if name.startswith((CONNECT, OURS))
    }
    try:
        return _read(record, told) if told.get(f"{OURS}version") == str(VERSION) else None
    except (KeyError, ValueError, OverflowError):
        return None


def why_not_read(record: Record) -> str:
    """Why `dead_letter_from_record` returns None. Holds nothing of the record but its version."""
    versions = [value or b"" for name, value in record.headers if name == f"{OURS}version"]
    if not versions:
        return "not a dead letter of the gateway"
    version = versions[-1][:20].decode("utf-8", "replace")
    if version != str(VERSION):
        return f"a dead letter of version {version!a}, of which this gateway knows nothing"
    return "a dead letter with a header that is missing or says nothing"


# -- writing ---------------------------------------------------------------------------------------


def _told(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    record = letter.record
    connect = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "stage": _CONNECT_STAGES.get(letter.stage, "TASK_PUT"),
        "class.name": f"gateway.{letter.stage}",
        "exception.class.name": letter.error_code or letter.reason,
        "exception.message": letter.explanation,
    }
    ours = {
        "version": VERSION,
        "reason": letter.reason,
        "stage": letter.stage,
        "at": datetime.fromtimestamp(letter.time, UTC).isoformat(timespec="milliseconds"),
        "target": letter.target,
        "job-id": letter.job_id,
        "operation": letter.operation,
        "error-code": letter.error_code,
        "attempts": letter.attempts,
        "ambiguous": "true" if letter.is_ambiguous else None,
        "timestamp": round(record.timestamp * 1000),
    }
    return [*_text_headers(CONNECT, connect), *_text_headers(OURS, ours)]


def _text_headers(prefix: str, values: Mapping[str, object]) -> Iterable[tuple[str, bytes | None]]:
    for name, value in values.items():
        if value is not None:
            text = str(value)[:_KEPT_TEXT_CHARACTERS]
            yield f"{prefix}{name}", text.encode("utf-8", "replace")


def _own(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The record's headers, in names that can be written: a consumer may have decoded bytes that
    are not UTF-8 into surrogates, which no producer can encode."""
    return [
        (name.encode("utf-8", "replace").decode(), value)
        for name, value in headers
        if not name.startswith((CONNECT, OURS))
    ]


def _within(
    headers: list[tuple[str, bytes | None]], budget_bytes: int
) -> tuple[list[tuple[str, bytes | None]], int]:
    """The first headers that fit, whole, and how many do not."""
    kept = []
    for name, value in headers:
        size_bytes = len(name.encode()) + len(value or b"")
        if size_bytes <= budget_bytes:
            budget_bytes -= size_bytes
            kept.append((name, value))
    return kept, len(headers) - len(kept)


def _timestamp_ms(letter: DeadLetter) -> int | None:
    """The original one, if Kafka takes such, and if retention, which counts from it, leaves the
    dead letter the time that its topic promises. The original stands in a header in any case."""
    seconds = letter.record.timestamp
    oldest = max(0.0, letter.time - _MOST_BEHIND_SECONDS)
    is_kept = oldest <= seconds <= letter.time + _MOST_AHEAD_SECONDS
    return round(seconds * 1000) if is_kept else None


def _null(record: Record) -> list[tuple[str, bytes | None]]:
    return [(f"{OURS}null-value", b"true")] if record.value is None else []


def _truncated(record: Record, dropped: int) -> Iterable[tuple[str, bytes | None]]:
    value = record.value or b""
    return _text_headers(
        OURS,
        {
            "truncated": "true",
            "key-bytes": len(record.key or b""),
            "value-bytes": len(value),
            "value-sha256": hashlib.sha256(value).hexdigest(),
            "headers-dropped": dropped,
        },
    )


# -- reading ---------------------------------------------------------------------------------------


def _read(record: Any, told: Mapping[str, str]) -> ReadDeadLetter:
    def ours(name: str) -> str | None:
        return told.get(f"{OURS}{name}")

    operation, value_bytes = ours("operation"), ours("value-bytes")
    letter = DeadLetter(
        record=_original(record, told),
        reason=Reason(told[f"{OURS}reason"]),
        explanation=told[f"{CONNECT}exception.message"],
        time=datetime.fromisoformat(told[f"{OURS}at"]).timestamp(),
        stage=told[f"{OURS}stage"],
        target=ours("target"),
        job_id=ours("job-id"),
        operation=None if operation is None else Operation(operation),
        error_code=ours("error-code"),
        attempts=int(told[f"{OURS}attempts"]),
        is_ambiguous=ours("ambiguous") == "true",
    )
    return ReadDeadLetter(
        letter,
        Source(record.topic, record.partition, record.offset),
        is_truncated=ours("truncated") == "true",
        value_bytes=None if value_bytes is None else int(value_bytes),
        value_sha256=ours("value-sha256"),
    )


def _original(record: Any, told: Mapping[str, str]) -> Record:
    seconds = record.timestamp if isinstance(record, Record) else record.timestamp / 1000
    said_ms = told.get(f"{OURS}timestamp")
    partition, offset = int(told[f"{CONNECT}partition"]), int(told[f"{CONNECT}offset"])
    if not (0 <= partition < 2**31 and 0 <= offset < 2**63):
        raise ValueError("no place in Kafka")
    return Record(
        topic=told[f"{CONNECT}topic"],
        partition=partition,
        offset=offset,
        timestamp=seconds if said_ms is None else int(said_ms) / 1000,
        key=record.key,
        value=None if told.get(f"{OURS}null-value") == "true" else record.value,
        headers=tuple((n, v) for n, v in record.headers if not n.startswith((CONNECT, OURS))),
    )
