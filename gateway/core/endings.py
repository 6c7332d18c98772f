"""How jobs ended, as far as we remember: a bounded cache of facts."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

from gateway.core.model import (
    Certainty,
    Claim,
    JobResult,
    Outcome,
    OutcomeKind,
    Source,
)

_PACKED = struct.Struct(">B16sHIQ")
_NO_DIGEST = bytes(16)
_NO_OFFSET = 2**64 - 1
_CLAIMS: tuple[Claim | None, ...] = (None, *Claim)
_CODES = {claim: code for code, claim in enumerate(_CLAIMS)}


class Ending(NamedTuple):
    """A job has ended. `claim` and `digest` are known only for a confirmed acceptance, the digest
    only if it can be compared with ours."""

    claim: Claim | None
    digest: bytes | None
    source: Source | None
    """The record whose delivery taught us, once its outcome is durable."""


def _key(target: str, job_id: str) -> str:
    """One string: a tuple of two would cost 64 bytes a job more. No target holds a newline."""
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
        known, told = self.of(target, job_id), Ending(None, None, source)
        if known is None or not _tells_more(known, told):
            self._store(target, job_id, *told)

    def learn_told(self, target: str, job_id: str, ending: Ending) -> bool:
        """Somebody says that the job has ended so. True if that is news."""
        known = self.of(target, job_id)
        if ending.claim is not None:
            self._proven.add(target)
        if known is not None and (known == ending or _tells_more(known, ending)):
            return False
        self._store(target, job_id, *ending)
        return True

    def is_certain(self, target: str, job_id: str) -> bool:
        """This process has seen CodePipeline accept a result of the job: no hearsay adds to it."""
        packed = self._packed(_key(target, job_id))
        return packed is not None and packed[0] != 0 and packed[1:17] != _NO_DIGEST

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
        is_known = claim is not None and digest != _NO_DIGEST
        return Ending(claim, digest if is_known else None, source)

    def _topic_number(self, topic: str) -> int:
        if topic not in self._topics:
            self._topics.append(topic)
        return self._topics.index(topic)


def _tells_more(known: Ending, told: Ending) -> bool:
    """What this process has seen AWS accept, digest and all, is never overwritten by hearsay."""
    if told.claim is None:
        return known.claim is not None or told.source is None
    return known.digest is not None


_ENDS_ITS_JOB = frozenset(OutcomeKind) - {OutcomeKind.DEAD_LETTERED, OutcomeKind.SKIPPED}
_LONGEST_JOB_ID = 512
_MOST_PARTITIONS = 2**31
_DIGEST_BYTES = 16
_FEW_TARGETS = 4
"""Asking each about a job costs more than reading the outcome if there are more of them."""


class ToldEndings:
    """Endings that any replica has seen, learned from its outcomes (ports.EndingsFeed).

    Whatever the outcomes topic says, memory stays bounded: only targets and topics of ours count.
    Digests count only if all replicas share their key; a source needs no key to be recognised.
    """

    def __init__(
        self,
        endings: Endings,
        targets: Collection[str],
        topics: Collection[str],
        *,
        shares_digests: bool,
    ) -> None:
        self._endings = endings
        self._targets = frozenset(targets)
        self._few_targets = tuple(targets) if len(targets) <= _FEW_TARGETS else ()
        self._topics = frozenset(topics)
        self._shares_digests = shares_digests

    def learn(self, outcome: Outcome) -> bool:
        """True if it was news."""
        target, job_id = outcome.target, outcome.job_id
        if outcome.kind not in _ENDS_ITS_JOB or target not in self._targets:
            return False
        if target is None or not job_id or len(job_id) > _LONGEST_JOB_ID:
            return False
        return self._endings.learn_told(target, job_id, self._ending(outcome))

    def knows(self, job_id: str) -> bool:
        """One acceptance at any target is enough: no two accounts have jobs of the same id."""
        return any(self._endings.is_certain(target, job_id) for target in self._few_targets)

    def _ending(self, outcome: Outcome) -> Ending:
        source = outcome.source if self._is_possible(outcome.source) else None
        is_acceptance = outcome.kind is OutcomeKind.ACCEPTED
        if not is_acceptance or outcome.certainty is not Certainty.CONFIRMED:
            return Ending(None, None, source)
        digest = outcome.digest if self._shares_digests and outcome.claim is not None else None
        has_right_size = digest is not None and len(digest) == _DIGEST_BYTES
        return Ending(outcome.claim, digest if has_right_size else None, source)

    def _is_possible(self, source: Source) -> bool:
        return (
            source.topic in self._topics
            and 0 <= source.partition < _MOST_PARTITIONS
            and 0 <= source.offset < _NO_OFFSET
        )
