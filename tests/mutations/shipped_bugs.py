"""What has to be taken out of our code for each bug that others shipped to come back.

A part of the catalogue: `python -m tests.mutations parallel-consumer-826` plants one of them and
runs its one test, which must turn red.
"""

from __future__ import annotations

from typing import NamedTuple


class ShippedBug(NamedTuple):
    name: str
    breaks: str
    file: str
    old: str
    """Stands in `file` exactly once."""
    new: str
    test: str


_TESTS = "tests/regressions/test_shipped_bugs.py::"

SHIPPED_BUGS = (
    ShippedBug(
        "parallel-consumer-826",
        "a close commits what was read, not what was done",
        "gateway/core/watermark.py",
        "return self._tickets[0].offset if self._tickets else self._position",
        "return self._position",
        _TESTS + "test_parallel_consumer_826_a_close_amid_work_loses_nothing",
    ),
    ShippedBug(
        "parallel-consumer-827",
        "what waits at a revocation counts as done",
        "gateway/deliver.py",
        """            if id(delivery) not in self._calling:
                self._settlement.forget(delivery.size_bytes)
""",
        """            if id(delivery) not in self._calling:
                self._settlement.settle(delivery.ticket, delivery.size_bytes)
""",
        _TESTS + "test_parallel_consumer_827_a_revocation_amid_work_loses_nothing",
    ),
    ShippedBug(
        "parallel-consumer-857",
        "a lost assignment's work stays on the books",
        "gateway/deliver.py",
        """            if id(delivery) not in self._calling:
                self._settlement.forget(delivery.size_bytes)
""",
        """            if id(delivery) not in self._calling:
                pass
""",
        _TESTS + "test_parallel_consumer_857_consumption_goes_on_after_a_rebalance",
    ),
    ShippedBug(
        "parallel-consumer-834",
        "a full retry queue does not throttle the polling",
        "gateway/deliver.py",
        "        self._retries[id(delivery)] = asyncio.get_running_loop().call_later(",
        """        self._settlement.forget(delivery.size_bytes)
        self._retries[id(delivery)] = asyncio.get_running_loop().call_later(""",
        _TESTS + "test_parallel_consumer_834_results_that_wait_for_a_retry_throttle_the_polling",
    ),
    ShippedBug(
        "parallel-consumer-836",
        "calls in flight do not count in backpressure",
        "gateway/deliver.py",
        "        delivery.tries.attempts += 1\n",
        """        self._settlement.forget(delivery.size_bytes)
        delivery.tries.attempts += 1
""",
        _TESTS + "test_parallel_consumer_836_calls_in_flight_count_in_backpressure",
    ),
    ShippedBug(
        "parallel-consumer-647",
        "a note that does not fit is dropped whole",
        "gateway/core/note.py",
        "    return _what_fits(settled, bitset)\n",
        '    return "b", b""\n',
        _TESTS + "test_parallel_consumer_647_a_note_over_its_limit_is_cut_not_dropped",
    ),
    ShippedBug(
        "parallel-consumer-647-unbounded",
        "a note over the brokers' limit is sent",
        "gateway/core/note.py",
        "_PAYLOAD_BYTES: Final = (LONGEST - _ROOM_FOR_HEADER) // 4 * 3",
        "_PAYLOAD_BYTES: Final = 10 * LONGEST",
        _TESTS + "test_parallel_consumer_647_a_note_over_its_limit_is_cut_not_dropped",
    ),
    ShippedBug(
        "astubbs-parallel-consumer-487",
        "waiting retries are unbounded",
        "gateway/deliver.py",
        "if len(self._retries) >= self._limits.retries:",
        "if len(self._retries) >= 10**9:",
        _TESTS + "test_astubbs_parallel_consumer_487_retries_for_ever_do_not_stall_the_intake",
    ),
    ShippedBug(
        "redpanda-connect-4477",
        "a commit that waited is sent after the revocation has begun",
        "gateway/partitions.py",
        "            if assignment is self.current:  # else a revocation has overtaken us\n",
        "            if assignment is not None:\n",
        _TESTS + "test_redpanda_connect_4477_no_commit_is_sent_for_a_revoked_partition",
    ),
    ShippedBug(
        "redpanda-connect-4009",
        "a batch that nobody has begun is passed by the last commit",
        "gateway/partitions.py",
        "        async with self._committing:\n            await self._commit(assignment)\n",
        """        async with self._committing:
            self._jump_gaps(assignment)
            await self._commit(assignment)
""",
        _TESTS + "test_redpanda_connect_4009_the_last_batch_is_not_lost_at_a_rebalance",
    ),
    ShippedBug(
        "knative-dead-letters",
        "the record settles although its dead letter was not written",
        "gateway/settle.py",
        "        self._dead_letters.append(letter, partial(self._publish, outcome, durable))\n",
        """        self._dead_letters.append(letter, lambda: None)
        self._publish(outcome, durable)
""",
        _TESTS + "test_knative_kafka_source_no_commit_passes_a_dead_letter_that_was_not_written",
    ),
    ShippedBug(
        "fencing-before-draining",
        "the handover does not wait for the calls under way",
        "gateway/partitions.py",
        "        await _within(self._patience.calls_seconds, assignment.deliveries.wait_calls())\n",
        "",
        _TESTS + "test_fencing_before_draining_no_duplicates_at_a_rebalance",
    ),
)
