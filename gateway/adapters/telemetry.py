"""Signals become metrics and log lines, by what their classes declare and nothing else.

    signal ─► counted, observed ─► of the log's level? ─► not too many alike? ─► line

Metrics are exact, the log is not: of signals with the same event and labels, MOST_ALIKE lines a
second are written and the others are told of in one line (`suppressed`), so that an outage does
not melt the log when every record retries. At level `debug` every signal is written.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TextIO

from gateway.adapters.log_lines import (
    Belt,
    LineWriter,
    Log,
    is_pretty,
    take_over_library_logs,
)
from gateway.adapters.metrics import Metrics, Series
from gateway.core.signals import Level, Signal, catalogue

MOST_ALIKE = 10
MOST_UNCOUNTED = 500
"""Signals that only count are counted together, at the latest when there are so many: one by one,
between calls, each would find its code and data out of the processor's caches."""
_RANKS = {Level.DEBUG: 0, Level.INFO: 1, Level.WARN: 2, Level.ERROR: 3}


class Telemetry:
    """A ports.SignalSink. `emit` never raises and never blocks; to be used in one thread."""

    def __init__(
        self,
        log: Log,
        level: str,
        kinds: Iterable[type[Signal]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = Metrics(
            catalogue() if kinds is None else kinds,
            lambda: {"gateway_log_lines_dropped": log.dropped},
        )
        self._log = log
        self._is_sampling = level != Level.DEBUG
        self._clock = clock
        least = _RANKS[Level(level)]
        self._reports = {kind: _Report(kind, self.metrics, least) for kind in self.metrics.counts}
        self._suppressing: dict[Series, _Report] = {}
        self._uncounted: list[Signal] = []
        self.metrics.count_first(self._count)

    def emit(self, signal: Signal) -> None:
        report = self._reports[type(signal)]
        if not report.is_logged:
            self._uncounted.append(signal)
            if len(self._uncounted) >= MOST_UNCOUNTED:
                self._count()
            return
        series = report.add(signal)
        if report.observe is not None:
            report.observe(signal)
        if self._may_log(report, series):
            self._log.line(report.level, report.event, report.fields(signal))

    def _count(self) -> None:
        uncounted, self._uncounted = self._uncounted, []
        for signal in uncounted:
            report = self._reports[type(signal)]
            report.add(signal)
            if report.observe is not None:
                report.observe(signal)

    def beat(self) -> None:
        """Tells of what was suppressed. To be called about once a second."""
        now = self._clock()
        for series, report in list(self._suppressing.items()):
            if now >= series.window + 1:
                self._tell(series, report)

    def flush(self) -> None:
        """Tells of what was suppressed, at once: the last thing to do."""
        for series, report in list(self._suppressing.items()):
            self._tell(series, report)

    def _may_log(self, report: _Report, series: Series) -> bool:
        if not (self._is_sampling and report.is_sampled):
            return True
        now = self._clock()
        if now >= series.window + 1:
            if series.suppressed:
                self._tell(series, report)
            series.window = now
            series.logged = 0
        if series.logged < MOST_ALIKE:
            series.logged += 1
            return True
        series.suppressed += 1
        self._suppressing[series] = report
        return False

    def _tell(self, series: Series, report: _Report) -> None:
        self._suppressing.pop(series, None)
        told = {"suppressed": series.suppressed, **report.labels_of(series)}
        series.suppressed = 0
        self._log.line(report.level, report.event, told)


class LogAndMetrics:
    """The process's log and metrics, open until `close`. `fields` stand in every line."""

    def __init__(
        self,
        level: str,
        log_format: str,
        secrets: Iterable[str],
        stream: TextIO | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        stream = stream or sys.stdout
        self.belt = Belt(secrets)
        self.writer = LineWriter(stream)
        self.log = Log(self.writer, self.belt, is_pretty(log_format, stream), fields)
        take_over_library_logs(self.log, level)
        self.signals = Telemetry(self.log, level)
        self.metrics = self.signals.metrics

    def close(self) -> None:
        """Returns when every line is written, or after 2 seconds if nobody reads them."""
        self.signals.flush()
        self.writer.close()


class _Report:
    """How signals of one class are counted and written, worked out once."""

    def __init__(self, kind: type[Signal], metrics: Metrics, least_rank: int) -> None:
        self.event = kind.event
        self.level = kind.level.value
        self.is_logged = _RANKS[kind.level] >= least_rank
        self.is_sampled = kind.counter is not None
        self.add = metrics.counts[kind].add
        histogram = metrics.histograms.get(kind)
        self.observe = histogram.add if histogram is not None else None
        self._counts = metrics.counts[kind]
        self._names = tuple(field.name for field in fields(kind))

    def fields(self, signal: Signal) -> dict[str, Any]:
        values = ((name, getattr(signal, name)) for name in self._names)
        return {name: str(v) if isinstance(v, tuple) else v for name, v in values if v != ""}

    def labels_of(self, series: Series) -> dict[str, Any]:
        names = self._counts.kind.labels
        for key, candidate in self._counts.series.items():
            if candidate is series:
                return dict(zip(names, (key,) if isinstance(key, str) else key, strict=True))
        return {}


class EventLoopLag:
    """How late the event loop is, and when it was last seen turning."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_beat = clock()
        self._lags: deque[float] = deque([0.0], maxlen=60)

    @property
    def lag_seconds(self) -> float:
        """The longest delay among the last 60 beats."""
        return max(self._lags)

    @property
    def seconds_since_beat(self) -> float:
        return self._clock() - self._last_beat

    async def run(
        self, each_beat: Callable[[], None] = lambda: None, interval_seconds: float = 0.5
    ) -> None:
        """Beats until cancelled, and calls `each_beat` each time."""
        while True:
            began = self._clock()
            await asyncio.sleep(interval_seconds)
            self._last_beat = self._clock()
            self._lags.append(max(0.0, self._last_beat - began - interval_seconds))
            each_beat()
