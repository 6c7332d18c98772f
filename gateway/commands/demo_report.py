"""What the demo tells at its end: figures for machines, tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.simulation.history import Ended, History, Source
from gateway.simulation.judge import Judgement

_SHOWN_VIOLATIONS = 20
KINDS = ("accepted", "duplicate", "already-ended", "conflict", "dead-lettered", "skipped")
_MEANINGS = {
    "malformed": "not one JSON object",
    "invalid": "a member breaks a rule of the API",
    "unroutable": "names a target that the topic may not reach",
    "internal": "a fault of the gateway's own",
    "refused": "CodePipeline refuses the event itself",
    "unknown-job": "CodePipeline does not know the job",
    "exhausted": "every attempt failed while others succeeded",
    "expired": "no longer worth an attempt",
    "given-up": "the operator has given the target up",
    "conflict": "contradicts how the job ended",
}


@dataclass(frozen=True)
class Figures:
    """How fast it was. Seconds; from the moment a record was due to its outcome."""

    throughput_per_second: float
    latency_seconds: Mapping[str, float]


def figures(history: History) -> Figures:
    """Zeros where nothing has ended."""
    first = first_outcomes(history.outcomes)
    due = {entry.source: entry.timestamp for entry in history.entries}
    spans = [(due[source], ended.time) for source, ended in first.items() if source in due]
    if not spans:
        return Figures(0.0, {"p50": 0.0, "p99": 0.0, "max": 0.0})
    latencies = sorted(max(0.0, end - start) for start, end in spans)
    seconds = max(end for _, end in spans) - min(start for start, _ in spans)
    return Figures(
        round(len(spans) / max(seconds, 0.001), 1),
        {
            "p50": round(_quantile(latencies, 0.50), 3),
            "p99": round(_quantile(latencies, 0.99), 3),
            "max": round(latencies[-1], 3),
        },
    )


def first_outcomes(outcomes: Iterable[Ended]) -> dict[Source, Ended]:
    first: dict[Source, Ended] = {}
    for ended in sorted(outcomes, key=lambda ended: ended.timestamp):
        first.setdefault(ended.source, ended)
    return first


def as_object(judgement: Judgement, measured: Figures) -> dict[str, Any]:
    """The last line of `gateway demo --json`."""
    return {
        "records": judgement.records,
        "job_results": judgement.job_results,
        "outcomes": judgement.outcomes,
        "dead_letters": judgement.dead_letters,
        "lost": judgement.lost,
        "reordered": judgement.reordered,
        "repeats": {
            "after_crash": judgement.repeats_after_crash,
            "needless": judgement.repeats_needless,
        },
        "throughput_per_second": measured.throughput_per_second,
        "latency_seconds": dict(measured.latency_seconds),
        "violations": [str(violation) for violation in judgement.violations],
    }


def print_report(
    console: Console,
    history: History,
    stories: Mapping[Source, str],
    judgement: Judgement,
    measured: Figures,
) -> None:
    """What became of every record, and whether anything went wrong."""
    parts: list[RenderableType] = [
        _by_story(history, stories),
        _by_reason(judgement),
        _speed(measured),
        _finding(judgement),
    ]
    console.print(Group(*parts))


def _by_story(history: History, stories: Mapping[Source, str]) -> Table:
    """One row for each kind of record that was sent, one column for each way to end."""
    first = first_outcomes(history.outcomes)
    became: dict[str, Counter[str]] = {}
    for entry in history.entries:
        ended = first.get(entry.source)
        kind = ended.kind if ended else "skipped" if entry.is_null else "not ended"
        is_poison = entry.expected == "rejected"
        story = "poison" if is_poison else stories.get(entry.source, "unknown")
        became.setdefault(story, Counter())[kind] += 1
    table = Table(title="What became of every record", title_justify="left")
    table.add_column("sent as")
    kinds = [kind for kind in (*KINDS, "not ended") if any(kind in row for row in became.values())]
    for kind in ("records", *kinds):
        table.add_column(kind, justify="right")
    for story, row in sorted(became.items(), key=lambda item: -item[1].total()):
        table.add_row(story, str(row.total()), *(str(row[kind] or "") for kind in kinds))
    return table


def _by_reason(judgement: Judgement) -> Table:
    table = Table(title="Dead letters", title_justify="left")
    table.add_column("reason")
    table.add_column("records", justify="right")
    table.add_column("meaning")
    for reason, count in sorted(judgement.dead_letters.items(), key=lambda item: -item[1]):
        table.add_row(reason, str(count), _MEANINGS.get(reason, ""))
    return table


def _speed(measured: Figures) -> Text:
    latency = measured.latency_seconds
    return Text(
        f"{measured.throughput_per_second:,.0f} records a second; from due to ended "
        f"{latency['p50']:.3f} s at the median, {latency['p99']:.3f} s at p99, "
        f"{latency['max']:.3f} s at most (throttling, expired credential and crash included)"
    )


def _finding(judgement: Judgement) -> Text:
    """The sentence that the demo is for."""
    counts = (
        f"{judgement.lost} lost, {judgement.reordered} reordered, "
        f"{judgement.repeats_needless} needlessly repeated, "
        f"{judgement.repeats_after_crash} repeated after the crash"
    )
    if judgement.is_clean:
        return Text(f"CLEAN: {counts}", style="bold green")
    shown = [f"  {violation}" for violation in judgement.violations[:_SHOWN_VIOLATIONS]]
    more = len(judgement.violations) - len(shown)
    shown += [f"  and {more} more"] if more else []
    return Text("\n".join([f"BROKEN: {counts}", *shown]), style="bold red")


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
