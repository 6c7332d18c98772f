"""The pages of several workers as one page, which Prometheus reads as if it were one process's.

Guarantee: a counter of the one page never falls while the supervisor lives, whichever worker ends
or does not answer; else Prometheus would take it for a restart and count everything twice. So what
a worker had counted when it was last heard stays in the sum. Its gauges go with it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway.adapters.metrics import GAUGES

WORKER = "worker"
OF_ONE_PROCESS = ("process_", "python_")
"""Metrics that mean one process: they keep apart, with a label that names the worker."""

Addition = Callable[[float, float], float]
_ADDITIONS: dict[str, Addition] = {"sum": operator.add, "max": max, "min": min}
_OF_GAUGES = {gauge.name: _ADDITIONS[gauge.of_workers] for gauge in GAUGES}


class Page(NamedTuple):
    """What a worker has last said of its metrics."""

    worker: str
    text: bytes
    is_current: bool = True
    """Whether it says so now; else only what it had counted still counts."""


def added(pages: Iterable[Page]) -> bytes:
    """One page. Counters and histograms add up, gauges as GAUGES says."""
    sums: dict[str, _Sum] = {}
    for page in pages:
        for family in text_string_to_metric_families(page.text.decode()):
            total = sums.setdefault(family.name, _Sum(family))
            total.add(page, family.samples)
    return generate_latest(_Collected([total.family() for total in sums.values()]))


class _Collected(NamedTuple):
    """As much of a registry as is needed to write a page."""

    families: list[Metric]

    def collect(self) -> Iterator[Metric]:
        return iter(self.families)


class _Sum:
    """One family, as far as it has been added up. Samples stand in the order of their coming, as
    the buckets of a histogram must."""

    def __init__(self, family: Metric) -> None:
        self._name, self._help, self._type = family.name, family.documentation, family.type
        self._is_apart = family.name.startswith(OF_ONE_PROCESS)
        self._is_counted = family.type in ("counter", "histogram") and not self._is_apart
        self._add = operator.add if self._is_counted else _OF_GAUGES.get(family.name, max)
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def add(self, page: Page, samples: Iterable[Sample]) -> None:
        if not (page.is_current or self._is_counted):
            return
        for sample in samples:
            labels = {**sample.labels, WORKER: page.worker} if self._is_apart else sample.labels
            key = (sample.name, tuple(labels.items()))
            known = self._values.get(key)
            value = float(sample.value)
            self._values[key] = value if known is None else self._add(known, value)

    def family(self) -> Metric:
        family = Metric(self._name, self._help, self._type)
        for (name, labels), value in self._values.items():
            family.add_sample(name, dict(labels), value)
        return family
