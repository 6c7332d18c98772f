"""`gateway settings --signals`: the reference of logs and metrics, from the catalogue itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from gateway.adapters.metrics import BUCKETS_SECONDS, GAUGES
from gateway.adapters.telemetry import MOST_ALIKE
from gateway.core.signals import Signal, catalogue

_HEAD = f"""# Signals

Written by `gateway settings --signals`; change `gateway/core/signals.py` and
`gateway/adapters/metrics.py` instead of this page.

A signal is a line of the log and a count in the metrics. `debug` and `info` are news, `warning`
means that something is wrong and nothing was lost, `error` that an operator must act. No signal
holds the content of a request.

Logs go to standard output, a JSON object a line: `time`, `level`, `event`, and the fields below.
What libraries log has the same form, with `logger`. Metrics are exact. The log is not: of signals
with the same event and labels, {MOST_ALIKE} a second are written and the others are told of in one
line that says how many were `suppressed`; at level `debug` all are written. `/metrics` has them in
Prometheus' text format; a label has at most a few hundred values, then `(other)`.
"""


def as_markdown() -> str:
    """docs/SIGNALS.md."""
    blocks = [_HEAD, "\n## Events\n\n| level | event | fields |\n| --- | --- | --- |\n"]
    for row in _signals():
        blocks.append(f"| {row['level']} | {row['event']} | {_codes(row['fields'])} |\n")
    blocks.append("\n## Counters\n\n| metric | labels | meaning |\n| --- | --- | --- |\n")
    for row in _signals():
        if row["counter"]:
            labels = _codes(row["labels"])
            blocks.append(f"| `{row['counter']}` | {labels} | {row['meaning']} |\n")
    bounds = ", ".join(f"{bound:g}" for bound in BUCKETS_SECONDS)
    blocks.append(f"\n## Histograms\n\nOf seconds, with buckets up to {bounds}.\n\n")
    blocks.append("| metric | labels | observed with |\n| --- | --- | --- |\n")
    for row in _signals():
        if row["histogram"]:
            labels = _codes(row["histogram_labels"])
            blocks.append(f"| `{row['histogram']}` | {labels} | {row['event']} |\n")
    blocks.append("\n## Gauges\n\n| metric | labels | meaning |\n| --- | --- | --- |\n")
    blocks += [f"| `{g.name}` | {_codes(g.labels)} | {g.help} |\n" for g in GAUGES]
    return "".join(blocks)


def as_json() -> str:
    gauges = [gauge._asdict() for gauge in GAUGES]
    return json.dumps({"signals": list(_signals()), "gauges": gauges}, indent=2) + "\n"


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _signals() -> Iterator[dict[str, Any]]:
    for kind in catalogue():
        yield _row(kind)


def _row(kind: type[Signal]) -> dict[str, Any]:
    return {
        "level": kind.level.value,
        "event": kind.event,
        "fields": tuple(field.name for field in fields(kind)),
        "meaning": kind.help,
        "counter": kind.counter,
        "labels": kind.labels,
        "histogram": kind.histogram,
        "histogram_labels": kind.histogram_labels,
    }
