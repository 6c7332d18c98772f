"""Several workers' `/status` as one, in the shape that one process's has.

What is counted adds up; what every worker knows of the whole (endings) or suffers alone (the oldest
record) is the largest; what belongs to one worker (partitions, halts) says to whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Report = Mapping[str, Any]


def totals(reports: Mapping[str, Report]) -> dict[str, Any]:
    """Of the workers that have answered, by number; with none, nothing has happened."""
    unsettled = [report["unsettled"] for report in reports.values()]
    is_paused = any(report["intake"] == "paused" for report in reports.values())
    return {
        "unsettled": {
            "records": sum(one["records"] for one in unsettled),
            "bytes": sum(one["bytes"] for one in unsettled),
            "oldest_seconds": max((one["oldest_seconds"] for one in unsettled), default=0.0),
        },
        "intake": "paused" if is_paused else "open",
        "deliveries": _added(report["deliveries"] for report in reports.values()),
        "outcomes": _added(report["outcomes"] for report in reports.values()),
        "pending_writes": _added(report["pending_writes"] for report in reports.values()),
        "known_endings": max((report["known_endings"] for report in reports.values()), default=0),
        "partitions": _partitions(reports),
        "targets": _targets(reports),
    }


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    added: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            added[name] = added.get(name, 0) + count
    return added


def _partitions(reports: Mapping[str, Report]) -> list[dict[str, Any]]:
    rows = [
        {**row, "worker": worker}
        for worker, report in reports.items()
        for row in report["partitions"]
    ]
    return sorted(rows, key=lambda row: (row["topic"], row["partition"]))


def _targets(reports: Mapping[str, Report]) -> dict[str, dict[str, Any]]:
    added: dict[str, dict[str, Any]] = {}
    for worker, report in reports.items():
        for name, target in report["targets"].items():
            total = added.setdefault(name, {"room": 0.0, "calls": 0, "accepted": 0, "halts": []})
            for count in ("room", "calls", "accepted"):
                total[count] = round(total[count] + target[count], 1)
            total["halts"] += [{**halt, "worker": worker} for halt in target["halts"]]
    return added
