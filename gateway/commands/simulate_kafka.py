"""`gateway simulate kafka`: a real Apache Kafka for anyone, until told to stop.

Standard output carries Kafka's own console commands for the three topics, ready to be copied;
all notes for people go to standard error.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from gateway.simulation.broker import BrokerUnavailable, KafkaBroker, gateway_topics
from gateway.simulation.broker_jars import VERSION

FAILED = 1
GROUP = "job-result-gateway"
_TOOLS = "org.apache.kafka.tools"


def run(*, port: int = 9092, data: Path | None = None, java: Path | None = None) -> int:
    """Serves until SIGINT or SIGTERM and returns 0; 1 if there is no broker, or it has ended.

    `data` is kept and used again by the next start; without it everything is gone at the end.
    """
    with _folder(data) as folder, closing(_Download()) as download:
        broker = KafkaBroker(
            folder, port, java=None if java is None else str(java), progress=download
        )
        try:
            return asyncio.run(_serve(broker))
        except BrokerUnavailable as error:
            print(error, file=sys.stderr)
            return FAILED


async def _serve(broker: KafkaBroker) -> int:
    told = asyncio.Event()
    for which in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(which, told.set)
    starting = asyncio.create_task(_start(broker))
    stopping = asyncio.create_task(told.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            print("\n".join(_commands(broker)), flush=True)
            _note(f"Kafka {VERSION} is ready on {broker.bootstrap_servers}; Ctrl-C stops it.")
            ended = asyncio.create_task(broker.wait_ended())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
        if not told.is_set():
            raise BrokerUnavailable(f"Kafka has ended by itself; its log is {broker.log_path}.")
        return 0
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await broker.stop()


async def _start(broker: KafkaBroker) -> None:
    _note(f"Kafka {VERSION} is starting, with its data in {broker.data} ...")
    await broker.start()
    await broker.create_topics(*gateway_topics())


def _commands(broker: KafkaBroker) -> Iterator[str]:
    at = ("--bootstrap-server", broker.bootstrap_servers)
    results, outcomes, dead_letters = (topic.name for topic in gateway_topics())

    def command(tool: str, *arguments: str) -> str:
        return shlex.join(broker.console_command(f"{_TOOLS}.{tool}", *at, *arguments))

    yield "# send job results, one a line: KEY, a tab, the event"
    yield command("ConsoleProducer", "--topic", results, "--property", "parse.key=true")
    shown = ("--from-beginning", "--property", "print.key=true")
    yield "# what became of them"
    yield command("consumer.ConsoleConsumer", "--topic", outcomes, *shown)
    yield "# what could not be delivered, and why"
    headers = ("--property", "print.headers=true")
    yield command("consumer.ConsoleConsumer", "--topic", dead_letters, *shown, *headers)
    yield "# how far the gateway has come"
    yield command("consumer.group.ConsumerGroupCommand", "--describe", "--group", GROUP)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="kafka-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class _Download:
    """A bar that appears with the first byte, if anything has to be fetched at all."""

    def __init__(self) -> None:
        columns = (TextColumn("Fetching Apache Kafka"), BarColumn(), DownloadColumn())
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar: TaskID | None = None

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        if self._bar is None:
            _note(f"Apache Kafka {VERSION} is fetched once: {total_bytes / 1e6:.0f} MB.")
            self._bar = self._bars.add_task("", total=total_bytes)
            self._bars.start()
        self._bars.update(self._bar, completed=done_bytes)
        if done_bytes == total_bytes:
            self._bars.stop()

    def close(self) -> None:
        if self._bar is not None:
            self._bars.stop()


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
