"""Being told to stop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from gateway.adapters.stop_requests import StopRequests


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_asks_for_a_drain_the_second_skips_it(kind: signal.Signals) -> None:
    stop = StopRequests()
    with stop.listening():
        os.kill(os.getpid(), kind)
        await asyncio.wait_for(stop.drain.wait(), 5)
        assert not stop.at_once.is_set()
        os.kill(os.getpid(), kind)
        await asyncio.wait_for(stop.at_once.wait(), 5)


def test_who_asks_for_a_drain_again_does_not_skip_it() -> None:
    stop = StopRequests()
    stop.ask_drain()
    stop.ask_drain()
    assert (stop.drain.is_set(), stop.at_once.is_set()) == (True, False)


def test_who_asks_to_leave_at_once_asks_for_a_drain_too() -> None:
    stop = StopRequests()
    stop.ask_at_once()
    assert (stop.drain.is_set(), stop.at_once.is_set()) == (True, True)


def test_a_worker_takes_no_number_of_signals_for_an_order_of_its_supervisor() -> None:
    stop = StopRequests(has_supervisor=True)
    stop.ask_drain()
    stop.received()
    stop.received()
    assert (stop.drain.is_set(), stop.at_once.is_set()) == (True, False)
    stop.ask_at_once()
    assert stop.at_once.is_set()
