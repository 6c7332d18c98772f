"""Dead letters back into the input topics they came from.

    dead-letter topic ─► select ─► original order ─► one a record ─► what must not be sent again
                                                                        │
          input topic ◄─ write, at the rate ◄─ copy ◄─ edit ◄─ read again, if it was not kept whole

Guarantees, as long as one replay runs at a time (adapters/replay_turn.py sees to that):

* A dead letter is replayed once, whenever and however often a replay is killed and run again, and
  whatever it selects: a copy names the record that it replays, and before the first copy is
  written the input topics are searched for those that exist. No progress is kept anywhere else, so
  none can disagree. Where retention may have deleted a copy, nothing is written (`forgotten`).
* Copies of one partition are written one after the other in the original order of their events.
* An event is not replayed more than `max_replays` times.
* The dead-letter topic is only read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.core.model import ReadDeadLetter, Record, Source
from gateway.core.replays import (
    HARMLESS,
    CannotEdit,
    Copy,
    Edit,
    Fate,
    Known,
    Selection,
    Unreadable,
    WriteRefused,
    copy_of,
    identity_of,
    in_original_order,
    lightened,
    replays_of,
)


class DeadLetterTopic(Protocol):
    """The dead-letter topic, read only. Raises what its adapter raises for brokers in trouble."""

    def read_all(self) -> AsyncIterator[ReadDeadLetter | Unreadable]:
        """Everything up to the topic's end of now."""

    async def read_at(self, position: Source) -> ReadDeadLetter | None:
        """None: it is not there any more."""


class InputTopics(Protocol):
    """The topics that results come from. Raises what its adapter raises for brokers in trouble."""

    async def known_of(self, sources: Mapping[Source, float]) -> Known:
        """What stands in them up to their ends of now. To each source belongs the moment when it
        was dead-lettered, in seconds since the epoch."""

    async def read_at(self, source: Source) -> Record | None:
        """None: it is not there any more."""

    async def write(self, copy: Copy) -> Source | WriteRefused:
        """Durable when it returns. Never twice."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be replayed, how, and how fast."""

    edit: Edit = field(default_factory=Edit)
    max_replays: int = 3
    again: bool = False
    """Also what was replayed before, or may have been."""
    per_second: float = 100.0
    dry_run: bool = False
    held_bytes: int = 67_108_864
    """Values kept in memory between selecting and writing; past it they are read again."""


class Told(NamedTuple):
    """What became of one selected dead letter, or would in a dry run. Holds nothing of it that is
    secret."""

    fate: Fate
    found: ReadDeadLetter
    replay: int
    """How often the event has been replayed with this time."""
    copy: Source | None = None
    """Where the copy stands."""
    why: str = ""


@dataclass(slots=True)
class Tally:
    """What became of the dead letters, by fate."""

    fates: Counter[Fate] = field(default_factory=Counter)
    selected: int = 0
    unreadable: int = 0
    """Records among the dead letters that are none of ours, and places that cannot be read."""
    is_incomplete: bool = False
    """A part of the dead-letter topic could not be read: it was not even asked what is meant."""

    @property
    def is_done(self) -> bool:
        """Nothing is left that another run, or somebody, should do."""
        return not self.is_incomplete and HARMLESS.issuperset(self.fates)


class Ended(Exception):
    """How the way of one dead letter ends before it is written."""

    def __init__(self, fate: Fate, why: str) -> None:
        super().__init__(why)
        self.fate = fate


class Replay:
    """One run. `tell` hears of every selected dead letter once, in the order of the writing, and
    of everything in the dead-letter topic that cannot be read."""

    def __init__(
        self,
        dead_letters: DeadLetterTopic,
        inputs: InputTopics,
        rules: Rules,
        tell: Callable[[Told | Unreadable], None],
    ) -> None:
        self._dead_letters = dead_letters
        self._inputs = inputs
        self._rules = rules
        self._tell = tell
        self._tally = Tally()
        self._due = 0.0

    async def run(self, selection: Selection) -> Tally:
        """Returns when every selected dead letter has met its fate. What the adapters raise goes
        through; then another run goes on where this one ended."""
        chosen = list(self._once_each(in_original_order(await self._select(selection))))
        known = await self._inputs.known_of(_moments(chosen))
        self._due = self._now()
        for found in chosen:
            self._told(await self._replay(found, known))
        return self._tally

    async def _select(self, selection: Selection) -> list[ReadDeadLetter]:
        selected, held_bytes = [], 0
        async for found in self._dead_letters.read_all():
            if isinstance(found, Unreadable):
                self._tally.unreadable += 1
                self._tally.is_incomplete = self._tally.is_incomplete or found.is_rest
                self._tell(found)
            elif selection.fits(found):
                held_bytes += found.letter.record.size_bytes
                is_held = held_bytes <= self._rules.held_bytes and not found.is_truncated
                selected.append(found if is_held else lightened(found))
        self._tally.selected = len(selected)
        return selected

    def _once_each(self, letters: list[ReadDeadLetter]) -> Iterator[ReadDeadLetter]:
        """Two dead letters of one record: somebody was killed between writing and committing."""
        seen = set()
        for found in letters:
            record = found.letter.record
            one = (record.source, record.timestamp)
            if one in seen:
                self._told(Told(Fate.REPEATED, found, replays_of(record)))
            else:
                seen.add(one)
                yield found

    async def _replay(self, found: ReadDeadLetter, known: Known) -> Told:
        replay = replays_of(found.letter.record)
        try:
            record = await self._with_headers(found, known)
            replay = replays_of(record)
            self._check_not_replayed(record, known)
            copy = copy_of(await self._with_value(record, found), self._rules.edit)
            if copy.key is None and copy.value is None:
                raise Ended(Fate.REFUSED, "it has neither key nor value")
            written = None if self._rules.dry_run else await self._write(copy)
        except Ended as ended:
            return Told(ended.fate, found, replay, why=str(ended))
        except CannotEdit as fault:
            return Told(Fate.NOT_EDITED, found, replay, why=str(fault))
        return Told(Fate.REPLAYED, found, replay + 1, written)

    async def _with_headers(self, found: ReadDeadLetter, known: Known) -> Record:
        """The record as it stood at its source; of one that was kept whole perhaps no value yet."""
        record = found.letter.record
        if record.source in known.foreign:
            raise Ended(Fate.FOREIGN, known.foreign[record.source])
        if not found.is_truncated:
            return record
        whole = await self._inputs.read_at(record.source)
        if whole is None or not _is_the_same(whole, found):
            what = "nothing any more" if whole is None else "another record"
            raise Ended(Fate.GONE, f"it was not kept whole, and its source holds {what}")
        return whole

    def _check_not_replayed(self, record: Record, known: Known) -> None:
        identity = identity_of(record)
        copies = known.copies.get(record.source, ())
        if not self._rules.again:
            if identity.original_timestamp_ms in copies:
                raise Ended(Fate.REPLAYED_BEFORE, "a copy of it stands in the input topic")
            if record.source in known.unsure:
                raise Ended(Fate.FORGOTTEN, known.unsure[record.source])
        if replays_of(record) >= self._rules.max_replays:
            times = f"{replays_of(record)} times"
            raise Ended(Fate.LOOP, f"it has been replayed {times} and came back each time")

    async def _with_value(self, record: Record, found: ReadDeadLetter) -> Record:
        if record.value is not None:
            return record
        again = await self._dead_letters.read_at(found.position)
        if again is None:
            raise Ended(Fate.GONE, "retention has deleted the dead letter meanwhile")
        return again.letter.record

    async def _write(self, copy: Copy) -> Source:
        await asyncio.sleep(self._due - self._now())
        self._due = max(self._due, self._now() - 1.0) + 1 / self._rules.per_second
        written = await self._inputs.write(copy)
        if isinstance(written, WriteRefused):
            raise Ended(Fate.REFUSED, written.why)
        return written

    def _told(self, told: Told) -> None:
        self._tally.fates[told.fate] += 1
        self._tell(told)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _moments(letters: list[ReadDeadLetter]) -> dict[Source, float]:
    """When each record was dead-lettered; the first time, if a source stands for two of them."""
    moments: dict[Source, float] = {}
    for found in letters:
        source, time = found.letter.record.source, found.letter.time
        moments[source] = min(time, moments.get(source, time))
    return moments


def _is_the_same(record: Record, found: ReadDeadLetter) -> bool:
    """Is this the record that the dead letter was cut from?"""
    value = record.value or b""
    return (
        len(value) == found.value_bytes and hashlib.sha256(value).hexdigest() == found.value_sha256
    )
