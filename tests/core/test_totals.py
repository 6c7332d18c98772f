"""Several workers' status as one."""

from __future__ import annotations

from typing import Any

from gateway.core.totals import totals


def report(**changes: Any) -> dict[str, Any]:
    """What a worker with nothing to do says."""
    return {
        "version": "1.0",
        "unsettled": {"records": 0, "bytes": 0, "oldest_seconds": 0.0},
        "intake": "open",
        "deliveries": {},
        "outcomes": {},
        "pending_writes": {},
        "known_endings": 0,
        "partitions": [],
        "targets": {},
        **changes,
    }


def test_what_is_counted_adds_up_and_the_oldest_is_the_oldest() -> None:
    added = totals(
        {
            "1": report(
                unsettled={"records": 3, "bytes": 10, "oldest_seconds": 1.5},
                outcomes={"accepted": 5, "conflict": 1},
                deliveries={"lanes": 2},
                pending_writes={"outcomes": 4},
                known_endings=90,
            ),
            "2": report(
                unsettled={"records": 4, "bytes": 20, "oldest_seconds": 0.5},
                outcomes={"accepted": 7},
                known_endings=100,
            ),
        }
    )
    assert added["unsettled"] == {"records": 7, "bytes": 30, "oldest_seconds": 1.5}
    assert added["outcomes"] == {"accepted": 12, "conflict": 1}
    assert added["deliveries"] == {"lanes": 2}
    assert added["pending_writes"] == {"outcomes": 4}
    assert added["known_endings"] == 100, "each knows the endings of all"


def test_the_intake_is_paused_if_one_is() -> None:
    assert totals({"1": report(), "2": report(intake="paused")})["intake"] == "paused"
    assert totals({"1": report(), "2": report()})["intake"] == "open"


def test_partitions_stand_in_order_and_say_whose_they_are() -> None:
    added = totals(
        {
            "1": report(
                partitions=[{"topic": "b", "partition": 1}, {"topic": "a", "partition": 10}]
            ),
            "2": report(partitions=[{"topic": "a", "partition": 9}]),
        }
    )
    assert added["partitions"] == [
        {"topic": "a", "partition": 9, "worker": "2"},
        {"topic": "a", "partition": 10, "worker": "1"},
        {"topic": "b", "partition": 1, "worker": "1"},
    ]


def test_targets_add_up_and_halts_say_who_suffers_them() -> None:
    halt = {"operation": "PutJobSuccessResult", "why": "ExpiredToken"}
    one = {"room": 20.5, "calls": 3, "accepted": 100, "halts": [halt]}
    two = {"room": 10.0, "calls": 1, "accepted": 50, "halts": []}
    added = totals(
        {"1": report(targets={"prod": one}), "2": report(targets={"prod": two, "test": two})}
    )
    assert added["targets"] == {
        "prod": {"room": 30.5, "calls": 4, "accepted": 150, "halts": [{**halt, "worker": "1"}]},
        "test": {"room": 10.0, "calls": 1, "accepted": 50, "halts": []},
    }


def test_without_workers_nothing_has_happened() -> None:
    nothing = report()
    del nothing["version"]
    assert totals({}) == nothing


def test_what_is_added_up_is_left_as_it_was() -> None:
    target = {"room": 1.0, "calls": 1, "accepted": 1, "halts": []}
    reports = {"1": report(targets={"prod": target}), "2": report(targets={"prod": target})}
    assert totals(reports) == totals(reports)
