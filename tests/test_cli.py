"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.config import Settings, load
from gateway.config_sources import each_setting

ROOT = Path(__file__).parent.parent
SLOW = {"aiobotocore", "aiohttp", "aiokafka", "botocore", "prometheus_client", "pydantic", "rich"}
"""What would make `gateway --help` wait: 0.1 s without, more than a second with all of them."""


def gateway(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_names_every_command_and_loads_nothing_slow() -> None:
    program = (
        "import sys, gateway.cli\n"
        "try: gateway.cli.app(['--help'])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    for command in [
        "run",
        "check",
        "explain",
        "schema",
        "settings",
        "init",
        "version",
        "simulate",
        "dead-letters",
        "demo",
    ]:
        assert f"  {command} " in ended.stdout
    assert SLOW & set(ended.stderr.split()) == set()


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_wrong_configuration_is_sentences_and_exit_code_2(command: str) -> None:
    ended = gateway(command, GATEWAY_KAFKA__GROUPID="hunter2", GATEWAY_ADMIN__PORT="hunter2")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert sorted(ended.stderr.splitlines()) == [
        "GATEWAY_ADMIN__PORT: must be a whole number",
        "GATEWAY_KAFKA__GROUPID: no such setting, did you mean GATEWAY_KAFKA__GROUP_ID?",
        "kafka.bootstrap_servers: must be set, here or as GATEWAY_KAFKA__BOOTSTRAP_SERVERS",
    ]


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run", "--nonsense"], ["check", "--config"], ["simulate", "x"]]
)
def test_a_wrong_command_line_is_a_sentence_and_exit_code_2(arguments: list[str]) -> None:
    ended = gateway(*arguments)
    assert ended.returncode == 2
    assert "Error: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("workers", ["0", "65", "-1", "two"])
def test_a_number_of_workers_that_makes_no_sense_is_a_sentence(workers: str) -> None:
    ended = gateway("run", "--workers", workers, GATEWAY_KAFKA__BOOTSTRAP_SERVERS="nobody:9092")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("Error: Invalid value for '--workers': ")
    ended = gateway(
        "run", GATEWAY_KAFKA__BOOTSTRAP_SERVERS="nobody:9092", GATEWAY_RUNTIME__WORKERS=workers
    )
    assert ended.returncode == 2
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith("GATEWAY_RUNTIME__WORKERS: must be ")


def test_a_shadow_of_several_workers_is_refused_and_says_why() -> None:
    ended = gateway(
        *("run", "--shadow", "--workers", "2"), GATEWAY_KAFKA__BOOTSTRAP_SERVERS="nobody:9092"
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "--workers: a shadow is one process: each would read everything, in a group of its own\n",
    )


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("nonsense", "--as-worker: is for supervisors, not for you"),
        ("1:99", "cannot start: OSError: Bad file descriptor"),
    ],
)
def test_nobody_is_a_worker_without_a_supervisor(place: str, sentence: str) -> None:
    ended = gateway("run", "--as-worker", place, GATEWAY_KAFKA__BOOTSTRAP_SERVERS="nobody:9092")
    assert (ended.returncode, ended.stderr) == (2, sentence + "\n")


def test_check_prints_a_line_for_each_thing(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        """
        kafka: {bootstrap_servers: "a:1"}
        input: {topics: [one, two], allowed: {one: [prod], two: [prod, test]}}
        targets:
          prod: {region: eu-west-1, role_arn: "arn:aws:iam::123456789012:role/gateway"}
          test: {region: us-east-1, endpoint: "http://localhost:1"}
        """
    )
    ended = gateway("check", "--config", str(path))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "kafka: a:1, PLAINTEXT, group job-result-gateway",
        "input: one -> prod",
        "input: two -> prod, test",
        "outcomes: job-results.outcomes",
        "dead letters: job-results.dead-letters",
        "target prod: region eu-west-1, role arn:aws:iam::123456789012:role/gateway",
        "target test: region us-east-1, endpoint http://localhost:1",
        "digests: keyed at random, per process",
        "admin: http://127.0.0.1:8080, open",
        "grace period: 45 seconds",
    ]


def test_check_tells_what_cannot_be_built(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("")
    (tmp_path / "ca.pem").write_text("hunter2")
    ended = gateway(
        "check",
        GATEWAY_KAFKA__BOOTSTRAP_SERVERS="a:1",
        GATEWAY_KAFKA__SECURITY_PROTOCOL="SSL",
        GATEWAY_KAFKA__SSL_CA_FILE=str(tmp_path / "ca.pem"),
        GATEWAY_ENDINGS__DIGEST_KEY=str(tmp_path / "key"),
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "kafka.ssl_ca_file: cannot be used (SSLError)",
        "endings.digest_key: the file is empty",
    ]


def test_the_configuration_to_start_from_loads_and_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    assert gateway("init", str(path)).returncode == 0
    assert path.read_text() == gateway("init").stdout
    assert gateway("check", "--config", str(path)).returncode == 0
    written = path.read_text()

    again = gateway("init", str(path))
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert path.read_text() == written
    assert gateway("init", str(tmp_path / "none" / "gateway.yaml")).returncode == 1


def test_every_line_of_the_configuration_to_start_from_is_the_default(tmp_path: Path) -> None:
    lines = gateway("init").stdout.splitlines()
    path = tmp_path / "all.yaml"
    path.write_text("\n".join(line.removeprefix("#") for line in lines))
    everything = load(str(path), {})
    nothing = load(None, {"GATEWAY_KAFKA__BOOTSTRAP_SERVERS": "localhost:9092"})
    for name, _ in each_setting(Settings):
        assert any(line.strip("# ").startswith(f"{name.split('.')[-1]}:") for line in lines)
    assert list(everything.targets) == ["main"]
    assert everything.targets["main"] == nothing.targets["default"]
    assert everything.model_copy(update={"targets": nothing.targets}) == nothing


def test_the_reference_pages_are_what_the_declarations_say() -> None:
    """Written anew by: gateway settings > docs/CONFIGURATION.md; …--signals > docs/SIGNALS.md."""
    assert gateway("settings").stdout == (ROOT / "docs/CONFIGURATION.md").read_text()
    assert gateway("settings", "--signals").stdout == (ROOT / "docs/SIGNALS.md").read_text()


def test_the_references_come_as_json_too() -> None:
    settings = {row["name"]: row for row in json.loads(gateway("settings", "--json").stdout)}
    assert settings["targets.<name>.room.max"]["variable"] == "GATEWAY_TARGETS__NAME__ROOM__MAX"
    assert settings["kafka.bootstrap_servers"]["required"] is True
    signals = json.loads(gateway("settings", "--signals", "--json").stdout)
    assert {"signals", "gauges"} == set(signals)


def test_version_is_the_packages() -> None:
    assert gateway("version").stdout == f"{__version__}\n"
