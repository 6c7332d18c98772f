"""Scale: as many events, partitions and members as the field's own tests use.

    python -m tests.scale --size 0.1 [--only drain|churn|hot|zipf|unique]

Each bar sends its events to a real Kafka, starts `gateway run` processes on it, and waits until
everything is committed; the history checker judges. Exit code 0: all of them are clean.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
from pathlib import Path

from gateway.simulation.broker import FAST, KafkaBroker
from tests.scale.bars import bars
from tests.scale.world import NoProgress, World


async def run(size: float, only: str) -> int:
    running = asyncio.current_task()
    assert running is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    is_clean = True
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        async with KafkaBroker(folder / "kafka", properties=FAST) as broker:
            chosen = [bar for bar in bars(size) if bar.name.startswith(only)]
            for place, bar in enumerate(chosen):
                try:
                    result = await World(broker, folder, bar, place).run(say)
                except NoProgress as stuck:
                    say(str(stuck))
                    is_clean = False
                    continue
                say(str(result))
                for fault in result.faults[:20]:
                    say(f"  {fault}")
                is_clean = is_clean and result.is_clean
    say("CLEAN" if is_clean else "BROKEN")
    return 0 if is_clean else 1


def say(sentence: str) -> None:
    print(sentence, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--size", type=float, default=0.1, help="1: a million events")
    parser.add_argument("--only", default="", help="bars whose name begins so")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return asyncio.run(run(options.size, options.only))


if __name__ == "__main__":
    sys.exit(main())
