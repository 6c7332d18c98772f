"""Which dead letters are sent again, in which order, and as what. Values in, values out.

A copy is the record as it stood at its source: its key, its value (or an edited one), its headers
without those of the dead letter. It goes into the partition of its source, so whatever placed the
key there has placed the copy too, and it carries

    gateway-replay               how often the event has been replayed: 1, 2, …
    gateway-replay-of            topic/partition/offset of the record that was dead-lettered
    gateway-original-source      topic/partition/offset where the event stood the very first time
    gateway-original-timestamp   its timestamp there, in milliseconds since the epoch

`gateway-replay-of` stands in the same record as what it speaks of, so a copy and the knowledge
that it was made are durable in one moment, whatever is killed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from gateway.core.headers import REPLAY_HEADER
from gateway.core.model import Partition, ReadDeadLetter, Reason, Record, Source

REPLAY_OF_HEADER = "gateway-replay-of"
ORIGINAL_SOURCE_HEADER = "gateway-original-source"
ORIGINAL_TIMESTAMP_HEADER = "gateway-original-timestamp"
OWN_HEADERS = frozenset(
    {REPLAY_HEADER, REPLAY_OF_HEADER, ORIGINAL_SOURCE_HEADER, ORIGINAL_TIMESTAMP_HEADER}
)

_COUNT_FORM = re.compile("[1-9][0-9]{0,8}", re.ASCII)
_TIMESTAMP_FORM = re.compile("-?[0-9]{1,18}", re.ASCII)
_LATEST_MS = 10**18 - 1
_SOURCE_FORM = re.compile(r"([^/]{1,249})/([0-9]{1,9})/([0-9]{1,19})", re.ASCII)


class Fate(StrEnum):
    """What becomes of a selected dead letter. A closed list."""

    REPLAYED = "replayed"
    REPLAYED_BEFORE = "replayed before"
    """A copy of it stands in the input topic."""
    REPEATED = "repeated"
    """Another dead letter of the same record is the one that counts."""
    LOOP = "loop"
    """It has been replayed as often as is allowed."""
    FORGOTTEN = "forgotten"
    """The input topic no longer shows whether it was replayed before."""
    GONE = "gone"
    """It was too large to be kept whole, and its source does not hold it any more."""
    FOREIGN = "foreign"
    """It comes from a topic or partition that is not ours to write to."""
    NOT_EDITED = "not edited"
    REFUSED = "refused"
    """Kafka does not take the copy."""


HARMLESS = frozenset({Fate.REPLAYED, Fate.REPLAYED_BEFORE, Fate.REPEATED})
"""Nothing is left to do for these."""


class Identity(NamedTuple):
    """One record: its source, and its original timestamp, because a topic that was made anew
    counts its offsets from 0 again."""

    source: Source
    original_timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: those that every given criterion fits; an empty one fits all.
    Moments are seconds since the epoch: `since` is included, `until` is not."""

    reasons: frozenset[Reason] = frozenset()
    jobs: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    positions: frozenset[Source] = frozenset()
    """Of the record that was dead-lettered, or of the dead letter itself."""
    since: float | None = None
    until: float | None = None

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    def fits(self, found: ReadDeadLetter) -> bool:
        letter = found.letter
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.jobs or job_of(found) in self.jobs)
            and (not self.targets or letter.target in self.targets)
            and (not self.positions or not self.positions.isdisjoint(positions_of(found)))
            and (self.since is None or letter.time >= self.since)
            and (self.until is None or letter.time < self.until)
        )


class CannotEdit(Exception):
    """Why the value cannot be edited so. Holds nothing of the value."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What is changed in a copy; nothing by default."""

    value: bytes | None = None
    """In place of the whole value."""
    members: tuple[tuple[tuple[str, ...], Any], ...] = ()
    """JSON values for members of the object that the value is; a path of names each."""
    headers: Mapping[str, bytes] = field(default_factory=dict)
    """In place of all headers of these names."""
    without_headers: frozenset[str] = frozenset()

    def apply(self, record: Record) -> Record:
        """Raises CannotEdit."""
        replaced = self.without_headers | self.headers.keys()
        headers = [header for header in record.headers if header[0] not in replaced]
        return record._replace(
            value=self._value(record.value), headers=(*headers, *self.headers.items())
        )

    def _value(self, value: bytes | None) -> bytes | None:
        value = value if self.value is None else self.value
        if not self.members:
            return value
        try:
            document = json.loads(value or b"")
        except (ValueError, RecursionError):
            raise CannotEdit("the value is no JSON: no member of it can be set") from None
        for path, member in self.members:
            _set(document, path, member)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )


class Copy(NamedTuple):
    """A record to be written. Its timestamp is the moment of the writing."""

    partition: Partition
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Known(NamedTuple):
    """What the input topics say of some sources."""

    copies: Mapping[Source, Collection[int]]
    """Original timestamps of the copies that were made of each; not in here: none."""
    unsure: Mapping[Source, str]
    """Whose copies may stand where nothing can be read any more, and why."""
    foreign: Mapping[Source, str]
    """Those that no copy can be written for, and why."""


class Unreadable(NamedTuple):
    """A record of the dead-letter topic that is none of ours, or a place that cannot be read."""

    position: Source
    why: str
    is_rest: bool = False
    """Nothing behind this place was read either."""


class WriteRefused(NamedTuple):
    """Kafka does not take this record, today or tomorrow."""

    why: str


def job_of(found: ReadDeadLetter) -> str | None:
    """The job that it names, or else its key, which is a job id by recommendation."""
    key = found.letter.record.key
    if found.letter.job_id is not None or key is None:
        return found.letter.job_id
    return key.decode("utf-8", "replace")


def positions_of(found: ReadDeadLetter) -> tuple[Source, Source]:
    return found.position, found.letter.record.source


def in_original_order(letters: Iterable[ReadDeadLetter]) -> list[ReadDeadLetter]:
    """As the events stood in their partitions the very first time; of several dead letters of one
    record the last one stands first."""
    return sorted(letters, key=_order)


def _order(found: ReadDeadLetter) -> tuple[str, int, int, int, int]:
    record = found.letter.record
    first = _original_source(record)
    return *first, record.offset, -found.position.offset


def replays_of(record: Record) -> int:
    """How often the event has been replayed until here; what is no count counts as none."""
    text = _text(record, REPLAY_HEADER)
    return int(text) if text is not None and _COUNT_FORM.fullmatch(text) else 0


def identity_of(record: Record) -> Identity:
    """Of a record that was dead-lettered, whole, as it stood at its source."""
    return Identity(record.source, _original_timestamp_ms(record))


def copied_by(record: Record) -> Identity | None:
    """Which record this one of the input topic is a copy of; None: it is no copy. Never raises."""
    for name, _ in record.headers:
        if name == REPLAY_OF_HEADER:
            break
    else:
        return None
    source = source_from(_text(record, REPLAY_OF_HEADER) or "")
    return None if source is None else Identity(source, _original_timestamp_ms(record))


def copy_of(record: Record, edit: Edit) -> Copy:
    """The copy of a record that was dead-lettered. Raises CannotEdit."""
    edited = edit.apply(record)
    headers = [header for header in edited.headers if header[0] not in OWN_HEADERS]
    told = {
        REPLAY_HEADER: replays_of(record) + 1,
        REPLAY_OF_HEADER: record.source,
        ORIGINAL_SOURCE_HEADER: _original_source(record),
        ORIGINAL_TIMESTAMP_HEADER: _original_timestamp_ms(record),
    }
    return Copy(
        Partition(record.topic, record.partition),
        edited.key,
        edited.value,
        (*headers, *((name, str(value).encode()) for name, value in told.items())),
    )


def lightened(found: ReadDeadLetter) -> ReadDeadLetter:
    """Without its value, which has to be read again."""
    record = found.letter.record._replace(value=None)
    return replace(found, letter=replace(found.letter, record=record))


def source_from(text: str) -> Source | None:
    """`topic/partition/offset`; None if it is of another form."""
    parts = _SOURCE_FORM.fullmatch(text)
    return None if parts is None else Source(parts[1], int(parts[2]), int(parts[3]))


def _original_source(record: Record) -> Source:
    """What the header says, if it can be true: copies stay in the partition of their source."""
    first = source_from(_text(record, ORIGINAL_SOURCE_HEADER) or "")
    if first is None or first[:2] != record.source[:2]:
        return record.source
    return first


def _original_timestamp_ms(record: Record) -> int:
    text = _text(record, ORIGINAL_TIMESTAMP_HEADER)
    if text is not None and _TIMESTAMP_FORM.fullmatch(text):
        return int(text)
    # A stranger's letter may say any: what is written must be read back.
    return max(-_LATEST_MS, min(_LATEST_MS, round(record.timestamp * 1000)))


def _text(record: Record, name: str) -> str | None:
    """The last header of this name, as in Kafka's own clients."""
    value = dict(record.headers).get(name)
    return None if value is None else value.decode("utf-8", "replace")


def _set(document: Any, path: tuple[str, ...], member: Any) -> None:
    """Objects on the way are made where there are none."""
    *outer, last = path
    for name in outer:
        if isinstance(document, dict):
            document = document.setdefault(name, {})
    if not isinstance(document, dict):
        raise CannotEdit(f"{'.'.join(path)} cannot be set: what should hold it is no JSON object")
    document[last] = member
