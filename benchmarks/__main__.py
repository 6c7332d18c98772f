"""All benchmarks, one table.

    python -m benchmarks [--quick] [--json] [--only drain|parts|memory] [--tls]
                         [--call-path botocore|lean]

Ratios say something about the code, absolute figures about the machine; the bars on CPU are scaled
by what a call of stock aiobotocore costs in the same run. The bars are defined for the call path
`botocore`, aiobotocore's own. Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import decode
from benchmarks.drain import STOCK_MICROSECONDS, Drained, drain
from benchmarks.memory import Grown, grow
from benchmarks.stage import Cores, Load, Stage, endpoint, stage

WHAT = ("drain", "parts", "memory")


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
    load: Load

    @classmethod
    def of(cls, options: argparse.Namespace) -> Size:
        records, jobs = (5_000, 60_000) if options.quick else (50_000, 600_000)
        return cls(
            options.records or records,
            options.rounds,
            options.jobs or jobs,
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
            if self._options.only != "memory":
                await self._drain(played)
            if self._options.only in (None, "memory"):
                await self._memory(played)

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
