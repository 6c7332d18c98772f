"""What a running gateway says of itself: gauges for Prometheus, `/status` for people."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.core.backpressure import Backpressure
from gateway.core.endings import Endings
from gateway.core.model import Partition
from gateway.core.room import Room
from gateway.partitions import Assignment, Partitions
from gateway.settle import Settlement


class Reader(Protocol):
    def log_end(self, partition: Partition) -> int | None: ...


class Status:
    """Reads, changes nothing. Everything is as of the moment it is asked for."""

    def __init__(
        self,
        partitions: Partitions,
        rooms: Mapping[str, Room],
        backpressure: Backpressure,
        endings: Endings,
        settlement: Settlement,
        source: Reader,
    ) -> None:
        self._partitions = partitions
        self._settlement = settlement
        self._rooms = rooms
        self._backpressure = backpressure
        self._endings = endings
        self._source = source
        self.lag_seconds: Callable[[], float] = lambda: 0.0

    def gauges(self) -> dict[str, float | Mapping[tuple[str, ...], float]]:
        """Readings of the gauges in adapters/metrics.py, by name."""
        deliveries = self._deliveries()
        return {
            "gateway_unsettled_records": self._backpressure.records,
            "gateway_unsettled_bytes": self._backpressure.bytes,
            "gateway_oldest_unsettled_seconds": self._oldest_seconds(),
            "gateway_lanes": deliveries.get("lanes", 0),
            "gateway_waiting_retries": deliveries.get("waiting_retries", 0),
            "gateway_held_deliveries": deliveries.get("held", 0),
            "gateway_deferred_records": sum(
                watermark.deferred for watermark in self._watermarks().values()
            ),
            "gateway_calls_in_flight": {
                (target,): float(room.in_flight) for target, room in self._rooms.items()
            },
            "gateway_room_limit": {(target,): room.limit for target, room in self._rooms.items()},
            "gateway_halted": {
                (target, operation.value, halt.why): 1.0
                for target, room in self._rooms.items()
                for operation, halt in room.halts().items()
            },
            "gateway_pending_writes": {
                (name,): float(count) for name, count in self._settlement.pending_writes().items()
            },
            "gateway_known_endings": len(self._endings),
            "gateway_intake_paused": float(self._backpressure.is_paused),
            "gateway_watermark": {
                (place.topic, str(place.partition)): float(watermark.committable())
                for place, watermark in self._watermarks().items()
            },
            "gateway_lag_records": {
                (place.topic, str(place.partition)): float(lag)
                for place, lag in self._lags().items()
            },
            "gateway_event_loop_lag_seconds": self.lag_seconds(),
        }

    def report(self) -> dict[str, Any]:
        """The body of `/status`: partitions, lanes, rooms, halts."""
        lags = self._lags()
        return {
            "unsettled": {
                "records": self._backpressure.records,
                "bytes": self._backpressure.bytes,
                "oldest_seconds": round(self._oldest_seconds(), 3),
            },
            "intake": "paused" if self._backpressure.is_paused else "open",
            "deliveries": self._deliveries(),
            "outcomes": {kind.value: count for kind, count in self._settlement.ended.items()},
            "pending_writes": self._settlement.pending_writes(),
            "known_endings": len(self._endings),
            "partitions": [
                {
                    "topic": place.topic,
                    "partition": place.partition,
                    "watermark": watermark.committable(),
                    "unsettled": watermark.unsettled,
                    "deferred": watermark.deferred,
                    "settled_ahead": watermark.settled_ahead,
                    "lag": lags.get(place),
                }
                for place, watermark in sorted(self._watermarks().items())
            ],
            "targets": {target: self._target(room) for target, room in self._rooms.items()},
        }

    def _target(self, room: Room) -> dict[str, Any]:
        now = time.monotonic()  # the clock of asyncio's event loop
        return {
            "room": round(room.limit, 1),
            "calls": room.in_flight,
            "accepted": room.accepted,
            "halts": [
                {
                    "operation": operation.value,
                    "why": halt.why,
                    "code": halt.code,
                    "halted_seconds": round(now - halt.since, 1),
                    "failed_probes": halt.failed_probes,
                    "next_probe_in_seconds": (
                        None
                        if math.isinf(halt.next_probe)
                        else round(max(0.0, halt.next_probe - now), 1)
                    ),
                }
                for operation, halt in room.halts().items()
            ],
        }

    def _deliveries(self) -> dict[str, int]:
        current: Assignment | None = self._partitions.current
        return {} if current is None else current.deliveries.statistics()

    def _watermarks(self) -> dict[Partition, Any]:
        current = self._partitions.current
        return {} if current is None else current.watermarks

    def _lags(self) -> dict[Partition, int]:
        ends = {place: self._source.log_end(place) for place in self._watermarks()}
        return {
            place: max(0, end - self._watermarks()[place].committable())
            for place, end in ends.items()
            if end is not None
        }

    def _oldest_seconds(self) -> float:
        current = self._partitions.current
        oldest = None if current is None else current.oldest_unsettled()
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)
