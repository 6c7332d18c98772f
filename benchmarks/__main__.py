"""All benchmarks, one table.

    python -m benchmarks [--quick] [--json] [--tls] [--call-path botocore|lean]
                         [--only drain|parts|memory|peer|latency|ceilings|cold …]

Ratios say something about the code, absolute figures about the machine; the bars on CPU are scaled
by what a call of stock aiobotocore costs in the same run. The bars of `drain`, `parts` and `memory`
are defined for the call path `botocore`, aiobotocore's own; the others name theirs. Exit code 1 if
a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import cold, decode
from benchmarks.ceilings import ceilings, skewed
from benchmarks.compare import Contender, compare
from benchmarks.drain import STOCK_CALLS, STOCK_MICROSECONDS, drain
from benchmarks.latency import INCIDENTS, open_loop
from benchmarks.memory import grow
from benchmarks.stage import Cores, Load, Stage, endpoint, stage
from benchmarks.table import (
    Line,
    ceiling_lines,
    drain_lines,
    incident_lines,
    latency_lines,
    memory_lines,
    parts_lines,
    peer_lines,
)

HALF_OF_CAPACITY: dict[Contender, float] = {"peer": 700.0, "lean": 3500.0}
"""Results a second, of one core of the machine that the bars were set for."""
WHAT = ("drain", "parts", "memory", "peer", "latency", "ceilings", "cold")
OF_THE_CALL = ("drain", "parts")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    records: int
    rounds: int
    jobs: int
    compared: int
    seconds: float
    load: Load

    @classmethod
    def of(cls, options: argparse.Namespace) -> Size:
        records, jobs = (5_000, 60_000) if options.quick else (50_000, 600_000)
        compared, seconds = (2_000, 5.0) if options.quick else (20_000, 20.0)
        return cls(
            options.records or records,
            options.rounds,
            options.jobs or jobs,
            options.records or compared,
            options.seconds or seconds,
            Load(options.concurrency, options.call_path),
        )


def method(size: Size, cores: Cores, options: argparse.Namespace) -> list[str]:
    quick = "QUICK: fewer than the bars are defined for. " if options.quick else ""
    call = "TLS" if options.tls else "plain HTTP"
    return [
        f"{quick}{size.records:,} records a round, {size.rounds} rounds of gateway and bare loop "
        f"in turns, concurrency {size.load.concurrency}, {call}, "
        f"call path {size.load.call_path}, real Kafka;",
        f"{cores}; memory: {size.jobs:,} unique jobs, default budgets.",
        f"scaled: to a machine on which stock aiobotocore's call over TLS costs "
        f"{STOCK_MICROSECONDS:g} µs.",
    ]


class Run:
    """One run of what was asked for."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self.size = Size.of(options)
        self.cores = Cores.here()
        self.lines: list[Line] = []
        self.details: dict[str, object] = {}

    async def run(self) -> None:
        self.cores.pin_this_process()
        load, is_tls = self.size.load, self._options.tls
        async with stage(self._folder, self.cores, load, is_tls=is_tls) as played:
            if self._is_asked(*OF_THE_CALL):
                await self._drain(played)
            for name, part in (
                ("peer", self._peer),
                ("latency", self._latency),
                ("ceilings", self._ceilings),
                ("memory", self._memory),
            ):
                if self._is_asked(name):
                    await part(played)
        if self._is_asked("cold"):
            self._cold()

    async def _drain(self, played: Stage) -> None:
        size, has_openssl = self.size, shutil.which("openssl") is not None
        async with endpoint(has_openssl) as yardstick:
            drained = await drain(played, yardstick, size.records, size.rounds, self._tell)
        self.details["drain"] = drained.to_json()
        if self._is_asked("drain"):
            self.lines += drain_lines(drained)
        if self._is_asked("parts"):
            decoding = decode.microseconds()
            self.details["decode_microseconds"] = decoding
            self.lines += parts_lines(drained, decoding)

    async def _peer(self, played: Stage) -> None:
        size = self.size
        found = await compare(played, size.compared, size.rounds, self._tell)
        stock = await played.bare("stock", min(STOCK_CALLS, size.compared))
        lean = await played.bare("lean", size.compared)
        self.details["peer"] = {name: one.to_json() for name, one in found.items()}
        self.lines += peer_lines(found, stock, lean)

    async def _latency(self, played: Stage) -> None:
        size, run = self.size, itertools.count()
        async with endpoint(self._options.tls, latency_seconds=0.01) as slow:
            at = played.beside(slow, Load(100, "lean"))
            for name, rate in (("500/s", 500.0), ("half of capacity", None)):
                delays = {}
                for who in ("peer", "lean"):
                    self._tell(f"latency at {name}: {who}")
                    asked = rate or HALF_OF_CAPACITY[who]
                    delays[who] = await open_loop(at, who, asked, size.seconds, next(run))
                self.details[f"latency at {name}"] = {w: asdict(one) for w, one in delays.items()}
                self.lines += latency_lines(name, delays["peer"], delays["lean"])
            for what, incident in INCIDENTS.items():
                self._tell(f"latency during: {what}")
                one = await open_loop(at, "lean", 500.0, size.seconds, next(run), incident)
                self.details[f"latency during: {what}"] = asdict(one)
                self.lines += incident_lines(what, one)

    async def _ceilings(self, played: Stage) -> None:
        rooms = (32, 100, 1000)
        most = self._options.records or 30_000
        reached = await ceilings(played, (0.01, 0.1), rooms, most, self._tell)
        reached += await skewed(played, min(most, 8000), self._tell)
        self.details["ceilings"] = [asdict(one) for one in reached]
        self.lines += ceiling_lines(reached)

    def _cold(self) -> None:
        self.lines.append(Line("cold: gateway --help", cold.help_seconds(), "s", most=0.3))
        self.lines.append(Line("cold: gateway explain", cold.explain_seconds(), "s", most=0.5))

    async def _memory(self, played: Stage) -> None:
        grown = await grow(played, self.size.jobs, self._tell)
        self.details["memory"] = grown.to_json()
        self.lines += memory_lines(grown)

    def _is_asked(self, *parts: str) -> bool:
        asked = self._options.only
        return not asked or not set(asked).isdisjoint(parts)

    def _tell(self, progress: str) -> None:
        print(progress, file=sys.stderr, flush=True)


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(options, Path(folder))
        asyncio.run(run.run())
    told = method(run.size, run.cores, options)
    if options.json:
        bars = [
            {"name": line.name, "value": line.value, "bar": line.bar, "met": line.is_met}
            for line in run.lines
            if line.bar
        ]
        print(json.dumps({"method": told, "bars": bars, **run.details}))
    else:
        print(*told, "", *run.lines, sep="\n")
    return 0 if all(line.is_met for line in run.lines) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--json", action="store_true", help="one JSON object, all details")
    parser.add_argument("--only", choices=WHAT, nargs="+", default=())
    parser.add_argument("--tls", action="store_true", help="calls over TLS, needs openssl")
    parser.add_argument("--call-path", choices=("botocore", "lean"), default="botocore")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="of each latency")
    parser.add_argument("--concurrency", type=int, default=32)
    for name in ("records", "jobs"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
