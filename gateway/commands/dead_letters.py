"""`gateway dead-letters list | show | replay`: what could not be delivered, and once more.

Exit codes: 0 done; 1 something could not be read or replayed, or Kafka is in trouble; 2 the
command line cannot be used. 130 after Ctrl-C: run the same again, it goes on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from gateway import assembly
from gateway.adapters.kafka_client import TROUBLE
from gateway.adapters.kafka_reading import explained
from gateway.adapters.replay_topics import DeadLetterReader, InputTopicsOfReplay
from gateway.adapters.replay_turn import NotAlone, our_turn
from gateway.adapters.topic_reader import TopicReader
from gateway.commands.dead_letters_shown import as_text, details, fields, plain, table
from gateway.config import Settings
from gateway.core.model import ReadDeadLetter, Reason, Source
from gateway.core.replays import Edit, Fate, Selection, Unreadable, job_of, lightened, source_from
from gateway.core.timestamps import rfc_3339
from gateway.replay import Replay, Rules, Tally, Told

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO_FORM = re.compile("([0-9]{1,9})([smhd])", re.ASCII)


class WrongUse(Exception):
    """What is wrong with the command line, in one sentence."""


@dataclass(frozen=True, slots=True)
class Filters:
    """As they stand on the command line."""

    reasons: Sequence[str] = ()
    jobs: Sequence[str] = ()
    targets: Sequence[str] = ()
    at: Sequence[str] = ()
    since: str | None = None
    until: str | None = None

    def selection(self, now: float) -> Selection:
        """Raises WrongUse."""
        return Selection(
            frozenset(_reason(text) for text in self.reasons),
            frozenset(self.jobs),
            frozenset(self.targets),
            frozenset(_position(text) for text in self.at),
            _moment("--since", self.since, now),
            _moment("--until", self.until, now),
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """Edits as they stand on the command line."""

    members: Sequence[str] = ()
    value_from: Path | None = None
    headers: Sequence[str] = ()
    without_headers: Sequence[str] = ()

    def edit(self) -> Edit:
        """Raises WrongUse."""
        return Edit(
            None if self.value_from is None else _content(self.value_from),
            tuple(_member(text) for text in self.members),
            dict(_header(text) for text in self.headers),
            frozenset(self.without_headers),
        )


def run_list(settings: Settings, filters: Filters, *, as_json: bool) -> int:
    return _run(_list(settings, filters, as_json))


def run_show(
    settings: Settings, position: str, *, as_json: bool, with_secrets: bool, raw: bool
) -> int:
    return _run(_show(settings, position, as_json, with_secrets, raw))


def run_replay(
    settings: Settings,
    filters: Filters,
    changes: Changes,
    *,
    everything: bool,
    dry_run: bool,
    again: bool,
    rate: float,
    max_replays: int,
    as_json: bool,
) -> int:
    return _run(
        _replay(
            settings,
            filters,
            everything,
            lambda: Rules(changes.edit(), max_replays, again, rate, dry_run),
            as_json,
        )
    )


def _run(work: Coroutine[Any, Any, int]) -> int:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is raised, and told
    try:
        return asyncio.run(work)
    except WrongUse as fault:
        print(fault, file=sys.stderr)
        return WRONG_USE
    except NotAlone as fault:
        print(fault, file=sys.stderr)
    except TROUBLE as error:
        print(f"Kafka: {explained(error)}; run it again to go on", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    return FAILED


# -- list and show ---------------------------------------------------------------------------------


async def _list(settings: Settings, filters: Filters, as_json: bool) -> int:
    selection = filters.selection(time.time())
    found, is_complete = [], True
    async for letter in _all(settings):
        if isinstance(letter, Unreadable):
            is_complete = is_complete and not letter.is_rest
        elif selection.fits(letter):
            if as_json:
                print(json.dumps(fields(letter)))
            else:
                found.append(lightened(letter))
    if not as_json:
        await asyncio.to_thread(_print_table, found)
    return 0 if is_complete else FAILED


def _print_table(letters: list[ReadDeadLetter]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(letters), soft_wrap=not sys.stdout.isatty())
    print(f"{len(letters)} dead letters")


async def _show(
    settings: Settings, position: str, as_json: bool, with_secrets: bool, raw: bool
) -> int:
    wanted = Selection(positions=frozenset({_position(position)}))
    shown = 0
    async for letter in _all(settings):
        if isinstance(letter, Unreadable) or not wanted.fits(letter):
            continue
        shown += 1
        if raw:
            sys.stdout.buffer.write(letter.letter.record.value or b"")
            return 0
        told = details(letter, with_secrets=with_secrets)
        print(json.dumps(told) if as_json else "\n".join(as_text(told)))
    if not shown:
        print(f"{position}: no dead letter stands there or comes from there", file=sys.stderr)
    return 0 if shown else FAILED


async def _all(settings: Settings) -> AsyncIterator[ReadDeadLetter | Unreadable]:
    """Every dead letter; what is none is told on standard error."""
    async with TopicReader(assembly.connection(settings)) as reader:
        async for found in DeadLetterReader(reader, settings.dead_letters.topic).read_all():
            if isinstance(found, Unreadable):
                _tell_unreadable(found)
            yield found


def _tell_unreadable(found: Unreadable) -> None:
    print(f"{found.position}: {plain(found.why)}; passed over", file=sys.stderr)


# -- replay ----------------------------------------------------------------------------------------


async def _replay(
    settings: Settings, filters: Filters, everything: bool, make_rules: Any, as_json: bool
) -> int:
    selection = filters.selection(time.time())
    if selection.is_everything != everything:
        raise WrongUse("say which dead letters: by a filter, or --all without one")
    rules: Rules = await asyncio.to_thread(make_rules)
    connection, topic = assembly.connection(settings), settings.dead_letters.topic
    async with (
        TopicReader(connection) as reader,
        InputTopicsOfReplay(connection, reader, settings.input.topics) as inputs,
    ):
        letters = DeadLetterReader(reader, topic)
        if rules.edit.value is not None:
            await _check_single(letters, selection)
        replay = Replay(letters, inputs, rules, _teller(rules, as_json))
        if rules.dry_run:
            tally = await replay.run(selection)
        else:
            await letters.spans()  # a group must not be joined for a topic that does not exist
            async with our_turn(connection, f"{settings.kafka.group_id}-replay", topic):
                tally = await replay.run(selection)
    print(_summary(tally, rules.dry_run, as_json))
    return 0 if tally.is_done else FAILED


async def _check_single(letters: DeadLetterReader, selection: Selection) -> None:
    sources = {
        found.letter.record.source
        async for found in letters.read_all()
        if not isinstance(found, Unreadable) and selection.fits(found)
    }
    if len(sources) != 1:
        raise WrongUse(f"--value-from: needs a selection of one dead letter, not {len(sources)}")


def _teller(rules: Rules, as_json: bool) -> Any:
    def tell(told: Told | Unreadable) -> None:
        if isinstance(told, Unreadable):
            _tell_unreadable(told)
        elif as_json:
            print(json.dumps(_told_fields(told, rules.dry_run)), flush=True)
        else:
            print(_told_text(told, rules.dry_run), flush=True)

    return tell


def _told_fields(told: Told, is_dry: bool) -> dict[str, Any]:
    letter = told.found.letter
    return {
        "fate": _fate(told.fate, is_dry),
        "source": str(letter.record.source),
        "position": str(told.found.position),
        "reason": str(letter.reason),
        "job": letter.job_id,
        "replay": told.replay,
        "copy": told.copy and str(told.copy),
        "why": told.why,
    }


def _told_text(told: Told, is_dry: bool) -> str:
    letter = told.found.letter
    what = f"{letter.record.source} ({letter.reason}, job {job_of(told.found) or 'unknown'})"
    if told.fate is Fate.REPLAYED:
        where = "" if told.copy is None else f" as {told.copy}"
        return plain(f"{_fate(told.fate, is_dry)}: {what}{where}, replay {told.replay}")
    return plain(f"{told.fate}: {what}" + (f": {told.why}" if told.why else ""))


def _summary(tally: Tally, is_dry: bool, as_json: bool) -> str:
    fates = {_fate(fate, is_dry): tally.fates[fate] for fate in Fate if tally.fates[fate]}
    if as_json:
        told = {"selected": tally.selected, "fates": fates, "unreadable": tally.unreadable}
        return json.dumps(told)
    counts = ", ".join(f"{count} {fate}" for fate, count in fates.items())
    hint = f" (--again replays the {Fate.FORGOTTEN} ones)" if tally.fates[Fate.FORGOTTEN] else ""
    return f"{tally.selected} dead letters selected: {counts or 'nothing to do'}{hint}"


def _fate(fate: Fate, is_dry: bool) -> str:
    return "would be replayed" if is_dry and fate is Fate.REPLAYED else str(fate)


# -- the command line ------------------------------------------------------------------------------


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        raise WrongUse(f"--reason: must be one of {', '.join(Reason)}") from None


def _position(text: str) -> Source:
    position = source_from(text)
    if position is None:
        raise WrongUse("a position must be TOPIC/PARTITION/OFFSET")
    return position


def _moment(option: str, text: str | None, now: float) -> float | None:
    if text is None:
        return None
    if ago := _AGO_FORM.fullmatch(text):
        return now - int(ago[1]) * _SECONDS[ago[2]]
    seconds = rfc_3339(text)
    if seconds is None:
        raise WrongUse(f"{option}: must be RFC 3339 with zone, or so long ago: 90s, 15m, 6h, 2d")
    return seconds


def _member(text: str) -> tuple[tuple[str, ...], Any]:
    path, is_there, value = text.partition("=")
    names = tuple(path.removeprefix("$.").split("."))
    try:
        if is_there and all(names):
            return names, json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        pass
    raise WrongUse("--set: must be MEMBER=JSON, as in executionDetails.percentComplete=100")


def _no_constant(name: str) -> NoReturn:
    """NaN and Infinity are no JSON: a replay with one would come back as malformed."""
    raise ValueError(name)


def _header(text: str) -> tuple[str, bytes]:
    name, is_there, value = text.partition("=")
    try:
        name.encode()
        content = value.encode()
    except UnicodeEncodeError:
        raise WrongUse("--header: must be UTF-8") from None
    if not (name and is_there):
        raise WrongUse("--header: must be NAME=VALUE")
    return name, content


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WrongUse(f"--value-from: {file}: {error.strerror}") from None
