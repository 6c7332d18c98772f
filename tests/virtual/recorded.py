"""The facts of a run, for the judge: only what would outlive the processes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.simulation.books import Entry as BooksEntry
from gateway.simulation.history import (
    ACCEPTED,
    Call,
    Commit,
    Ended,
    Entry,
    History,
    Lapse,
    Letter,
    Source,
)
from gateway.simulation.note_reading import settled_ahead
from gateway.simulation.reading import content_of_event, content_of_request
from tests.virtual.aws import ATTEMPT_SECONDS
from tests.virtual.events import EPOCH
from tests.virtual.member import TOPIC

if TYPE_CHECKING:
    from tests.virtual.run import Stage

_PUT_OFF = 20


def recorded(stage: Stage) -> History:
    around = stage.around
    return History(
        entries=_entries(stage),
        calls=[_call(entry, stage) for entry in stage.codepipeline.books],
        outcomes=[
            Ended(
                Source(*written.entry.source),
                written.entry.kind.value,
                written.entry.certainty.value,
                EPOCH + written.time,
                written.entry.time,
                None if written.entry.reason is None else written.entry.reason.value,
                written.entry.job_id,
                None if written.entry.operation is None else written.entry.operation.value,
            )
            for written in around.outcomes.written
        ],
        letters=_letters(stage),
        commits=[
            Commit(
                *commit.place,
                commit.point.offset,
                EPOCH + commit.time,
                settled_ahead(commit.point.note, commit.point.offset),
            )
            for commit in around.group.commits
        ],
        handovers=sorted(
            EPOCH + time for time in (*stage.handovers, *around.group.generations[1:])
        ),
        generations=[EPOCH + time for time in around.group.generations],
        lapses=[
            Lapse(lapse.member, EPOCH + lapse.since, EPOCH + lapse.until) for lapse in stage.lapses
        ],
        early_attempts=_early_attempts(stage),
        attempt_timeout_seconds=ATTEMPT_SECONDS,
        may_give_up=around.configuration.give_up_seconds < float("inf"),
    )


def _early_attempts(stage: Stage) -> int:
    """A retry that finds no place to wait is put off, and proves nothing: it does not count."""
    settings = stage.around.configuration
    is_tight = settings.waiting.retries < settings.budgets.records
    return len(settings.rules.early_result_delays) + (_PUT_OFF if is_tight else 0)


def _entries(stage: Stage) -> list[Entry]:
    return [
        Entry(
            Source(*record.source),
            record.timestamp,
            content_of_event(record.value, stage.sent[record.source].target),
            is_null=record.value is None,
            expected=stage.sent[record.source].expected,
        )
        for record in stage.log.records(TOPIC)
    ]


def _call(entry: BooksEntry, stage: Stage) -> Call:
    """An answer that met a frozen process was delivered, and yet its time-out may win."""
    account = entry.caller.account if entry.caller is not None else ""
    has_request_id = entry.fault not in ("html-200", "no-request-id")
    is_accepted = entry.code == "" and entry.status == 200 and has_request_id
    return Call(
        content_of_request(entry.operation, json.loads(entry.request or b"{}"), account),
        entry.begun,
        float("inf") if entry.ended is None else entry.ended,
        ACCEPTED if is_accepted else entry.code or "",
        instance=entry.instance or "",
        was_applied=entry.applied,
        was_delivered=None if stage.met_frozen(entry) else entry.delivered,
    )


def _letters(stage: Stage) -> list[Letter]:
    originals = {record.source: record for record in stage.log.records(TOPIC)}
    return [
        Letter(
            Source(*written.entry.record.source),
            written.entry.reason.value,
            written.entry.record == originals.get(written.entry.record.source),
            repr(written.entry.time),
            EPOCH + written.time,
        )
        for written in stage.around.dead_letters.written
    ]
