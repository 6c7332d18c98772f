"""What was measured as the lines of one table, with the bars that it is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.ceilings import Reached
from benchmarks.compare import Compared, Contender
from benchmarks.drain import Drained
from benchmarks.latency import Delays
from benchmarks.memory import Grown
from benchmarks.stage import Pace


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
    yield Line("CPU: a record costs more than a call by", drained.more_than_bare_microseconds, "µs")
    yield Line("CPU: a record by the lean call here", drained.lean_gateway.cpu_microseconds, "µs")
    yield Line("CPU: a lean call in the bare loop here", drained.lean_bare.cpu_microseconds, "µs")
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
