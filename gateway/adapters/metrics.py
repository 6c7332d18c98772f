"""Counts, histograms and gauges, in the text format that Prometheus reads.

Everything here happens in the event loop's thread, so nothing takes a lock: prometheus-client's
own counters take one each. Counters and histograms are exactly what the classes in
`core/signals.py` declare; gauges are read when asked for. The number of series is bounded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from gateway.core.signals import Signal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS_SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    *(30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0),
)
"""From a call inside one region to the deadline of a job."""

MOST_VALUES_OF_A_LABEL = 300
OTHER = "(other)"
"""What a label says of values beyond the first MOST_VALUES_OF_A_LABEL of a metric: some come from
events, and whoever writes those must not decide how much memory we and Prometheus use."""


class Gauge(NamedTuple):
    """A number that is read when asked for."""

    name: str
    labels: tuple[str, ...]
    help: str
    of_workers: Literal["sum", "max", "min"] = "sum"
    """What several workers' readings are together. Everything is the sum that can be split; what
    each worker knows of the whole, and what is wrong if it is so for one, is the largest."""


GAUGES = (
    Gauge("gateway_ready", (), "1 after the first assignment until draining, else 0.", "min"),
    Gauge("gateway_unsettled_records", (), "Records begun and not settled."),
    Gauge("gateway_unsettled_bytes", (), "Bytes of records begun and not settled."),
    Gauge(
        "gateway_oldest_unsettled_seconds", (), "Age of the oldest unsettled record, or 0.", "max"
    ),
    Gauge("gateway_lanes", (), "Jobs with unsettled results."),
    Gauge("gateway_waiting_retries", (), "Deliveries that wait for their next attempt."),
    Gauge("gateway_held_deliveries", (), "Deliveries held by a halt."),
    Gauge("gateway_deferred_records", (), "Records left in Kafka, to be read again."),
    Gauge(
        "gateway_outcomes_behind_records", (), "Outcomes in their topic, not read back yet.", "max"
    ),
    Gauge("gateway_calls_in_flight", ("target",), "Calls to CodePipeline under way."),
    Gauge("gateway_room_limit", ("target",), "Calls that may be under way at once."),
    Gauge(
        "gateway_halted",
        ("target", "operation", "why"),
        "1 while it is not called, else absent.",
        "max",
    ),
    Gauge("gateway_pending_writes", ("log",), "Outcomes and dead letters not yet acknowledged."),
    Gauge("gateway_known_endings", (), "Ended jobs remembered.", "max"),
    Gauge(
        "gateway_intake_paused", (), "1 while nothing is read because a budget is used up.", "max"
    ),
    Gauge("gateway_watermark", ("topic", "partition"), "Offset below which all is settled.", "max"),
    Gauge("gateway_lag_records", ("topic", "partition"), "Log end less watermark.", "max"),
    Gauge("gateway_log_lines_dropped", (), "Log lines that nobody read in time."),
    Gauge("gateway_event_loop_lag_seconds", (), "Longest recent delay of the event loop.", "max"),
    Gauge("gateway_worker_up", ("worker",), "1 while this worker answers the supervisor, else 0."),
)

Readings = Mapping[str, float | Mapping[tuple[str, ...], float]]
"""Values of gauges by name: a number, or numbers by the labels' values. What is left out is not
exposed; every name must stand in GAUGES."""


class Series:
    """What one signal class has amounted to for one tuple of label values."""

    __slots__ = ("logged", "seconds", "suppressed", "total", "window")

    def __init__(self) -> None:
        self.total = 0.0
        self.seconds: list[float] | None = None
        # Of the log, kept here because every signal finds its series anyway.
        self.window = float("-inf")
        self.logged = 0
        self.suppressed = 0


class Counts:
    """Counts the signals of one class, by the labels and the amount that the class declares."""

    def __init__(self, kind: type[Signal]) -> None:
        self.kind = kind
        self.series: dict[Any, Series] = {}
        self._labels = attrgetter(*kind.labels) if kind.labels else None
        self._amount = attrgetter(kind.amount) if kind.amount else None
        self._values: tuple[set[str], ...] = tuple(set() for _ in kind.labels)

    def add(self, signal: Signal) -> Series:
        """Counts the signal; the series that it belongs to."""
        key = self._labels(signal) if self._labels is not None else ()
        series = self.series.get(key)
        if series is None:
            series = self._bounded(key)
        series.total += 1 if self._amount is None else self._amount(signal)
        return series

    def _bounded(self, key: Any) -> Series:
        values = (key,) if len(self.kind.labels) == 1 else key
        bounded = tuple(
            self._known(_printable(str(value)), known)
            for value, known in zip(values, self._values, strict=True)
        )
        key = bounded[0] if len(bounded) == 1 else bounded
        return self.series.setdefault(key, Series())

    @staticmethod
    def _known(value: str, known: set[str]) -> str:
        if value not in known and len(known) >= MOST_VALUES_OF_A_LABEL:
            return OTHER
        known.add(value)
        return value

    def family(self) -> CounterMetricFamily | None:
        if self.kind.counter is None:
            return None
        family = CounterMetricFamily(self.kind.counter, self.kind.help, labels=self.kind.labels)
        if not self.kind.labels:  # 0 is news too: an absent series cannot be alerted on
            self.series.setdefault((), Series())
        for key, series in self.series.items():
            family.add_metric((key,) if isinstance(key, str) else key, series.total)
        return family


def _printable(value: str) -> str:
    """Half a surrogate pair in one label would make the whole page impossible to encode."""
    return value[:200].encode("utf-8", "replace").decode("utf-8")


class Histogram:
    """The distribution of one field, by the labels that the class declares for it."""

    def __init__(self, kind: type[Signal]) -> None:
        self.kind = kind
        self._name = str(kind.histogram)
        self._observed = attrgetter(str(kind.observed))
        self._label = attrgetter(*kind.histogram_labels) if kind.histogram_labels else None
        self._cells: dict[Any, list[float]] = {}

    def add(self, signal: Signal) -> None:
        key = self._label(signal) if self._label is not None else ()
        cells = self._cells.get(key)
        if cells is None:
            if len(self._cells) >= MOST_VALUES_OF_A_LABEL:
                key = OTHER if isinstance(key, str) else (OTHER,) * len(key)
            cells = self._cells.setdefault(key, [0.0] * (len(BUCKETS_SECONDS) + 2))
        value = self._observed(signal)
        cells[bisect_left(BUCKETS_SECONDS, value)] += 1
        cells[-1] += value

    def family(self) -> HistogramMetricFamily:
        labels = self.kind.histogram_labels
        family = HistogramMetricFamily(self._name, self.kind.help, labels=labels)
        for key, (*cells, total) in self._cells.items():
            bounds = [*map(str, BUCKETS_SECONDS), "+Inf"]
            buckets = list(zip(bounds, accumulate(cells), strict=True))
            family.add_metric((key,) if isinstance(key, str) else key, buckets, total)
        return family


class Metrics:
    """Everything that /metrics shows. A collector of prometheus-client."""

    def __init__(
        self, kinds: Iterable[type[Signal]], own_gauges: Callable[[], Readings] = dict
    ) -> None:
        self._own_gauges = own_gauges
        self.counts = {kind: Counts(kind) for kind in kinds}
        self.histograms = {kind: Histogram(kind) for kind in self.counts if kind.histogram}
        self._statistics: Callable[[], Readings] = dict
        self._count: Callable[[], None] = lambda: None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def read_gauges_from(self, statistics: Callable[[], Readings]) -> None:
        """From now on gauges are what `statistics` returns, called at each scrape."""
        self._statistics = statistics

    def count_first(self, count: Callable[[], None]) -> None:
        """Called at each scrape, before anything is read: to count what is not counted yet."""
        self._count = count

    def expose(self) -> bytes:
        """The page, in Prometheus' text format (CONTENT_TYPE)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        self._count()
        for counts in self.counts.values():
            if (family := counts.family()) is not None:
                yield family
        for histogram in self.histograms.values():
            yield histogram.family()
        readings = {**self._own_gauges(), **self._statistics()}
        for gauge in GAUGES:
            if gauge.name in readings:
                yield _gauge_family(gauge, readings[gauge.name])


def _gauge_family(gauge: Gauge, reading: float | Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    values = reading if isinstance(reading, Mapping) else {(): reading}
    for labels, value in values.items():
        family.add_metric([str(label) for label in labels], value)
    return family
