"""The pages of several workers as one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.adapters.metrics import GAUGES, Metrics, Readings
from gateway.adapters.metrics_of_workers import OF_ONE_PROCESS, Page, added
from gateway.core.model import Reason, Source
from gateway.core.signals import (
    AttemptEnded,
    BatchRead,
    RecordRejected,
    RetryScheduled,
    Signal,
    catalogue,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page_of(signals: Sequence[Signal], gauges: Readings | None = None) -> bytes:
    """The page of a worker that has told of these."""
    metrics = Metrics(catalogue())
    metrics.read_gauges_from(lambda: gauges or {})
    for signal in signals:
        metrics.counts[type(signal)].add(signal)
        if type(signal) in metrics.histograms:
            metrics.histograms[type(signal)].add(signal)
    return metrics.expose()


def samples(page: bytes, name: str = "") -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
        if sample.name.startswith(name or "gateway_")
    }


def read(page: bytes, name: str) -> dict[Any, float]:
    """The values of one metric, by the values of their labels."""
    return {
        tuple(value for _, value in sorted(labels)): value
        for (_, labels), value in samples(page, name).items()
    }


NAMES = st.sampled_from(["prod", "test", 'a "quoted"\\name\n', "ä", "(other)"])
SECONDS = st.integers(0, 100_000).map(lambda eighths: eighths / 8)  # adds up without rounding
SIGNALS = st.one_of(
    st.builds(BatchRead, st.integers(1, 500)),
    st.builds(AttemptEnded, NAMES, NAMES, NAMES, SECONDS),
    st.builds(RetryScheduled, NAMES, NAMES, st.just("job"), NAMES, st.just(1), SECONDS),
    st.builds(
        RecordRejected, st.just(Source("t", 0, 1)), st.sampled_from(Reason), st.just("because")
    ),
)


@settings(max_examples=100)  # each is a few pages of a few hundred lines
@given(st.lists(st.lists(SIGNALS), min_size=1, max_size=4))
def test_the_sum_of_pages_is_the_page_of_all_that_was_told(shares: list[list[Signal]]) -> None:
    pages = [Page(str(number), page_of(share)) for number, share in enumerate(shares)]
    together = page_of([signal for share in shares for signal in share])
    assert samples(added(pages)) == samples(together)


@settings(max_examples=100)  # each is a few pages of a few hundred lines
@given(st.lists(st.tuples(st.lists(SIGNALS), st.booleans()), max_size=6))
def test_a_counter_never_falls_whoever_ends(shares: list[tuple[list[Signal], bool]]) -> None:
    """Each worker counts, and then ends or does not answer: the sum is what all have counted."""
    retired, rest = Page("", b"", is_current=False), []
    for number, (share, has_ended) in enumerate(shares):
        page = Page(str(number), page_of(share), is_current=False)
        if has_ended:
            retired = retired._replace(text=added([retired, page]))
        else:
            rest.append(page)
    together = page_of([signal for share, _ in shares for signal in share])
    own = Page("supervisor", page_of([]))
    assert samples(added([own, *rest, retired])) == samples(together)


def test_buckets_keep_their_order() -> None:
    told = AttemptEnded("prod", "op", "ok", 0.3)
    pages = [Page("1", page_of([])), Page("2", page_of([told])), Page("3", page_of([told]))]
    lines = added(pages).decode().splitlines()
    buckets = [line for line in lines if line.startswith("gateway_attempt_seconds_bucket")]
    expected = page_of([told, told]).decode().splitlines()
    assert buckets == [
        line for line in expected if line.startswith("gateway_attempt_seconds_bucket")
    ]


@pytest.mark.parametrize(
    ("name", "readings", "together"),
    [
        ("gateway_ready", (1.0, 1.0), 1),
        ("gateway_ready", (1.0, 0.0), 0),
        ("gateway_unsettled_records", (3.0, 4.0), 7),
        ("gateway_oldest_unsettled_seconds", (3.0, 4.0), 4),
        ("gateway_known_endings", (90.0, 100.0), 100),
        ("gateway_intake_paused", (1.0, 0.0), 1),
        ("gateway_outcomes_behind_records", (5.0, 0.0), 5),
        ("gateway_event_loop_lag_seconds", (0.5, 0.1), 0.5),
    ],
)
def test_a_gauge_is_what_makes_sense_of_all_workers(
    name: str, readings: tuple[float, ...], together: float
) -> None:
    pages = [Page(str(n), page_of([], {name: one})) for n, one in enumerate(readings)]
    assert read(added(pages), name) == {(): together}


def test_every_gauge_that_says_whether_something_is_so_is_no_sum() -> None:
    """Two workers in trouble are not twice a trouble."""
    so = [gauge for gauge in GAUGES if gauge.help.startswith("1 ") and gauge.name[-3:] != "_up"]
    assert so
    assert {gauge.of_workers for gauge in so} <= {"max", "min"}


def test_what_is_known_of_a_partition_comes_from_its_owner() -> None:
    first = {"gateway_watermark": {("t", "0"): 7.0}, "gateway_lag_records": {("t", "0"): 3.0}}
    second = {"gateway_watermark": {("t", "1"): 9.0}, "gateway_lag_records": {("t", "1"): 0.0}}
    page = added([Page("1", page_of([], first)), Page("2", page_of([], second))])
    assert read(page, "gateway_watermark") == {("0", "t"): 7, ("1", "t"): 9}
    assert read(page, "gateway_lag_records") == {("0", "t"): 3, ("1", "t"): 0}


def test_rooms_and_calls_of_a_target_add_up_and_a_halt_is_one_halt() -> None:
    def gauges(limit: float) -> Readings:
        return {
            "gateway_room_limit": {("prod",): limit},
            "gateway_halted": {("prod", "op", "why"): 1.0},
        }

    page = added([Page("1", page_of([], gauges(5.0))), Page("2", page_of([], gauges(7.5)))])
    assert read(page, "gateway_room_limit") == {("prod",): 12.5}
    assert list(read(page, "gateway_halted").values()) == [1]


def test_gauges_go_with_their_worker() -> None:
    gone = Page("1", page_of([], {"gateway_unsettled_records": 5.0}), is_current=False)
    here = Page("2", page_of([], {"gateway_unsettled_records": 2.0}))
    assert read(added([gone, here]), "gateway_unsettled_records") == {(): 2}
    assert read(added([gone]), "gateway_unsettled_records") == {}


def test_what_is_said_of_a_process_keeps_apart() -> None:
    page = added([Page("1", page_of([])), Page("supervisor", page_of([]))])
    apart = [name for name, _ in samples(page, "process_")]
    assert "process_cpu_seconds_total" in apart
    labels = [
        dict(labels) for _, labels in {**samples(page, "process_"), **samples(page, "python_")}
    ]
    assert {label["worker"] for label in labels} == {"1", "supervisor"}
    assert all(one.endswith("_") for one in OF_ONE_PROCESS)
    gone = added([Page("1", page_of([]), is_current=False)])
    assert samples(gone, "process_") == {}


def test_a_worker_that_was_never_heard_says_nothing() -> None:
    heard = page_of([BatchRead(3)])
    page = added([Page("1", heard), Page("2", b"", is_current=False)])
    assert samples(page) == samples(heard)
