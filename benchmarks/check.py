"""Has anything moved? One run held against the runs that are on record.

    python -m benchmarks.check [--record] [arguments of `python -m benchmarks`]

`benchmarks/record.json` holds, for every bar, what earlier runs have found. What lies beyond all of
them by more than their own spread, or by a tenth where they hardly differ, has moved. Exit code 1
if something has moved for the worse. `--record` adds this run to the record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

RECORD: Final = Path(__file__).with_name("record.json")
LEAST_SPREAD: Final = 0.1
MOST_RUNS: Final = 10

Found = Mapping[str, tuple[float, str]]
"""By name: the value, and the bar that it is held against (`>= 5.5`)."""


class Moved(NamedTuple):
    """A value that lies outside what earlier runs have found."""

    name: str
    value: float
    low: float
    high: float
    is_worse: bool

    def __str__(self) -> str:
        how = "WORSE " if self.is_worse else "better"
        return f"{how}  {self.name}: {self.value:.3g}, on record {self.low:.3g} to {self.high:.3g}"


def moved(found: Found, record: Mapping[str, Sequence[float]]) -> Iterator[Moved]:
    """What is not on record has not moved."""
    for name, (value, bar) in found.items():
        if not (known := record.get(name)):
            continue
        low, high = min(known), max(known)
        slack = max(high - low, LEAST_SPREAD * abs(high))
        if low - slack <= value <= high + slack:
            continue
        is_worse = (value < low) if bar.startswith(">=") else (value > high)
        yield Moved(name, value, low, high, is_worse)


def recorded(found: Found, record: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The record with this run in it, the oldest run out of it if it is full."""
    names = dict.fromkeys((*record, *found))
    return {
        name: [*record.get(name, ()), *([found[name][0]] if name in found else [])][-MOST_RUNS:]
        for name in names
    }


def measured(arguments: Sequence[str]) -> Found:
    command = [sys.executable, "-m", "benchmarks", "--json", *arguments]
    done = subprocess.run(command, cwd=RECORD.parents[1], stdout=subprocess.PIPE, check=False)
    bars = json.loads(done.stdout)["bars"]
    return {bar["name"]: (bar["value"], bar["bar"]) for bar in bars}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check")
    parser.add_argument("--record", action="store_true", help="add this run to the record")
    options, arguments = parser.parse_known_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    found = measured(arguments)
    changes = list(moved(found, record))
    print(*changes, f"{len(changes)} of {len(found)} have moved", sep="\n")
    if options.record:
        RECORD.write_text(json.dumps(recorded(found, record), indent=2) + "\n")
    return 1 if any(one.is_worse for one in changes) else 0


if __name__ == "__main__":
    sys.exit(main())
