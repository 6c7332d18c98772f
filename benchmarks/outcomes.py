"""What an outcome costs: from `append` to `when_durable`, CPU of this process, on a real Kafka.

    python benchmarks/outcomes.py [--outcomes 60000] [--burst 300] [--partitions 4]

Outcomes come in bursts, as deliveries end: each burst is appended at once, and the event loop has
its turn before the next. The budget is 12 µs an outcome.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import uuid
from pathlib import Path

from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.outcomes import OutcomeWriter, outcome_to_json
from gateway.core.model import Certainty, Claim, Operation, Outcome, OutcomeKind, Source
from gateway.core.signals import Signal
from gateway.simulation.broker import FAST, KafkaBroker, gateway_topics


class Silence:
    def emit(self, signal: Signal) -> None:
        pass


def outcomes(count: int) -> list[Outcome]:
    return [
        Outcome(
            kind=OutcomeKind.ACCEPTED,
            certainty=Certainty.CONFIRMED,
            source=Source("job-results", number % 4, number),
            time=1_790_000_000.123,
            target="default",
            job_id=str(uuid.UUID(int=number * 7919)),
            operation=Operation.JOB_SUCCESS,
            claim=Claim.SUCCEEDED,
            attempts=1,
            digest=number.to_bytes(16, "big"),
        )
        for number in range(count)
    ]


async def measure(broker: KafkaBroker, count: int, burst: int) -> tuple[float, float]:
    """Seconds of CPU and of time until all are durable."""
    made = outcomes(count)
    writer = OutcomeWriter(
        KafkaConnection(broker.bootstrap_servers), "job-results.outcomes", Silence()
    )
    writer.start()
    done = asyncio.Event()
    writer.append(made[0], done.set)
    await done.wait()
    durable = 0

    def when_durable() -> None:
        nonlocal durable
        durable += 1

    cpu, clock = time.process_time(), time.perf_counter()
    for first in range(0, count, burst):
        for outcome in made[first : first + burst]:
            writer.append(outcome, when_durable)
        while writer.pending() > 4 * burst:  # noqa: ASYNC110 (events would cost what is measured)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
    while durable < count:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    spent = time.process_time() - cpu, time.perf_counter() - clock
    await writer.stop(5.0)
    return spent


async def main(count: int, burst: int, partitions: int) -> None:
    with tempfile.TemporaryDirectory() as data:
        async with KafkaBroker(Path(data), properties=FAST) as broker:
            await broker.create_topics(*gateway_topics(partitions=partitions))
            await measure(broker, 2_000, burst)  # warm
            cpu, clock = await measure(broker, count, burst)
    made = outcomes(10_000)
    start = time.process_time()
    for outcome in made:
        outcome_to_json(outcome)
    serialised = (time.process_time() - start) / len(made)
    print(f"outcome, append to durable  {cpu / count * 1e6:6.1f} µs of CPU  (budget 12)")
    print(f"  of it, JSON               {serialised * 1e6:6.1f} µs")
    print(f"  durable a second          {count / clock:9,.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outcomes", type=int, default=60_000)
    parser.add_argument("--burst", type=int, default=300)
    parser.add_argument("--partitions", type=int, default=4)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.outcomes, arguments.burst, arguments.partitions))
