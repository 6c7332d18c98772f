"""How jobs ended, as far as we remember: a bounded cache of facts."""

from __future__ import annotations

import struct
from typing import NamedTuple

from gateway.core.model import Claim, JobResult, Source

_PACKED = struct.Struct(">B16sHIQ")
_NO_DIGEST = bytes(16)
_NO_OFFSET = 2**64 - 1
_CLAIMS: tuple[Claim | None, ...] = (None, *Claim)
_CODES = {claim: code for code, claim in enumerate(_CLAIMS)}


class Ending(NamedTuple):
    """A job has ended. `claim` and `digest` are known only for a confirmed acceptance."""

    claim: Claim | None
    digest: bytes | None
    source: Source | None
    """The record whose delivery taught us, once its outcome is durable."""


def _key(target: str, job_id: str) -> str:
    """One string: a tuple of two would cost 64 bytes a job more. Neither holds a newline."""
    return f"{job_id}\n{target}"


class Endings:
    """Facts that stay true for ever, so forgetting one costs a call and believing one is safe.

    A confirmed acceptance is never overwritten by less. At most `capacity` jobs are remembered,
    the most recent half of them for certain: two generations, of which the older is dropped as a
    whole, because a dictionary that is fed at one end and emptied at the other scans its dead
    entries. About 220 bytes a job, packed.
    """

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._topics: list[str] = []
        self._proven: set[str] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def of(self, target: str, job_id: str) -> Ending | None:
        """How this job ended, if we know."""
        packed = self._packed(_key(target, job_id))
        return None if packed is None else self._unpack(packed)

    def learn_accepted(self, target: str, result: JobResult, source: Source | None) -> None:
        """CodePipeline has accepted this result: confirmed. Proves the target, too."""
        self._proven.add(target)
        self._store(target, result.job_id, result.claim, result.digest, source)

    def learn_ended(self, target: str, job_id: str, source: Source | None) -> None:
        """The job has ended, unknown how. Suppresses nothing but its own redelivery."""
        known = self.of(target, job_id)
        if known is None or known.digest is None:
            self._store(target, job_id, None, None, source)

    def prove(self, target: str) -> None:
        """The target has shown that it knows a job of ours."""
        self._proven.add(target)

    def is_proven(self, target: str) -> bool:
        """Has this target ever answered about a job that it knows?"""
        return target in self._proven

    def _packed(self, key: str) -> bytes | None:
        return self._young.get(key) or self._old.get(key)

    def _store(
        self,
        target: str,
        job_id: str,
        claim: Claim | None,
        digest: bytes | None,
        source: Source | None,
    ) -> None:
        self._young[_key(target, job_id)] = _PACKED.pack(
            _CODES[claim],
            digest or _NO_DIGEST,
            self._topic_number(source.topic) if source else 0,
            source.partition if source else 0,
            source.offset if source else _NO_OFFSET,
        )
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}

    def _unpack(self, packed: bytes) -> Ending:
        code, digest, topic, partition, offset = _PACKED.unpack(packed)
        claim = _CLAIMS[code]
        source = None
        if offset != _NO_OFFSET:
            source = Source(self._topics[topic], partition, offset)
        return Ending(claim, digest if claim else None, source)

    def _topic_number(self, topic: str) -> int:
        if topic not in self._topics:
            self._topics.append(topic)
        return self._topics.index(topic)
