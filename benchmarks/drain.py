"""How fast a backlog is delivered, and what a record costs, beside a bare loop of the same calls.

    gateway ─ bare loop ─ gateway ─ bare loop ─ …        the same endpoint, concurrency and core

The backlog is written in one transaction, which becomes visible to the gateway as a whole: nothing
of it is read before the measurement begins. CPU is counted until every outcome is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from benchmarks.events import events
from benchmarks.stage import Endpoint, MeasuredGateway, Pace, Stage, send

WARM_RECORDS = 2000
STOCK_CALLS = 4000
SETTLING_SECONDS = 1.5
"""After the last call: its outcome, a commit."""
STOCK_MICROSECONDS = 576.0
"""What a call of stock aiobotocore over TLS costs on the machine that the bars were set for."""


@dataclass(frozen=True)
class Drained:
    """All rounds together, and each."""

    gateway: Pace
    bare: Pace
    stock: Pace
    lean_gateway: Pace
    lean_bare: Pace
    rounds: list[tuple[Pace, Pace]]

    @property
    def throughput_ratio(self) -> float:
        return self.gateway.per_second / self.bare.per_second

    @property
    def scale(self) -> float:
        """This machine, now, to the one that the bars were set for."""
        return STOCK_MICROSECONDS / self.stock.cpu_microseconds

    @property
    def beside_the_call_microseconds(self) -> float:
        """Everything except the call, on this machine: beside the lean call, because 0.5 ms of
        other code between two records make the same work cost twice as much."""
        return self.lean_gateway.cpu_microseconds - self.lean_bare.cpu_microseconds

    @property
    def more_than_bare_microseconds(self) -> float:
        """What a record costs more than a call, by the call path under measurement."""
        return self.gateway.cpu_microseconds - self.bare.cpu_microseconds

    def to_json(self) -> dict[str, object]:
        return {
            "gateway": asdict(self.gateway),
            "bare": asdict(self.bare),
            "stock": asdict(self.stock),
            "rounds": [{"gateway": asdict(g), "bare": asdict(b)} for g, b in self.rounds],
            "throughput_ratio": self.throughput_ratio,
            "stock_call_microseconds": self.stock.cpu_microseconds,
            "scale": self.scale,
            "lean_gateway": asdict(self.lean_gateway),
            "lean_bare": asdict(self.lean_bare),
            "more_than_bare_microseconds": self.more_than_bare_microseconds,
            "beside_the_call_microseconds": self.beside_the_call_microseconds,
            "beside_the_call_scaled_microseconds": self.beside_the_call_microseconds * self.scale,
        }


async def drain(
    stage: Stage, yardstick: Endpoint, records: int, rounds: int, tell: Callable[[str], None]
) -> Drained:
    """`yardstick`: the endpoint that the stock client calls, over TLS where that can be had."""
    gateways, bares, stocks, leans, lean_bares = [], [], [], [], []
    lean = stage.beside(stage.endpoint, replace(stage.load, call_path="lean"))
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}: gateway, {records} records")
        gateways.append(await _through_the_gateway(stage, 2 * number, records))
        tell(f"round {number + 1} of {rounds}: bare loop, {records} calls")
        bares.append(await stage.bare(stage.load.call_path, records))
        tell(f"round {number + 1} of {rounds}: lean, {records} records and {records} calls")
        leans.append(await _through_the_gateway(lean, 2 * number + 1, records))
        lean_bares.append(await lean.bare("lean", records))
        stock_calls = min(STOCK_CALLS, records)
        stocks.append(await stage.beside(yardstick).bare("stock", stock_calls))
    pairs = list(zip(gateways, bares, strict=True))
    return Drained(_sum(gateways), _sum(bares), _sum(stocks), _sum(leans), _sum(lean_bares), pairs)


def _sum(paces: list[Pace]) -> Pace:
    total, *others = paces
    for other in others:
        total += other
    return total


async def _through_the_gateway(stage: Stage, number: int, records: int) -> Pace:
    warm = min(WARM_RECORDS, records)
    first = number * (records + warm)
    async with stage.producer() as producer:
        await send(producer, events(first, warm))
    await stage.endpoint.begin()
    async with stage.gateway() as gateway:
        await stage.endpoint.wait_span(warm, gateway.check)
        async with stage.producer(transactional_id="benchmark") as producer:
            await producer.begin_transaction()
            await send(producer, events(first + warm, records))
            await stage.endpoint.begin()
            cpu = gateway.cpu_seconds()
            await producer.commit_transaction()
        return await drained(stage.endpoint, gateway, records, cpu)


async def drained(
    endpoint: Endpoint, gateway: MeasuredGateway, records: int, cpu_before: float
) -> Pace:
    span = await endpoint.wait_span(records, gateway.check)
    await asyncio.sleep(SETTLING_SECONDS)
    return Pace(records, span.seconds, gateway.cpu_seconds() - cpu_before)
