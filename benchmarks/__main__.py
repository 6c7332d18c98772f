"""All benchmarks, one table.

    python -m benchmarks [--quick] [--json] [--tls] [--call-path botocore|lean]
                         [--only drain|parts|memory|peer|latency|ceilings|cold]

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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import cold, decode
from benchmarks.ceilings import Reached, ceilings, skewed
from benchmarks.compare import Compared, Contender, compare
from benchmarks.drain import STOCK_CALLS, STOCK_MICROSECONDS, Drained, drain
from benchmarks.latency import INCIDENTS, Delays, open_loop
from benchmarks.memory import Grown, grow
from benchmarks.stage import Cores, Load, Pace, Stage, endpoint, stage

HALF_OF_CAPACITY: dict[Contender, float] = {"peer": 700.0, "lean": 3500.0}
"""Results a second, of one core of the machine that the bars were set for."""
WHAT = ("drain", "parts", "memory", "peer", "latency", "ceilings", "cold")
OF_THE_CALL = ("drain", "parts")


@dataclass(frozen=True)
class Line:
    """One line of the table. Without a bar it is there for information."""

    name: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def is_met(self) -> bool:
        is_enough = self.least is None or self.value >= self.least
        return is_enough and (self.most is None or self.value <= self.most)

    @property
    def bar(self) -> str:
        if self.least is not None:
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if self.most is not None else ""

    def __str__(self) -> str:
        verdict = ("met" if self.is_met else "MISSED") if self.bar else ""
        value = f"{self.value:,.2f}" if abs(self.value) < 10 else f"{self.value:,.1f}"
        return f"{self.name:<58} {value:>10} {self.unit:<6} {self.bar:>8}  {verdict}".rstrip()


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
            seconds,
            Load(options.concurrency, options.call_path),
        )


def drain_lines(drained: Drained) -> Iterator[Line]:
    yield Line("drain: gateway", drained.gateway.per_second, "rec/s")
    yield Line("drain: bare loop of the same calls", drained.bare.per_second, "call/s")
    yield Line("drain: gateway / bare loop", drained.throughput_ratio, "", least=0.85)


def parts_lines(drained: Drained, decode_microseconds: float) -> Iterator[Line]:
    scale = drained.scale
    beside, decoding = drained.beside_the_call_microseconds, decode_microseconds
    yield Line("CPU: stock aiobotocore call here", drained.stock.cpu_microseconds, "µs")
    yield Line("CPU: a record through the gateway here", drained.gateway.cpu_microseconds, "µs")
    yield Line("CPU: a call in the bare loop here", drained.bare.cpu_microseconds, "µs")
    yield Line("CPU: everything except the call here", beside, "µs")
    yield Line("CPU: everything except the call, scaled", beside * scale, "µs", most=80)
    yield Line("CPU: decode, validate, digest here", decoding, "µs")
    yield Line("CPU: decode, validate, digest, scaled", decoding * scale, "µs", most=15)


def memory_lines(grown: Grown) -> Iterator[Line]:
    half, jobs = grown.half_bytes / 2**20, f"{grown.jobs:,}"
    yield Line(f"memory: resident after {grown.jobs // 2:,} jobs", half, "MiB")
    yield Line(f"memory: resident after {jobs} jobs", grown.end_bytes / 2**20, "MiB")
    yield Line("memory: growth between the two", grown.growth_mebibytes, "MiB", most=30)
    yield Line("memory: most that was seen", grown.peak_mebibytes, "MiB", most=200)


def peer_lines(found: dict[Contender, Compared], stock: Pace, lean: Pace) -> Iterator[Line]:
    peer = found["peer"].pace
    for name, one in found.items():
        of_peer = peer.cpu_microseconds / one.pace.cpu_microseconds
        times = one.pace.per_second / peer.per_second
        bars = (5.5, 5.5) if name == "lean" else (None, None)
        yield Line(f"{name}: CPU of a result", one.pace.cpu_microseconds, "µs")
        yield Line(f"{name}: throughput", one.pace.per_second, "rec/s")
        yield Line(f"{name}: resident", one.resident_bytes / 2**20, "MiB")
        if name != "peer":
            yield Line(f"{name}: the peer's CPU is so many times as much", of_peer, "", bars[0])
            yield Line(f"{name}: throughput is so many times the peer's", times, "", bars[1])
    yield Line("call alone, stock", stock.cpu_microseconds, "µs")
    yield Line("call alone, lean", lean.cpu_microseconds, "µs")
    saved = stock.cpu_microseconds / lean.cpu_microseconds
    yield Line("call alone: stock costs so many times as much", saved, "", least=8)


def latency_lines(name: str, peer: Delays, ours: Delays) -> Iterator[Line]:
    for who, one in (("peer", peer), ("lean", ours)):
        for share in ("p50", "p99", "p999", "most"):
            value = getattr(one, share) * 1000
            yield Line(f"latency at {name}, {who}: {share}", value, "ms")
    yield Line(f"latency at {name}: peer's p50 / ours", peer.p50 / ours.p50, "", least=15)
    yield Line(f"latency at {name}: peer's p99 / ours", peer.p99 / ours.p99, "", least=10)


def incident_lines(what: str, one: Delays) -> Iterator[Line]:
    for share in ("p50", "p99", "p999", "most"):
        yield Line(f"latency at 500/s, lean, {what}: {share}", getattr(one, share) * 1000, "ms")


def ceiling_lines(reached: list[Reached]) -> Iterator[Line]:
    for one in reached:
        # Where the core is used up it is CPU that decides, and there is no bar.
        least = 0.95 if one.cpu_share < 0.9 else None
        yield Line(f"share of the ceiling: {one.name}", one.share, "", least)
        yield Line("    results a second", one.per_second, "rec/s")
        yield Line("    core busy", one.cpu_share, "")


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
            if self._options.only in (None, *OF_THE_CALL):
                await self._drain(played)
            for name, part in (
                ("peer", self._peer),
                ("latency", self._latency),
                ("ceilings", self._ceilings),
                ("memory", self._memory),
            ):
                if self._options.only in (None, name):
                    await part(played)
        if self._options.only in (None, "cold"):
            self._cold()

    async def _drain(self, played: Stage) -> None:
        size, has_openssl = self.size, shutil.which("openssl") is not None
        async with endpoint(has_openssl) as yardstick:
            drained = await drain(played, yardstick, size.records, size.rounds, self._tell)
        self.details["drain"] = drained.to_json()
        if self._options.only != "parts":
            self.lines += drain_lines(drained)
        if self._options.only != "drain":
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
        reached = await ceilings(played, (0.01, 0.1), rooms, self._tell)
        reached += await skewed(played, self._tell)
        self.details["ceilings"] = [asdict(one) for one in reached]
        self.lines += ceiling_lines(reached)

    def _cold(self) -> None:
        self.lines.append(Line("cold: gateway --help", cold.help_seconds(), "s", most=0.3))
        self.lines.append(Line("cold: gateway explain", cold.explain_seconds(), "s", most=0.5))

    async def _memory(self, played: Stage) -> None:
        grown = await grow(played, self.size.jobs, self._tell)
        self.details["memory"] = grown.to_json()
        self.lines += memory_lines(grown)

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
    parser.add_argument("--only", choices=WHAT)
    parser.add_argument("--tls", action="store_true", help="calls over TLS, needs openssl")
    parser.add_argument("--call-path", choices=("botocore", "lean"), default="botocore")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=32)
    for name in ("records", "jobs"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
