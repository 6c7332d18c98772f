"""Outcomes into their topic: what became of each job result, a feed for other teams and for us.

A record's value is JSON, version 1; its key the job id, null if there is none:

    {"version": 1, "target": "default", "job": "…", "operation": "PutJobSuccessResult",
     "outcome": "accepted", "certainty": "confirmed", "reason": null, "claim": "succeeded",
     "attempts": 1, "source": {"topic": "job-results", "partition": 3, "offset": 42},
     "digest": "<32 hexadecimal digits>", "time": 1790000000.123, "traceparent": null}

Every member is always there; what is unknown is null. No request content: the digest is keyed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.producer_run import Message
from gateway.adapters.topic_writer import Pace, TopicWriter
from gateway.core.model import (
    Certainty,
    Claim,
    Operation,
    Outcome,
    OutcomeKind,
    Reason,
    Source,
)
from gateway.ports import SignalSink

VERSION = 1
LONGEST_BYTES = 16_384
"""More than any outcome takes; what is longer is not worth parsing."""


class OutcomeWriter:
    """The outcomes topic (ports.OutcomeLog): durable first, told second, exactly once.

    `start` returns at once; outcomes wait until brokers and topic are there.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        signals: SignalSink,
        pace: Pace | None = None,
    ) -> None:
        self._writer = TopicWriter(connection, topic, "outcomes", signals, pace)
        self.start = self._writer.start
        self.stop = self._writer.stop
        self.pending = self._writer.pending

    @property
    def trouble(self) -> str | None:
        """Why no outcome can be written now; None: all is well."""
        return self._writer.trouble

    def append(self, outcome: Outcome, when_durable: Callable[[], None]) -> None:
        key = None if outcome.job_id is None else outcome.job_id.encode()
        # A copy of its own size: what orjson returns keeps a buffer of 4 KiB while it waits.
        value = b"%b" % outcome_to_json(outcome)
        self._writer.write(Message(value, key), when_durable)


# A look-up here costs a fifth of asking the enumeration.
_KINDS = {kind.value: kind for kind in OutcomeKind}
_CERTAINTIES = {certainty.value: certainty for certainty in Certainty}
_OPERATIONS = {None: None} | {operation.value: operation for operation in Operation}
_CLAIMS = {None: None} | {claim.value: claim for claim in Claim}
_REASONS = {None: None} | {reason.value: reason for reason in Reason}


def outcome_to_json(outcome: Outcome) -> bytes:
    source = outcome.source
    return orjson.dumps(
        {
            "version": VERSION,
            "target": outcome.target,
            "job": outcome.job_id,
            "operation": outcome.operation,
            "outcome": outcome.kind,
            "certainty": outcome.certainty,
            "reason": outcome.reason,
            "claim": outcome.claim,
            "attempts": outcome.attempts,
            "source": {
                "topic": source.topic,
                "partition": source.partition,
                "offset": source.offset,
            },
            "digest": None if outcome.digest is None else outcome.digest.hex(),
            "time": outcome.time,
            "traceparent": outcome.traceparent,
        }
    )


def outcome_from_json(value: bytes | None) -> Outcome | None:
    """None: not an outcome, or of a version that we do not read. Never raises."""
    if value is None or len(value) > LONGEST_BYTES:
        return None
    try:
        return _outcome(orjson.loads(value))
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _outcome(fields: dict[str, Any]) -> Outcome | None:
    if fields["version"] != VERSION:
        return None
    source = fields["source"]
    return Outcome(
        kind=_KINDS[fields["outcome"]],
        certainty=_CERTAINTIES[fields["certainty"]],
        source=Source(source["topic"], int(source["partition"]), int(source["offset"])),
        time=float(fields["time"]),
        target=_text(fields["target"]),
        job_id=_text(fields["job"]),
        operation=_OPERATIONS[fields["operation"]],
        claim=_CLAIMS[fields["claim"]],
        reason=_REASONS[fields["reason"]],
        attempts=int(fields["attempts"]),
        digest=None if fields["digest"] is None else bytes.fromhex(fields["digest"]),
        traceparent=_text(fields["traceparent"]),
    )


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise TypeError(value)
