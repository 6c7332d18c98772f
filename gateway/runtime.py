"""Opens adapters in order, runs the flow, drains on SIGTERM, closes in reverse.

admin ─► AWS clients ─► outcome and dead-letter writers ─► tail ─► source ─► reading
                                                                                │ SIGTERM
admin ◄─ AWS clients ◄─ outcome and dead-letter writers ◄─ tail ◄─ source ◄─ commit ◄─ drain
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
import traceback
from collections.abc import AsyncIterator, Mapping
from functools import partial

from gateway import __version__, assembly
from gateway.adapters.admin import AdminServer, Readiness, Views, as_json
from gateway.adapters.codepipeline import CodePipelineCalls
from gateway.adapters.dead_letters import DeadLetterWriter
from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.kafka_source import KafkaSource
from gateway.adapters.outcome_tail import KafkaOutcomeTail
from gateway.adapters.outcomes import OutcomeWriter
from gateway.adapters.stop_requests import StopRequests
from gateway.adapters.telemetry import EventLoopLag, LogAndMetrics
from gateway.adapters.worker_line import WorkerEnd, answer_on
from gateway.config import Settings
from gateway.core.backpressure import Backpressure
from gateway.core.endings import Endings
from gateway.core.signals import Draining, NotReadyYet, Started, Stopped, UnexpectedError
from gateway.deliver import Deliveries, World
from gateway.flow import Admission, Flow
from gateway.intake import Intake
from gateway.partitions import Partitions
from gateway.ports import CodePipeline
from gateway.settle import Settlement
from gateway.shadow import NoCalls, NoLog
from gateway.status import Status

READING_SECONDS = 5.0
"""How long the last read may take to return once reading is to stop."""

WRITABLE_POLL_SECONDS = 0.05

NEW_OBJECTS = 10_000
"""Containers made and still alive before garbage is looked for among them: a few megabytes."""

CATCH_UP_SECONDS = 2.0
"""How long partitions wait to be read until the outcomes of all replicas have been heard."""


def collect_garbage_rarely() -> None:
    """For a process that has everything now that it will keep. What exists is never looked at
    again, and of what is made later the few cycles (three objects a record, in the client's own
    answers) may wait for each other: looking for them after every 700 new objects took 45 µs a
    record, and stopped the loop for 0.1 s now and then."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)


class Gateway:
    """One process's worth of gateway. Exit code 0 after a stop that was asked for, 1 if the
    consumer could not be kept alive. With a `line` it is a worker: it has no admin server, its
    supervisor asks over the line, and it leaves when that is cut."""

    def __init__(
        self,
        settings: Settings,
        telemetry: LogAndMetrics,
        *,
        is_shadow: bool = False,
        line: socket.socket | None = None,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._line = line
        self._is_shadow = is_shadow
        self._signals = telemetry.signals
        self._lag = EventLoopLag()
        self._is_draining = False
        self._build()

    def _build(self) -> None:
        settings, signals = self._settings, self._signals
        connection = assembly.connection(settings)
        self._instance = assembly.new_instance_name()
        self._clients = assembly.clients(settings, signals, self._instance)
        self._outcomes, self._dead_letters = self._logs(connection)
        self._backpressure = Backpressure(assembly.budgets(settings))
        self._endings = Endings(settings.budgets.endings)
        self._settlement = Settlement(
            self._outcomes,
            self._dead_letters,
            self._backpressure,
            self._endings,
            signals,
            time.time,
        )
        self._rooms = assembly.rooms(settings)
        self._world = World(time.time, assembly.chance(), signals, lambda: self._source.is_owner())
        self._calls: CodePipeline = NoCalls()
        if not self._is_shadow:
            self._calls = CodePipelineCalls(
                self._clients, settings.aws.attempt_timeout_seconds, signals
            )
        self._rules = assembly.delivery_rules(settings)
        self._tail = self._outcome_tail(connection)
        self._partitions = Partitions(
            self._new_deliveries,
            self._settlement,
            assembly.patience(settings),
            signals,
            assembly.shared_key(settings),
            None if self._tail is None else partial(self._tail.wait_caught_up, CATCH_UP_SECONDS),
        )
        self._source = KafkaSource(
            connection,
            assembly.consumer_settings(settings, self._group_id()),
            listener=self._partitions,
            signals=signals,
            clock=time.time,
        )
        if not self._is_shadow:
            self._partitions.attach(self._source)  # without a source it never commits
        self._flow = Flow(
            self._source,
            self._partitions,
            Admission(
                assembly.decoder(settings, assembly.digest_key(settings)),
                assembly.routes(settings),
                assembly.deadlines(settings),
                self._settlement,
                self._world,
            ),
            Intake(self._source, self._backpressure, settings.budgets.skip_ahead, signals),
            signals,
            settings.kafka.max_batch_records,
        )
        self._status = Status(
            self._partitions,
            self._rooms,
            self._backpressure,
            self._endings,
            self._settlement,
            self._source,
        )

    def _logs(
        self, connection: KafkaConnection
    ) -> tuple[OutcomeWriter | NoLog, DeadLetterWriter | NoLog]:
        if self._is_shadow:
            return NoLog(), NoLog()
        settings, signals = self._settings, self._signals
        return (
            OutcomeWriter(connection, settings.outcomes.topic, signals),
            DeadLetterWriter(connection, settings.dead_letters.topic, signals),
        )

    def _outcome_tail(self, connection: KafkaConnection) -> KafkaOutcomeTail | None:
        """A shadow delivers as if it were alone: else nothing would be left for it to try."""
        if self._is_shadow:
            return None
        return KafkaOutcomeTail(
            connection,
            assembly.reach(self._settings),
            assembly.told_endings(self._settings, self._endings),
            self._signals,
            time.time,
        )

    def _group_id(self) -> str:
        group_id = self._settings.kafka.group_id
        return f"{group_id}-shadow-{self._instance}" if self._is_shadow else group_id

    def _new_deliveries(self) -> Deliveries:
        return Deliveries(
            self._calls,
            self._rooms,
            self._endings,
            self._settlement,
            self._rules,
            self._world,
            assembly.waiting_limits(self._settings),
        )

    @property
    def _mode(self) -> str:
        return "shadow" if self._is_shadow else "run"

    async def run(self) -> int:
        """Returns the exit code. Everything opened is closed, in reverse."""
        stop = StopRequests(has_supervisor=self._line is not None)
        with stop.listening():
            async with (
                self._observable(stop) as address,
                self._clients_open(),
                self._writers(),
                self._tail_open(),
            ):
                collect_garbage_rarely()
                self._signals.emit(Started(__version__, self._instance, self._mode, address))
                code = await self._deliver(stop)
            self._signals.emit(Stopped(self._backpressure.records))
        return code

    @contextlib.asynccontextmanager
    async def _observable(self, stop: StopRequests) -> AsyncIterator[str]:
        """First to open, last to close: it says why everything else is not ready yet. Yields the
        address of the admin server, "" for a worker."""
        self._status.lag_seconds = lambda: self._lag.lag_seconds
        self._telemetry.metrics.read_gauges_from(self._gauges)
        beat = asyncio.create_task(self._lag.run(self._signals.beat))
        try:
            async with self._admin() if self._line is None else self._answering(stop) as address:
                yield address
        finally:
            beat.cancel()

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[str]:
        views = Views(
            seconds_since_beat=lambda: self._lag.seconds_since_beat,
            readiness=self._readiness,
            metrics=self._telemetry.metrics.expose,
            status=self._report,
        )
        settings = self._settings.admin
        token = settings.token.get_secret_value() if settings.token else None
        server = AdminServer(views, token)
        try:
            port = await server.start(settings.host, settings.port)
            yield f"{settings.host}:{port}"
        finally:
            await server.stop()

    @contextlib.asynccontextmanager
    async def _answering(self, stop: StopRequests) -> AsyncIterator[str]:
        """What a supervisor may ask and order."""
        assert self._line is not None
        answers = {
            "metrics": self._telemetry.metrics.expose,
            "readiness": lambda: as_json(self._readiness().told()),
            "status": lambda: as_json(self._report()),
        }
        orders = {"drain": stop.ask_drain, "leave": stop.ask_at_once}
        end = WorkerEnd(answers, orders, cut=stop.ask_drain)
        try:
            await answer_on(self._line, end)
            yield ""
        finally:
            end.close()

    @contextlib.asynccontextmanager
    async def _clients_open(self) -> AsyncIterator[None]:
        try:
            await self._clients.warm()
            yield
        finally:
            await self._clients.close()

    @contextlib.asynccontextmanager
    async def _writers(self) -> AsyncIterator[None]:
        timeout = self._settings.outcomes.write_timeout_seconds
        self._outcomes.start()
        self._dead_letters.start()
        try:
            yield
        finally:
            await self._dead_letters.stop(timeout)
            await self._outcomes.stop(timeout)

    @contextlib.asynccontextmanager
    async def _tail_open(self) -> AsyncIterator[None]:
        if self._tail is None:
            yield
            return
        self._tail.start()
        try:
            yield
        finally:
            await self._tail.stop()

    async def _deliver(self, stop: StopRequests) -> int:
        """From joining the group to having left it."""
        starting = asyncio.create_task(self._join())
        reading = asyncio.create_task(self._flow.read())
        committing = asyncio.create_task(
            self._flow.commit_every(self._settings.kafka.commit_interval_seconds)
        )
        failing = asyncio.create_task(self._source.wait_failed())
        asked = asyncio.create_task(stop.drain.wait())
        await asyncio.wait({asked, failing, reading}, return_when=asyncio.FIRST_COMPLETED)
        code = 0 if asked.done() else 1
        if failing.done():
            self._signals.emit(UnexpectedError("consumer", failing.result()))
        if reading.done() and (error := reading.exception()) is not None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {where.name}:{where.lineno}"
            self._signals.emit(UnexpectedError("reading", place))
        await self._leave(stop, reading, committing, starting)
        for task in (asked, failing):
            task.cancel()
        return code

    async def _join(self) -> None:
        """Nothing is read before what it may become can be written: a record that is read by
        somebody who cannot settle it only keeps others from reading it."""
        polls, next_told = 0, 20
        while trouble := self._outcomes.trouble or self._dead_letters.trouble:
            await asyncio.sleep(WRITABLE_POLL_SECONDS)
            polls += 1
            if polls == next_told:  # after a second, and then ever more rarely
                self._signals.emit(NotReadyYet(trouble, WRITABLE_POLL_SECONDS))
                next_told *= 2
        await self._source.start()

    async def _leave(
        self,
        stop: StopRequests,
        reading: asyncio.Task[None],
        committing: asyncio.Task[None],
        starting: asyncio.Task[None],
    ) -> None:
        self._is_draining = True
        self._signals.emit(Draining(self._backpressure.records))
        self._flow.stop_reading()
        starting.cancel()
        await asyncio.wait({reading}, timeout=READING_SECONDS)
        await self._drain(stop)
        committing.cancel()
        await asyncio.wait({committing, starting})
        # As at any revocation: calls under way may end, what is settled is committed.
        await self._partitions.partitions_revoked()
        await self._source.stop()

    async def _drain(self, stop: StopRequests) -> None:
        draining = asyncio.create_task(self._flow.drain())
        skipped = asyncio.create_task(stop.at_once.wait())
        seconds = self._settings.shutdown.drain_seconds
        await asyncio.wait({draining, skipped}, timeout=seconds, return_when="FIRST_COMPLETED")
        draining.cancel()
        skipped.cancel()

    # -- what can be asked ----------------------------------------------------------------------

    def _readiness(self) -> Readiness:
        is_ready = self._partitions.was_assigned and not self._is_draining
        return Readiness(is_ready, tuple(self._troubles().values()))

    def _troubles(self) -> dict[str, str]:
        parts = {
            "source": self._source.trouble,
            "outcomes": self._outcomes.trouble,
            "dead-letters": self._dead_letters.trouble,
            "outcomes of others": None if self._tail is None else self._tail.trouble,
        }
        found = {name: f"{name}: {trouble}" for name, trouble in parts.items() if trouble}
        for target, room in self._rooms.items():
            for operation, halt in room.halts().items():
                found[f"{target} {operation}"] = f"{target} {operation} halted: {halt.why}"
        return found

    def _gauges(self) -> dict[str, float | Mapping[tuple[str, ...], float]]:
        gauges = self._status.gauges()
        if self._tail is not None and (behind := self._tail.behind()) is not None:
            gauges["gateway_outcomes_behind_records"] = behind
        return {**gauges, "gateway_ready": float(self._readiness().is_ready)}

    def _report(self) -> dict[str, object]:
        return {
            "version": __version__,
            "instance": self._instance,
            "mode": self._mode,
            "ready": self._readiness().is_ready,
            "draining": self._is_draining,
            "trouble": list(self._troubles().values()),
            **self._status.report(),
            "source": self._source.statistics(),
            "outcomes_of_others": None if self._tail is None else self._tail.statistics(),
        }
