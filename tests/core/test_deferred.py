from __future__ import annotations

from gateway.core.deferred import Deferred


def test_later_results_of_a_deferred_job_wait_whatever_their_operation():
    deferred = Deferred()
    deferred.add("one", "a", 7)
    assert deferred.blocks("one", "a")
    assert not deferred.blocks("one", "b")
    assert not deferred.blocks("two", "a")


def test_reading_begins_again_at_the_lowest_offset_of_the_target():
    deferred = Deferred()
    for target, offset in (("one", 9), ("two", 3), ("one", 7), ("one", 8)):
        deferred.add(target, str(offset), offset)
    assert deferred.targets() == {"one", "two"}
    assert deferred.take_back("one") == 7
    assert not deferred.blocks("one", "9")
    assert deferred.blocks("two", "3")
    assert deferred.take_back("one") is None
    assert deferred
    assert deferred.take_back("two") == 3
    assert not deferred
