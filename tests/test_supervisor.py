"""Several workers under one roof, played by small scripts: who is started, told, counted, buried.

The real ones stand in tests/acceptance/test_workers.py.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.adapters.telemetry import LogAndMetrics
from gateway.adapters.worker import Listening
from gateway.config import Settings, load
from gateway.supervisor import Supervisor
from tests.waiting import wait_until

QUICKLY = Listening(hear_seconds=0.05, answer_seconds=5.0)
STATUS = {
    "unsettled": {"records": 2, "bytes": 5, "oldest_seconds": 0.5},
    "intake": "open",
    "deliveries": {},
    "outcomes": {"accepted": 10},
    "pending_writes": {},
    "known_endings": 0,
    "partitions": [],
    "targets": {},
}
PAGE = "# TYPE gateway_records_read_total counter\ngateway_records_read_total 5\n"

WORKER = (
    f"PAGE, STATUS = {PAGE!r}, {json.dumps(STATUS)!r}"
    """
import json, os, select, signal, socket, struct, sys
descriptor, on_drain, lines = int(sys.argv[1]), sys.argv[2], sys.argv[3]
line = socket.socket(fileno=descriptor)
answers = {
    "metrics": PAGE,
    "status": STATUS,
    "readiness": json.dumps({"ready": on_drain != "unready", "trouble": ["source: gone"]}),
}
print("begun", flush=True)
for number in range(int(lines)):
    print(f"{os.getpid()} {number} " + "x" * 5000)
sys.stdout.flush()
unread = b""
while data := line.recv(1000):
    *words, unread = (unread + data).split(b"\\n")
    for word in words:
        word = word.decode()
        if word in answers:
            answer = answers[word].encode()
            line.sendall(struct.pack(">I", len(answer)) + answer)
        print("told", word, flush=True)
        if word == "leave" or word == "drain" and on_drain in ("leave", "unready"):
            os._exit(0)
        elif word == "drain" and on_drain == "fail":
            os._exit(7)
print("cut off", flush=True)
"""
)

Play = Callable[[int, int], Sequence[str]]


def played(on_drain: str = "leave", lines: int = 0) -> Play:
    """A worker that, told to drain, leaves, fails, or waits to be told again."""
    return lambda _, descriptor: (
        *(sys.executable, "-I", "-S", "-c", WORKER),
        *(str(descriptor), on_drain, str(lines)),
    )


def script(text: str) -> Sequence[str]:
    """A worker that does nothing but this."""
    return (sys.executable, "-I", "-S", "-c", text)


class Stand:
    """A supervisor that runs, and what can be seen of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.stream = io.StringIO()
        self.telemetry = LogAndMetrics("info", "json", settings.secrets(), self.stream)
        self.running: asyncio.Task[int] | None = None

    def run(self, command: Play, count: int = 2, listening: Listening = QUICKLY) -> None:
        supervisor = Supervisor(self._settings, self.telemetry, count, command, listening)
        self.running = asyncio.create_task(supervisor.run())

    async def wait_ended(self) -> int:
        """The exit code. Every line is written then."""
        assert self.running is not None
        code = await asyncio.wait_for(self.running, 20)
        await asyncio.to_thread(self.telemetry.close)
        return code

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    def told(self, event: str) -> list[dict[str, Any]]:
        """Log lines of the supervisor's own, with this event."""
        own = [json.loads(line) for line in self.lines() if line.startswith("{")]
        return [line for line in own if line["event"].startswith(event)]

    async def wait_begun(self, count: int = 2) -> None:
        await wait_until(lambda: self.lines().count("begun") >= count)

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        address = self.told("gateway started")[0]["admin"]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{address}{path}", headers=headers) as answer,
        ):
            return answer.status, await answer.text()


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    more = getattr(request, "param", {})
    environ = {"GATEWAY_KAFKA__BOOTSTRAP_SERVERS": "nobody:9092", "GATEWAY_ADMIN__PORT": "0"}
    return load(None, environ | more)


@pytest.fixture
async def stand(settings: Settings) -> AsyncIterator[Stand]:
    handlers, level = logging.root.handlers[:], logging.root.level
    stand = Stand(settings)
    yield stand
    if stand.running is not None and not stand.running.done():
        stand.running.cancel()
        await asyncio.wait({stand.running})
    await asyncio.to_thread(stand.telemetry.close)
    logging.captureWarnings(False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def terminate() -> None:
    """The supervisor is this process."""
    os.kill(os.getpid(), signal.SIGTERM)


async def test_told_to_stop_every_worker_is_told_once_and_has_left(stand: Stand) -> None:
    stand.run(played(), count=3)
    await stand.wait_begun(3)
    sessions = {os.getsid(line["pid"]) for line in stand.told("worker started")}
    assert os.getsid(0) not in sessions, "Ctrl-C would reach the workers too"
    terminate()
    assert await stand.wait_ended() == 0
    assert stand.lines().count("told drain") == 3
    assert stand.told("all workers have left")[0]["exit_code"] == 0
    for line in stand.told("worker started"):
        with pytest.raises(ProcessLookupError):
            os.kill(line["pid"], 0)


async def test_told_twice_it_tells_them_to_leave_at_once(stand: Stand) -> None:
    stand.run(played("wait"))
    await stand.wait_begun()
    terminate()
    await wait_until(lambda: stand.lines().count("told drain") == 2)
    assert "told leave" not in stand.lines()
    terminate()
    assert await stand.wait_ended() == 0
    assert stand.lines().count("told leave") == 2


SHORT_GRACE = {
    "GATEWAY_SHUTDOWN__DRAIN_SECONDS": "0",
    "GATEWAY_AWS__ATTEMPT_TIMEOUT_SECONDS": "0.1",
    "GATEWAY_OUTCOMES__WRITE_TIMEOUT_SECONDS": "0.1",
    "GATEWAY_KAFKA__COMMIT_TIMEOUT_SECONDS": "0.1",
}


@pytest.mark.parametrize("settings", [SHORT_GRACE], indirect=True)
async def test_who_outstays_the_grace_period_is_killed_and_the_exit_code_says_so(
    stand: Stand,
) -> None:
    stand.run(lambda number, d: played("wait" if number == 1 else "leave")(number, d))
    await stand.wait_begun()
    terminate()
    assert await stand.wait_ended() == 1
    with pytest.raises(ProcessLookupError):
        os.kill(stand.told("worker started")[0]["pid"], 0)


async def test_a_worker_that_fails_to_drain_makes_the_exit_code_1(stand: Stand) -> None:
    stand.run(lambda number, d: played("fail" if number == 1 else "leave")(number, d))
    await stand.wait_begun()
    terminate()
    assert await stand.wait_ended() == 1


async def test_a_configuration_that_a_worker_cannot_use_ends_all_with_2(stand: Stand) -> None:
    def command(number: int, descriptor: int) -> Sequence[str]:
        wrong = script("raise SystemExit(2)")
        return wrong if number == 2 else played()(number, descriptor)

    stand.run(command)
    assert await stand.wait_ended() == 2
    assert stand.told("a worker has ended by itself") == []


async def test_what_a_worker_complains_of_is_a_line_of_the_log_without_secrets(
    stand: Stand,
) -> None:
    complaint = "import sys; print('Traceback', file=sys.stderr); sys.exit('password=hunter22')"
    stand.run(lambda number, _: script(complaint), count=1)
    await wait_until(lambda: stand.told("a worker has ended by itself"))
    lines = [line for line in stand.told("") if line.get("logger") == "stderr"]
    assert [(line["worker"], line["event"]) for line in lines] == [
        (1, "Traceback"),
        (1, "password=[redacted]"),
    ]
    terminate()
    await stand.wait_ended()


async def test_a_worker_that_ends_is_started_again_and_again_ever_later(
    stand: Stand, tmp_path: Path
) -> None:
    def command(number: int, descriptor: int) -> Sequence[str]:
        return script("raise SystemExit(5)") if number == 1 else played()(number, descriptor)

    stand.run(command)
    await wait_until(lambda: len(stand.told("a worker has ended by itself")) == 2)
    ends = stand.told("a worker has ended by itself")
    assert [(line["worker"], line["how"], line["restart_in_seconds"]) for line in ends] == [
        (1, "exit code 5", 1.0),
        (1, "exit code 5", 2.0),
    ]
    assert len(stand.told("worker started")) == 3, "the other one has stayed"
    terminate()
    assert await stand.wait_ended() == 0, "nothing ran that could have lost anything"


async def test_a_worker_that_cannot_be_started_is_tried_again(stand: Stand) -> None:
    stand.run(lambda number, descriptor: ("/nonexistent/python",), count=1)
    await wait_until(lambda: stand.told("a worker has ended by itself"))
    assert stand.told("a worker has ended by itself")[0]["how"].startswith("FileNotFoundError")
    terminate()
    assert await stand.wait_ended() == 0


async def test_a_worker_that_hangs_is_killed_and_started_again(stand: Stand) -> None:
    hanging = script("import time; time.sleep(1000)")
    stand.run(lambda *_: hanging, count=1, listening=Listening(0.01, 0.05, most_silences=5))
    await wait_until(lambda: len(stand.told("worker started")) == 2)
    silent, ended = stand.told("a worker has not answered"), stand.told("a worker has ended")
    assert silent[0]["pid"] == stand.told("worker started")[0]["pid"]
    assert ended[0]["how"] == "SIGKILL"
    terminate()
    assert await stand.wait_ended() == 1
    assert len(stand.told("a worker has not answered")) == 2


def slow(seconds: float) -> Play:
    """A worker that takes its time before it hears."""
    hears = f"import time\nwhile time.sleep({seconds}) or (data := line.recv(1000)):"
    text = WORKER.replace("while data := line.recv(1000):", hears)
    return lambda _, descriptor: (*script(text), str(descriptor), "leave", "0")


async def test_a_hanging_worker_that_answers_now_and_then_lives(stand: Stand) -> None:
    stand.run(slow(0.15), count=1, listening=Listening(0.01, 0.01, most_silences=100))
    await wait_until(lambda: stand.lines().count("told metrics") > 25)
    assert stand.told("a worker has not answered") == []
    terminate()
    assert await stand.wait_ended() == 0


async def test_lines_of_all_workers_reach_the_log_whole_and_in_their_order(stand: Stand) -> None:
    stand.run(played(lines=300), count=3)
    await wait_until(lambda: sum(" 299 " in line for line in stand.lines()) == 3)
    pids = [line["pid"] for line in stand.told("worker started")]
    said = [line for line in stand.lines() if line.endswith("x")]
    for pid in pids:
        own = [line for line in said if line.startswith(f"{pid} ")]
        assert own == [f"{pid} {number} " + "x" * 5000 for number in range(300)]
    assert len(said) == 900
    terminate()
    assert await stand.wait_ended() == 0


async def test_last_words_of_a_worker_are_not_lost(stand: Stand) -> None:
    words = (
        "import os, sys\n"
        "for number in range(3000): print(number, 'x' * 1000)\n"
        "print('unfinished', end='', flush=True); os._exit(1)"
    )
    stand.run(lambda *_: script(words), count=1)
    await wait_until(lambda: stand.told("a worker has ended by itself"))
    assert len(stand.lines()) == 3004
    assert stand.lines()[-2] == "unfinished"
    terminate()
    await stand.wait_ended()


# -- what can be asked -----------------------------------------------------------------------------


async def test_it_is_ready_once_every_worker_is(stand: Stand) -> None:
    stand.run(lambda number, d: played("unready" if number == 2 else "leave")(number, d))
    await stand.wait_begun()
    status, body = await stand.get("/readyz")
    assert status == 503
    assert json.loads(body) == {
        "ready": False,
        "trouble": ["worker 1: source: gone", "worker 2: source: gone"],
    }
    terminate()
    await stand.wait_ended()


async def test_trouble_alone_takes_no_readiness(stand: Stand) -> None:
    stand.run(played())
    await stand.wait_begun()
    assert (await stand.get("/readyz"))[0] == 200
    terminate()
    await stand.wait_ended()


async def test_it_lives_while_a_worker_is_down_and_says_which(stand: Stand) -> None:
    def command(number: int, descriptor: int) -> Sequence[str]:
        return script("raise SystemExit(5)") if number == 1 else played()(number, descriptor)

    stand.run(command)
    await stand.wait_begun(1)
    await wait_until(lambda: stand.told("a worker has ended by itself"))
    status, body = await stand.get("/livez")
    assert status == 200
    assert json.loads(body)["workers"] == {"1": "down: exit code 5", "2": "up"}
    assert json.loads((await stand.get("/readyz"))[1])["trouble"] == [
        "worker 1: down: exit code 5",
        "worker 2: source: gone",
    ]
    page = (await stand.get("/metrics"))[1].splitlines()
    assert {line for line in page if line.startswith(("gateway_ready", "gateway_worker_up"))} == {
        "gateway_ready 0.0",
        'gateway_worker_up{worker="1"} 0.0',
        'gateway_worker_up{worker="2"} 1.0',
    }
    terminate()
    await stand.wait_ended()


async def test_status_is_one_gateways_and_each_workers(stand: Stand) -> None:
    stand.run(played())
    await stand.wait_begun()
    status = json.loads((await stand.get("/status"))[1])
    assert status["mode"] == "supervisor"
    assert status["outcomes"] == {"accepted": 20}
    assert status["unsettled"] == {"records": 4, "bytes": 10, "oldest_seconds": 0.5}
    pids = [line["pid"] for line in stand.told("worker started")]
    assert [status["workers"][name]["pid"] for name in ("1", "2")] == pids
    assert status["workers"]["2"]["outcomes"] == {"accepted": 10}
    assert status["workers"]["2"]["state"] == "up"
    terminate()
    await stand.wait_ended()


async def test_a_counter_keeps_what_a_dead_worker_had_counted(stand: Stand) -> None:
    stand.run(played())
    await stand.wait_begun()
    await wait_until(lambda: stand.lines().count("told metrics") >= 4)
    assert "gateway_records_read_total 10.0" in (await stand.get("/metrics"))[1]
    os.kill(stand.told("worker started")[0]["pid"], signal.SIGKILL)
    await wait_until(lambda: stand.told("a worker has ended by itself"))
    assert "gateway_records_read_total 10.0" in (await stand.get("/metrics"))[1]
    await stand.wait_begun(3)
    await wait_until(lambda: len(stand.told("worker started")) == 3)
    assert "gateway_records_read_total 15.0" in (await stand.get("/metrics"))[1]
    terminate()
    await stand.wait_ended()


async def test_who_ends_while_another_is_being_asked_does_not_count_twice(stand: Stand) -> None:
    def command(number: int, descriptor: int) -> Sequence[str]:
        return (slow(1.0) if number == 2 else played())(number, descriptor)

    stand.run(command, listening=Listening(hear_seconds=1000))
    await stand.wait_begun()
    asking = asyncio.create_task(stand.get("/metrics"))
    await wait_until(lambda: "told metrics" in stand.lines())
    os.kill(stand.told("worker started")[0]["pid"], signal.SIGKILL)
    await wait_until(lambda: stand.told("a worker has ended by itself"))
    assert not asking.done()
    assert "gateway_records_read_total 10.0" in (await asking)[1]
    terminate()
    await stand.wait_ended()


@pytest.mark.parametrize("settings", [{"GATEWAY_ADMIN__TOKEN": "correct-horse"}], indirect=True)
async def test_the_probes_answer_anybody_and_the_rest_who_knows_the_token(stand: Stand) -> None:
    stand.run(played())
    await stand.wait_begun()
    codes = {path: (await stand.get(path))[0] for path in ("/livez", "/readyz", "/metrics")}
    assert codes == {"/livez": 200, "/readyz": 200, "/metrics": 401}
    answer = await stand.get("/status", Authorization="Bearer correct-horse")
    assert answer[0] == 200
    assert "correct-horse" not in answer[1]
    terminate()
    await stand.wait_ended()
