"""README.md kept to its word: what it tells people to type is typed here, as it stands there.

Ports may be taken on the machine that tests, so free ones are put into the text.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COVERED = {
    "make demo": "test_make_targets_exist",
    "make test": "test_make_targets_exist",
    "make check": "test_make_targets_exist",
    "make bench": "test_make_targets_exist",
    "gateway check": "test_check_needs_nothing_but_brokers",
    "gateway dead-letters list": "test_dead_letters_are_listed_and_shown",
    "gateway dead-letters show": "test_dead_letters_are_listed_and_shown",
    "gateway explain FILE": "test_explain_takes_the_examples",
    "gateway init gateway.yaml": "test_the_session_in_three_terminals",
    "gateway run": "test_the_session_in_three_terminals",
    "gateway run --config gateway.yaml": "test_the_session_in_three_terminals",
    "gateway run --shadow": "test_the_session_in_three_terminals",
    "gateway schema": "test_schema_and_settings_are_printed",
    "gateway settings": "test_schema_and_settings_are_printed",
    "gateway simulate codepipeline --port 8090 --jobs 3 --with-keys": (
        "test_the_session_in_three_terminals"
    ),
    "gateway simulate kafka --port 9092 --data ./kafka": "test_the_session_in_three_terminals",
}
"""Which test types it: `make demo` and `make test` are also what CI runs."""


def commands() -> Iterator[str]:
    """Every command of ours that the README shows, in blocks and within lines."""
    fences = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    shown = [line for block in BLOCKS for line in block.splitlines()]
    shown += re.findall(r"`([^`]+)`", fences)
    for text in shown:
        words = text.split()
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if len(words) > 1 and words[0] in ("gateway", "make"):
            yield " ".join(words)


def block_with(text: str) -> str:
    [block] = [block for block in BLOCKS if text in block]
    return str(block)


def environment(**more: str) -> dict[str, str]:
    """A terminal's, in an environment where the package is installed, and nothing is set."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, **more}


def typed(command: str, folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(),
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_every_command_shown_is_typed_by_a_test() -> None:
    assert set(commands()) == set(COVERED)
    assert set(COVERED.values()) <= set(globals())


@pytest.mark.parametrize("command", [name for name in COVERED if name.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    ended = typed(f"{command} --dry-run", ROOT)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", ["list", "show"])
def test_dead_letters_are_listed_and_shown(command: str, tmp_path: Path) -> None:
    """What they do on a real Kafka is shown by test_dead_letters.py; here, that they are there."""
    ended = typed(f"gateway dead-letters {command} --help", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "--reason" in ended.stdout or command == "show"


def test_check_needs_nothing_but_brokers(tmp_path: Path) -> None:
    block = block_with("gateway check").replace("gateway run\n", "")
    ended = typed(re.sub("^pip install .*", "", block, flags=re.MULTILINE), tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "kafka: kafka-1:9092,kafka-2:9092" in ended.stdout
    assert "target default" in ended.stdout


def test_explain_takes_the_examples(tmp_path: Path) -> None:
    (event,) = re.findall(r"\| the HTTP API \| `(.*?)` \|", README)
    (tmp_path / "FILE").write_text(event.replace("…", str(uuid.uuid4())))
    ended = typed("gateway explain FILE", tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "PutJobSuccessResult to target default" in ended.stdout
    (tmp_path / "FILE").write_text(event)
    ended = typed("gateway explain FILE", tmp_path)
    assert ended.returncode == 1
    assert "$.jobId: must match" in ended.stdout


def test_schema_and_settings_are_printed(tmp_path: Path) -> None:
    schema = typed("gateway schema", tmp_path)
    assert len(json.loads(schema.stdout)["oneOf"]) == 4
    settings = typed("gateway settings", tmp_path)
    assert settings.stdout == (ROOT / "docs" / "CONFIGURATION.md").read_text()
    assert (schema.stderr, settings.stderr) == ("", "")


# -- three terminals -------------------------------------------------------------------------------


class Terminal:
    """A shell in which one command runs until Ctrl-C."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @property
    def output(self) -> list[str]:
        return (self._folder / "output").read_text().splitlines()

    @property
    def errors(self) -> str:
        return (self._folder / "errors").read_text()

    def assert_runs(self) -> None:
        assert self._process.returncode is None, self.errors[-2000:]

    async def wait_lines(self, count: int) -> list[str]:
        def are_there() -> bool:
            self.assert_runs()
            return len(self.output) >= count

        await wait_until(are_there, 60, every_seconds=0.05)
        return self.output

    async def press_ctrl_c(self) -> int:
        """As a terminal does: the signal goes to everything in the foreground."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGINT)
        async with asyncio.timeout(60):
            return await self._process.wait()


@asynccontextmanager
async def terminal(command: str, folder: Path, **more: str) -> AsyncIterator[Terminal]:
    own = folder / uuid.uuid4().hex
    own.mkdir()
    with (own / "output").open("wb") as output, (own / "errors").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command),
            cwd=folder,
            env=environment(**more),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    shown = Terminal(process, own)
    try:
        yield shown
        assert await shown.press_ctrl_c() == 0, shown.errors
    finally:
        if process.returncode is None:  # Kafka's own process ends with the one that started it
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def fetched(url: str) -> str:
    def fetch() -> str:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    return await asyncio.to_thread(fetch)


async def test_the_session_in_three_terminals(tmp_path: Path) -> None:
    kafka, codepipeline, admin = free_ports(3)

    def here(text: str) -> str:
        return text.replace("9092", str(kafka)).replace("8090", str(codepipeline))

    (books_url,) = re.findall(r"`curl (http\S+/_simulation/books)`", README)
    exports, run = block_with("AWS_ENDPOINT_URL_CODEPIPELINE").strip().rsplit("\n", 1)
    port = {"GATEWAY_ADMIN__PORT": str(admin)}

    async def books() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (await fetched(here(books_url))).splitlines()]

    async def called(count: int, by: Terminal) -> list[str]:
        async def are_there() -> bool:
            by.assert_runs()
            return len(await books()) >= count

        await wait_until(are_there, 60, every_seconds=0.1)
        return [entry["job_id"] for entry in await books() if entry["applied"]]

    async with (
        terminal(here(block_with("simulate kafka")), tmp_path) as first,
        terminal(here(block_with("simulate codepipeline")), tmp_path) as second,
    ):
        printed = await first.wait_lines(8)
        events = await second.wait_lines(3)
        jobs = [json.loads(event.partition("\t")[2])["jobId"] for event in events]
        send = printed[1 + printed.index("# send job results, one a line: KEY, a tab, the event")]
        assert "ConsoleProducer" in send

        async with terminal(f"{here(exports)}\n{here(run)}", tmp_path, **port) as third:
            await sent(send, events[:2])
            assert sorted(await called(2, third)) == sorted(jobs[:2])

        shadow = f"{here(exports)}\n{here(run)} --shadow"
        async with terminal(shadow, tmp_path, **port) as third:
            await sent(send, events[2:])
            status: dict[str, Any] = {}

            async def has_seen_all() -> bool:
                third.assert_runs()
                status.update(json.loads(await fetched(f"http://127.0.0.1:{admin}/status") or "{}"))
                return bool(status.get("outcomes", {}).get("accepted") == 3)

            await wait_until(has_seen_all, 30, every_seconds=0.1)
            assert status["mode"] == "shadow"
        assert len(await books()) == 2, "the shadow calls nobody"

        written = await asyncio.to_thread(typed, "gateway init gateway.yaml", tmp_path)
        assert written.returncode == 0
        file = tmp_path / "gateway.yaml"
        file.write_text(here(file.read_text()))
        configured = f"{here(exports)}\ngateway run --config gateway.yaml"
        async with terminal(configured, tmp_path, **port) as third:
            assert sorted(await called(3, third)) == sorted(jobs)


async def sent(command: str, events: list[str]) -> None:
    """Typed into Kafka's own console producer."""
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            _, errors = await process.communicate("".join(f"{e}\n" for e in events).encode())
        assert process.returncode == 0, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
