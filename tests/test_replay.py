"""The story of a replay, against topics in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.model import DeadLetter, ReadDeadLetter, Reason, Record, Source
from gateway.core.replays import (
    Copy,
    Edit,
    Fate,
    Known,
    Selection,
    Unreadable,
    WriteRefused,
    copied_by,
)
from gateway.replay import Replay, Rules, Tally, Told

TOPIC, DEAD = "job-results", "dead-letters"


class Killed(Exception):
    """What SIGKILL is to a process."""


class Topics:
    """A dead-letter topic and one input topic with a single partition."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.start = 0
        self.letters: list[ReadDeadLetter | Unreadable] = []
        self.refused: set[bytes | None] = set()
        self.unsure: dict[Source, str] = {}
        self.foreign: dict[Source, str] = {}
        self.killed_after: int | None = None
        self.written_at: list[float] = []
        self.read_again: list[Source] = []
        self.told: list[Told | Unreadable] = []

    def send(self, value: bytes | None, headers: Any = (), key: bytes | None = b"key") -> Record:
        self.log.append(Record(TOPIC, 0, len(self.log), 1e9, key, value, tuple(headers)))
        return self.log[-1]

    def dead_letter(self, record: Record, **changes: Any) -> ReadDeadLetter:
        letter = DeadLetter(record, Reason.INVALID, "$: is wrong", 1e9 + 1, "decode")
        found = ReadDeadLetter(letter, Source(DEAD, 0, len(self.letters)))
        self.letters.append(replace(found, **changes))
        return found

    def truncated(self, record: Record) -> None:
        value = record.value or b""
        self.dead_letter(
            record._replace(value=value[:3], headers=()),
            is_truncated=True,
            value_bytes=len(value),
            value_sha256=hashlib.sha256(value).hexdigest(),
        )

    # what a replay sees

    async def read_all(self) -> AsyncIterator[ReadDeadLetter | Unreadable]:
        for found in self.letters:
            yield found

    async def known_of(self, sources: Mapping[Source, float]) -> Known:
        copies: dict[Source, list[int]] = {}
        for record in self.log:
            if (of := copied_by(record)) is not None and of.source in sources:
                copies.setdefault(of.source, []).append(of.original_timestamp_ms)
        return Known(copies, self.unsure, self.foreign)

    async def read_at(self, source: Source) -> Any:
        self.read_again.append(source)
        if source.topic == DEAD:
            return self.letters[source.offset]
        return self.log[source.offset] if source.offset >= self.start else None

    async def write(self, copy: Copy) -> Source | WriteRefused:
        if self.killed_after is not None and len(self.written_at) >= self.killed_after:
            raise Killed
        if copy.value in self.refused:
            return WriteRefused("too large for the topic")
        self.written_at.append(asyncio.get_running_loop().time())
        return self.send(copy.value, copy.headers, copy.key).source

    # what a test does with it

    async def replay(self, selection: Selection | None = None, **rules: Any) -> Tally:
        self.told = []
        replay = Replay(self, self, Rules(**{"per_second": 1e6} | rules), self.told.append)
        return await replay.run(selection or Selection())

    def fates(self) -> list[Fate]:
        return [told.fate for told in self.told if isinstance(told, Told)]

    def copies(self) -> list[bytes | None]:
        return [record.value for record in self.log if copied_by(record) is not None]


@pytest.fixture
def topics() -> Topics:
    return Topics()


def values(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_a_dry_run_tells_exactly_what_a_run_does_and_writes_nothing(topics: Topics) -> None:
    for value in values(5):
        topics.dead_letter(topics.send(value))
    topics.dead_letter(topics.log[2])
    topics.dead_letter(topics.send(b"back again", [("gateway-replay", b"3")]))
    dry = await topics.replay(dry_run=True)
    told = topics.fates()
    assert len(topics.log) == 6
    assert await topics.replay() == dry
    assert topics.fates() == told
    assert dry.fates == {Fate.REPLAYED: 5, Fate.REPEATED: 1, Fate.LOOP: 1}
    assert dry.selected == 7
    assert not dry.is_done
    assert topics.copies() == values(5)


@pytest.mark.parametrize("killed_after", range(6))
async def test_killed_anywhere_and_run_again_nothing_is_sent_twice_and_nothing_missed(
    topics: Topics, killed_after: int
) -> None:
    for value in values(6):
        topics.dead_letter(topics.send(value))
    topics.killed_after = killed_after
    with pytest.raises(Killed):
        await topics.replay()
    topics.killed_after = None
    tally = await topics.replay()
    assert tally.is_done
    assert tally.fates[Fate.REPLAYED_BEFORE] == killed_after
    assert topics.copies() == values(6)


async def test_another_selection_does_not_send_again_what_the_first_has_sent(
    topics: Topics,
) -> None:
    found = [topics.dead_letter(topics.send(value)) for value in values(4)]
    await topics.replay(Selection(positions=frozenset({found[3].position, found[1].position})))
    assert topics.copies() == [b"1", b"3"]
    await topics.replay(Selection(reasons=frozenset({Reason.INVALID})))
    assert topics.copies() == [b"1", b"3", b"0", b"2"]
    assert topics.fates() == [
        Fate.REPLAYED,
        Fate.REPLAYED_BEFORE,
        Fate.REPLAYED,
        Fate.REPLAYED_BEFORE,
    ]


async def test_only_with_again_is_a_dead_letter_sent_twice(topics: Topics) -> None:
    topics.dead_letter(topics.send(b"0"))
    for again in (False, False, True):
        await topics.replay(again=again)
    assert topics.copies() == [b"0", b"0"]


async def test_an_event_that_keeps_failing_is_replayed_so_often_and_no_more(
    topics: Topics,
) -> None:
    topics.dead_letter(topics.send(b"0"))
    for _ in range(3):
        assert (await topics.replay(max_replays=3)).fates[Fate.REPLAYED] == 1
        topics.dead_letter(topics.log[-1])  # the copy fails as well
    tally = await topics.replay(max_replays=3)
    assert tally.fates == {Fate.REPLAYED_BEFORE: 3, Fate.LOOP: 1}
    assert len(topics.copies()) == 3
    assert (await topics.replay(max_replays=3, again=True)).fates[Fate.LOOP] == 1


async def test_what_was_not_kept_whole_is_read_at_its_source(topics: Topics) -> None:
    headers = (("gateway-replay", b"2"), ("own", b"kept"))
    topics.truncated(topics.send(b"large value", headers))
    assert (await topics.replay()).is_done
    assert topics.copies() == [b"large value"]
    assert ("own", b"kept") in topics.log[-1].headers
    assert ("gateway-replay", b"3") in topics.log[-1].headers
    assert (await topics.replay()).fates == {Fate.REPLAYED_BEFORE: 1}


async def test_what_was_not_kept_whole_and_is_gone_is_told_and_the_rest_goes_on(
    topics: Topics,
) -> None:
    topics.truncated(topics.send(b"large value"))
    topics.truncated(topics.send(b"another value"))
    topics.dead_letter(topics.send(b"2"))
    topics.start = 1
    topics.log[1] = topics.log[1]._replace(value=b"ANOTHER VALUE")
    tally = await topics.replay()
    assert tally.fates == {Fate.GONE: 2, Fate.REPLAYED: 1}
    assert not tally.is_done
    assert topics.copies() == [b"2"]


async def test_where_copies_may_have_been_deleted_nothing_is_sent_unless_told_to(
    topics: Topics,
) -> None:
    found = topics.dead_letter(topics.send(b"0"))
    topics.unsure = {found.letter.record.source: "retention"}
    tally = await topics.replay()
    assert (tally.fates, tally.is_done) == ({Fate.FORGOTTEN: 1}, False)
    assert topics.copies() == []
    await topics.replay(again=True)
    assert topics.copies() == [b"0"]
    # A copy that can be seen is proof, whatever else has been deleted.
    assert (await topics.replay()).fates == {Fate.REPLAYED_BEFORE: 1}


async def test_nothing_is_written_to_a_topic_that_is_not_ours(topics: Topics) -> None:
    found = topics.dead_letter(topics.send(b"0"))
    topics.foreign = {found.letter.record.source: "it is not one of input.topics"}
    assert (await topics.replay(again=True)).fates == {Fate.FOREIGN: 1}


async def test_one_refused_copy_stops_no_other(topics: Topics) -> None:
    for value in values(3):
        topics.dead_letter(topics.send(value))
    topics.dead_letter(topics.send(None, key=None))
    topics.refused = {b"1"}
    tally = await topics.replay()
    assert tally.fates == {Fate.REPLAYED: 2, Fate.REFUSED: 2}
    assert topics.copies() == [b"0", b"2"]


async def test_an_edit_that_does_not_fit_a_value_leaves_it_unsent(topics: Topics) -> None:
    topics.dead_letter(topics.send(b'{"a": 1}'))
    topics.dead_letter(topics.send(b"no JSON"))
    tally = await topics.replay(edit=Edit(members=((("a",), 2),)))
    assert tally.fates == {Fate.REPLAYED: 1, Fate.NOT_EDITED: 1}
    assert topics.copies() == [b'{"a":2}']


async def test_strangers_are_told_and_only_what_was_not_read_at_all_is_a_failure(
    topics: Topics,
) -> None:
    topics.letters.append(Unreadable(Source(DEAD, 0, 0), "not a dead letter of the gateway"))
    topics.dead_letter(topics.send(b"0"))
    tally = await topics.replay()
    assert (tally.unreadable, tally.is_done) == (1, True)
    assert topics.told[0] == topics.letters[0]
    topics.letters.append(Unreadable(Source(DEAD, 1, 0), "wrong checksum", is_rest=True))
    assert not (await topics.replay()).is_done


async def test_values_beyond_the_budget_are_read_again_when_their_turn_comes(
    topics: Topics,
) -> None:
    for number in range(5):
        topics.dead_letter(topics.send(b"%d" % number * 100))
    await topics.replay(held_bytes=300)
    assert topics.copies() == [b"%d" % number * 100 for number in range(5)]
    assert [source.offset for source in topics.read_again] == [2, 3, 4]


async def test_what_retention_deletes_meanwhile_is_told(topics: Topics) -> None:
    topics.dead_letter(topics.send(b"0" * 100))

    async def nothing(_: Source) -> None:
        return None

    topics.read_at = nothing  # type: ignore[method-assign]
    assert (await topics.replay(held_bytes=10)).fates == {Fate.GONE: 1}


@pytest.mark.looptime
async def test_the_rate_is_kept(topics: Topics) -> None:
    for value in values(101):
        topics.dead_letter(topics.send(value))
    await topics.replay(per_second=10.0)
    seconds = topics.written_at[-1] - topics.written_at[0]
    assert seconds == pytest.approx(10.0, abs=0.01)
