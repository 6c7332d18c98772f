"""Signals become exact metrics, and a log that holds no secret and melts in no outage."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from gateway.adapters.log_lines import (
    MOST_CHARACTERS,
    Belt,
    LineWriter,
    Log,
    cover_what_looks_secret,
    is_pretty,
)
from gateway.adapters.metrics import GAUGES, MOST_VALUES_OF_A_LABEL, OTHER
from gateway.adapters.telemetry import MOST_ALIKE, EventLoopLag, LogAndMetrics, Telemetry
from gateway.core.model import Certainty, Operation, OutcomeKind, Reason, Source
from gateway.core.signals import (
    AttemptEnded,
    BatchRead,
    DeliveryEnded,
    RecordRejected,
    RecordSkipped,
    RetryScheduled,
    Signal,
    TargetOpened,
    catalogue,
)
from tests.waiting import wait_until

REJECTED = RecordRejected(Source("t", 1, 2), Reason.INVALID, "$.jobId: must be set")
RETRIED = RetryScheduled("default", "throttle", "job", "ThrottlingException", 1, 0.5)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Sink:
    """A telemetry over a stream in memory, under a clock of its own."""

    def __init__(self, level: str = "info", secrets: tuple[str, ...] = ()) -> None:
        self.stream = io.StringIO()
        self.clock = Clock()
        self.writer = LineWriter(self.stream)
        self.log = Log(self.writer, Belt(secrets), is_pretty=False)
        self.telemetry = Telemetry(self.log, level, clock=self.clock)

    def emit(self, *signals: Signal) -> None:
        for signal in signals:
            self.telemetry.emit(signal)

    def lines(self) -> list[dict[str, Any]]:
        """Everything logged. The last thing to ask for."""
        self.writer.close()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def metric(self, line: str) -> float | None:
        for found in self.telemetry.metrics.expose().decode().splitlines():
            if found.startswith(f"{line} "):
                return float(found.split()[-1])
        return None


def example_of(kind: type[Signal]) -> Signal:
    values = {"int": 3, "float": 0.25, "str": "words", "Source": Source("t", 1, 2)}
    values |= {"Reason": Reason.INVALID, "OutcomeKind": OutcomeKind.ACCEPTED}
    return kind(**{field.name: values[str(field.type)] for field in fields(kind)})


@pytest.mark.parametrize("kind", list(catalogue()))
def test_every_signal_is_counted_and_logged_as_its_class_declares(kind: type[Signal]) -> None:
    sink = Sink("debug")
    sink.emit(example_of(kind))
    if kind.counter:
        values = ",".join(
            f'{label}="{getattr(example_of(kind), label)}"' for label in sorted(kind.labels)
        )
        amount = getattr(example_of(kind), kind.amount) if kind.amount else 1
        assert sink.metric(kind.counter + (f"{{{values}}}" if values else "")) == amount
    (line,) = sink.lines()
    assert (line["event"], line["level"]) == (kind.event, kind.level.value)
    assert line["time"].endswith("Z")
    assert set(line) >= {field.name for field in fields(kind)}


def test_a_log_line_is_made_of_words_and_numbers() -> None:
    sink = Sink()
    sink.emit(REJECTED)
    (line,) = sink.lines()
    del line["time"]
    assert line == {
        "level": "warning",
        "event": "record rejected",
        "source": "t/1/2",
        "reason": "invalid",
        "explanation": "$.jobId: must be set",
    }


def test_below_the_level_signals_are_counted_and_not_logged() -> None:
    sink = Sink("warning")
    sink.emit(BatchRead(5), BatchRead(7), RETRIED)
    assert sink.metric("gateway_records_read_total") == 12
    assert sink.metric('gateway_retries_total{target="default",why="throttle"}') == 1
    assert sink.lines() == []


def test_histograms_have_cumulative_buckets() -> None:
    sink = Sink()
    for seconds in (0.003, 0.2, 0.2, 100_000.0):
        sink.emit(AttemptEnded("prod", Operation.JOB_SUCCESS, "accepted", seconds))
    name = "gateway_attempt_seconds"
    assert sink.metric(f'{name}_bucket{{le="0.005",target="prod"}}') == 1
    assert sink.metric(f'{name}_bucket{{le="0.25",target="prod"}}') == 3
    assert sink.metric(f'{name}_bucket{{le="86400.0",target="prod"}}') == 3
    assert sink.metric(f'{name}_bucket{{le="+Inf",target="prod"}}') == 4
    assert sink.metric(f'{name}_count{{target="prod"}}') == 4
    assert sink.metric(f'{name}_sum{{target="prod"}}') == pytest.approx(100_000.403)


def test_counters_without_labels_are_there_from_the_start() -> None:
    assert Sink().metric("gateway_commits_total") == 0


def test_who_writes_events_does_not_decide_how_many_series_there_are() -> None:
    sink = Sink()
    extra = 50
    for number in range(MOST_VALUES_OF_A_LABEL + extra):
        sink.emit(RecordSkipped(Source("t", 0, 0), f"type {number}"))
    page = sink.telemetry.metrics.expose().decode()
    assert page.count("\ngateway_records_skipped_total{") == MOST_VALUES_OF_A_LABEL + 1
    assert sink.metric(f'gateway_records_skipped_total{{why="{OTHER}"}}') == extra


@pytest.mark.parametrize("why", ["half a pair \ud800", '"quoted" \\ \n', "\x00", "", "x" * 10_000])
def test_no_text_breaks_the_metrics_or_the_log(why: str) -> None:
    sink = Sink("debug")
    sink.emit(RecordSkipped(Source("t", 0, 0), why))
    assert b"gateway_records_skipped_total{" in sink.telemetry.metrics.expose()
    assert len(sink.lines()) == 1


def test_gauges_are_read_when_asked_for() -> None:
    sink = Sink()
    readings: dict[str, Any] = {"gateway_lanes": 3}
    sink.telemetry.metrics.read_gauges_from(lambda: readings)
    assert sink.metric("gateway_lanes") == 3
    readings["gateway_lanes"] = 4
    readings["gateway_halted"] = {("prod", "PutJobSuccessResult", "AccessDenied"): 1.0}
    assert sink.metric("gateway_lanes") == 4
    labels = 'operation="PutJobSuccessResult",target="prod",why="AccessDenied"'
    assert sink.metric(f"gateway_halted{{{labels}}}") == 1


def test_names_of_metrics_are_used_once_and_carry_their_unit() -> None:
    names = [kind.counter for kind in catalogue() if kind.counter]
    names += [kind.histogram for kind in catalogue() if kind.histogram]
    names += [gauge.name for gauge in GAUGES]
    assert len(set(names)) == len(names)
    assert all(name.startswith("gateway_") for name in names)
    assert all(k.counter.endswith("_total") for k in catalogue() if k.counter)
    assert all(k.histogram.endswith("_seconds") for k in catalogue() if k.histogram)


def test_an_outage_does_not_melt_the_log() -> None:
    sink = Sink()
    for _ in range(1000):
        sink.emit(RETRIED)
    sink.emit(RetryScheduled("other", "throttle", "job", "ThrottlingException", 1, 0.5))
    sink.clock.now += 1
    sink.telemetry.beat()
    sink.telemetry.beat()
    sink.emit(RETRIED)
    assert sink.metric('gateway_retries_total{target="default",why="throttle"}') == 1001
    *_, told, last = lines = sink.lines()
    assert len(lines) == MOST_ALIKE + 1 + 2, "the other target's line is not among the alike"
    assert told["suppressed"] == 1000 - MOST_ALIKE
    assert (told["event"], told["target"], told["why"]) == (RETRIED.event, "default", "throttle")
    assert "suppressed" not in last


def test_what_was_suppressed_is_told_at_the_end() -> None:
    sink = Sink()
    sink.emit(*[RETRIED] * (MOST_ALIKE + 5))
    sink.telemetry.flush()
    assert sink.lines()[-1]["suppressed"] == 5


def test_at_level_debug_every_signal_is_logged() -> None:
    sink = Sink("debug")
    sink.emit(*[RETRIED] * 100)
    assert len(sink.lines()) == 100


def test_signals_without_counter_are_never_suppressed() -> None:
    sink = Sink()
    sink.emit(*[TargetOpened(f"t{n}", "eu-west-1", "https://e", "lean") for n in range(100)])
    assert len(sink.lines()) == 100


class Stuck(io.StringIO):
    """A stream that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_log_that_nobody_reads_stops_nothing_and_is_counted() -> None:
    writer = LineWriter(Stuck())
    telemetry = Telemetry(Log(writer, Belt(), is_pretty=False), "info")
    telemetry.emit(REJECTED)
    writer.close()
    assert b"gateway_log_lines_dropped 1.0" in telemetry.metrics.expose()


def test_lines_for_people_have_the_same_content() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    Telemetry(Log(writer, Belt(["must be"]), is_pretty=True), "info").emit(REJECTED)
    writer.close()
    assert "record rejected" in stream.getvalue()
    assert "$.jobId: [redacted] set" in stream.getvalue()


def test_auto_means_lines_for_people_on_a_terminal_only() -> None:
    assert [is_pretty(word, io.StringIO()) for word in ("auto", "json", "pretty")] == [
        False,
        False,
        True,
    ]


@pytest.fixture
def libraries() -> Iterator[tuple[LogAndMetrics, io.StringIO]]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logging.getLogger("botocore").setLevel(logging.DEBUG)  # as boto3.set_stream_logger does
    yield LogAndMetrics("debug", "json", ["hunter2-known"], stream), stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_libraries_log_has_the_same_form(
    libraries: tuple[LogAndMetrics, io.StringIO],
) -> None:
    telemetry, stream = libraries
    logging.getLogger("botocore.auth").debug("hunter2-debug")
    logging.getLogger("aiokafka.conn").debug("hunter2-debug")
    logging.getLogger("botocore").log(logging.INFO, "%s", "found credentials")
    logging.getLogger("somebody.else").debug("hunter2-debug")
    logging.getLogger("aiokafka.conn").error("broker %s is gone, password=hunter2-arg", 7)
    try:
        raise ValueError("hunter2-exception")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request hunter2-known")
    telemetry.close()
    assert "hunter2" not in stream.getvalue()
    found, warned, failed = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (found["event"], found["level"]) == ("found credentials", "info")
    assert warned["event"] == "broker 7 is gone, password=[redacted]"
    assert (warned["level"], warned["logger"]) == ("warning", "aiokafka.conn")
    assert (failed["error"], failed["level"]) == ("ValueError", "error")
    assert failed["where"].startswith(__name__)


def test_a_library_that_says_the_same_again_and_again_is_cut_short(
    libraries: tuple[LogAndMetrics, io.StringIO],
) -> None:
    telemetry, stream = libraries
    for number in range(200):
        logging.getLogger("aiokafka").error("no broker, try %d", number)
    telemetry.close()
    assert len(stream.getvalue().splitlines()) == 10


@pytest.mark.parametrize(
    "text",
    [
        "clientToken=hunter2",
        '{"clientToken": "hunter2", "jobId": "1"}',
        "{'sasl_password': 'hunter2'}",
        "Authorization: Bearer hunter2",
        "X-Amz-Security-Token: hunter2",
        "Signature=hunter2&x=1",
        "aws_secret_access_key = hunter2",
    ],
)
def test_what_looks_like_a_secret_in_the_words_of_others_is_covered(text: str) -> None:
    assert "hunter2" not in cover_what_looks_secret(text)


def test_covering_takes_linear_time_and_leaves_the_rest() -> None:
    assert cover_what_looks_secret("topic a-b: 3 partitions") == "topic a-b: 3 partitions"
    assert len(cover_what_looks_secret("token" * 200_000)) == MOST_CHARACTERS


def test_a_known_secret_is_covered_in_its_escaped_form_too() -> None:
    sink = Sink(secrets=('hunter"2\\', "abc"))
    sink.emit(RecordRejected(Source("t", 1, 2), Reason.INVALID, 'x hunter"2\\ abc'))
    (line,) = sink.lines()
    assert line["explanation"] == "x [redacted] abc", "three letters are no secret"


async def test_the_beat_tells_how_late_the_loop_is_and_when_it_last_turned() -> None:
    clock = Clock()
    lag = EventLoopLag(clock)
    beats = 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    clock.now += 7
    assert lag.seconds_since_beat == 7
    running = asyncio.create_task(lag.run(beat, interval_seconds=0.001))
    await asyncio.sleep(0)  # it has begun to sleep, and the clock goes on without it
    clock.now += 2.5
    await wait_until(lambda: beats >= 1)
    assert lag.seconds_since_beat == 0
    assert lag.lag_seconds == pytest.approx(2.5, abs=0.01)
    running.cancel()


def test_an_outcome_is_counted_by_how_it_ended() -> None:
    sink = Sink()
    accepted = DeliveryEnded(
        OutcomeKind.ACCEPTED, Certainty.CONFIRMED, "prod", Source("t", 0, 1), "job", 1, 0.1
    )
    sink.emit(accepted, accepted)
    labels = 'certainty="confirmed",outcome="accepted",target="prod"'
    assert sink.metric(f"gateway_deliveries_total{{{labels}}}") == 2
