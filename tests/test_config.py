"""Settings: what is right loads, what is wrong is told, all of it at once and no value with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import ConfigurationError, Settings, load
from gateway.config_sources import each_setting

BROKERS = {"GATEWAY_KAFKA__BOOTSTRAP_SERVERS": "a:9092"}


def faults(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as wrong:
        load(None if path is None else str(path), environ)
    return wrong.value.faults


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def write(content: str | dict[str, Any]) -> Path:
        path = tmp_path / "gateway.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def test_one_account_needs_nothing_but_brokers() -> None:
    settings = load(None, BROKERS)
    assert list(settings.targets) == ["default"]
    assert settings.input.topics == ("job-results",)
    assert settings.grace_period_seconds == 45


def test_the_environment_wins_over_secrets_and_secrets_over_the_file(
    config: Any, tmp_path: Path
) -> None:
    path = config(
        {
            "kafka": {"group_id": "file", "client_id": "file", "bootstrap_servers": "file:1"},
            "admin": {"port": 1},
        }
    )
    secrets = tmp_path / "secrets"
    (secrets / "..data").mkdir(parents=True)
    (secrets / "kafka__group_id").write_text("secret\n")
    (secrets / "kafka__client_id").write_text("secret")
    environ = {
        "GATEWAY_SECRETS_DIRECTORY": str(secrets),
        "GATEWAY_KAFKA__GROUP_ID": "environment",
        "GATEWAY_CONFIG": str(path),
    }
    settings = load(None, environ)
    assert settings.kafka.group_id == "environment"
    assert settings.kafka.client_id == "secret"
    assert settings.kafka.bootstrap_servers == "file:1"
    assert settings.admin.port == 1


def test_lists_and_mappings_can_come_from_the_environment() -> None:
    settings = load(
        None,
        {
            "GATEWAY_KAFKA__BOOTSTRAP_SERVERS": "a:9092, [::1]:9093",
            "GATEWAY_INPUT__TOPICS": "x, y",
            "GATEWAY_INPUT__ALLOWED": '{"x": ["one", "two"], "y": ["two"]}',
            "GATEWAY_INPUT__START": "60",
            "GATEWAY_TARGETS__ONE__REGION": "eu-west-1",
            "GATEWAY_TARGETS__TWO__ROOM__MAX": "30",
            "GATEWAY_RETRY__EARLY_RESULT_DELAYS_SECONDS": "0.1,0.2",
        },
    )
    assert settings.kafka.bootstrap_servers == "a:9092,[::1]:9093"
    assert settings.input.topics == ("x", "y")
    assert settings.input.allowed == {"x": ("one", "two"), "y": ("two",)}
    assert settings.input.start == 60.0
    assert settings.targets["one"].region == "eu-west-1"
    assert settings.targets["two"].room.max == 30
    assert settings.retry.early_result_delays_seconds == (0.1, 0.2)


def test_an_empty_variable_is_not_set() -> None:
    assert load(None, BROKERS | {"GATEWAY_ADMIN__TOKEN": ""}).admin.token is None


def test_a_section_that_is_all_comments_means_its_defaults(config: Any) -> None:
    settings = load(str(config("kafka:\nadmin:\ntargets:\n  prod:\n")), BROKERS)
    assert settings.admin == load(None, BROKERS).admin
    assert list(settings.targets) == ["prod"]


def test_all_faults_are_told_at_once(config: Any) -> None:
    path = config(
        {
            "kafka": {"heartbeat_seconds": True, "session_timeout_seconds": 0, "sasl_pasword": "x"},
            "input": {"topics": ["a b"], "start": "yesterday"},
            "outcome": {"topic": "x"},
            "targets": {"Prod": {}, "test": {"region": "EU", "external_id": "x"}},
            "retry": {"base_seconds": 50, "cap_seconds": 5},
            "log": "json",
        }
    )
    assert faults(path, GATEWAY_FOO="1", GATEWAY_ADMIN__PORT="99999") == [
        "GATEWAY_FOO: no such setting",
        "kafka.bootstrap_servers: must be set, here or as GATEWAY_KAFKA__BOOTSTRAP_SERVERS",
        "kafka.session_timeout_seconds: must be at least 1",
        "kafka.heartbeat_seconds: must be a number",
        "kafka.sasl_pasword: no such setting, did you mean kafka.sasl_password?",
        "input.topics.0: must be a Kafka topic name: letters, digits, '.', '_' and '-'",
        "input.start: must be seconds back from now, earliest or latest",
        "targets.Prod: must be lower-case letters, digits, '.', '_' and '-', at most 63",
        "targets.test.region: must look like eu-west-1",
        "GATEWAY_ADMIN__PORT: must be at most 65535",
        "log: must be a mapping",
        "outcome: no such setting, did you mean outcomes?",
        "retry.base_seconds: must be at most retry.cap_seconds",
        "targets.test.external_id: has no use without role_arn",
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GATEWAY_KAFKA__BOOTSTRAP", "a:1"),
        ("GATEWAY_KAFKA_GROUP_ID", "x"),
        ("GATEWAY_ADMIN_PORT", "8080"),  # near to a service link, and is none
        ("GATEWAY_PORT", "8080"),
        ("GATEWAY_KAFKA__GROUP_ID__X", "x"),
        ("GATEWAY_LEVEL", ""),
        ("GATEWAY_", "x"),
        ("GATEWAY_TARGETS____REGION", "x"),
        ("GATEWAY_TARGETS__PROD__REGIO", "eu-west-1"),
        ("GATEWAY_SERVICE_HOSTS", "10.0.0.1"),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, value: str) -> None:
    (fault,) = faults(None, **BROKERS, **{variable: value})
    assert fault.startswith(f"{variable}: no such setting")


def test_a_misspelt_variable_gets_the_right_spelling() -> None:
    (fault,) = faults(None, **BROKERS, GATEWAY_ADMIN_PORT="8080")
    assert fault.endswith("did you mean GATEWAY_ADMIN__PORT?")


@pytest.mark.parametrize("service", ["GATEWAY", "GATEWAY_METRICS", "GATEWAY_ADMIN"])
def test_what_kubernetes_adds_for_a_service_is_let_pass(service: str) -> None:
    links = {
        "SERVICE_HOST": "10.0.0.11",
        "SERVICE_PORT": "8080",
        "SERVICE_PORT_ADMIN_HTTP": "8080",
        "PORT": "tcp://10.0.0.11:8080",
        "PORT_8080_TCP": "tcp://10.0.0.11:8080",
        "PORT_8080_TCP_PROTO": "tcp",
        "PORT_8080_TCP_PORT": "8080",
        "PORT_8080_TCP_ADDR": "10.0.0.11",
    }
    load(None, BROKERS | {f"{service}_{name}": value for name, value in links.items()})


def test_variables_of_others_are_nothing_to_us() -> None:
    load(None, BROKERS | {"gateway_kafka__group_id": "x", "MY_GATEWAY_FOO": "x", "PATH": "/bin"})


def test_an_unknown_secret_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kafka__pasword").write_text("hunter2")
    environ = BROKERS | {"GATEWAY_SECRETS_DIRECTORY": str(tmp_path)}
    (fault,) = faults(None, **environ)
    assert fault.startswith("GATEWAY_KAFKA__PASWORD: no such setting")
    assert faults(None, **BROKERS | {"GATEWAY_SECRETS_DIRECTORY": str(tmp_path / "none")}) == [
        "GATEWAY_SECRETS_DIRECTORY: cannot be read (FileNotFoundError)"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kafka: {a: 1\n", "line 2, column 1: expected"),
        ("kafka:\n\tgroup_id: x\n", "line 2, column 1: found character"),
        ("kafka:\n  group_id: x\n  group_id: y\n", "line 3, column 3: a key stands twice"),
        ("- a\n", "must hold a mapping"),
        ("hunter2", "must hold a mapping"),
        ("a: *hunter2\n", "line 1, column 4: found undefined alias"),
        ("a: !hunter2 x\n", "line 1, column 4: could not determine a constructor for the tag"),
        ("? [a]\n: 1\n", "a key stands twice, or is no text"),
    ],
)
def test_a_file_that_is_not_yaml_gets_one_sentence(config: Any, text: str, told: str) -> None:
    (fault,) = faults(config(text))
    assert told in fault
    assert "hunter2" not in fault


def test_a_missing_or_unreadable_file_gets_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert faults(missing) == [f"{missing}: cannot be read (No such file or directory)"]
    assert faults(tmp_path) == [f"{tmp_path}: cannot be read (Is a directory)"]
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert faults(binary) == [f"{binary}: cannot be read (it is not UTF-8)"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"kafka": {"heartbeat_seconds": 20}},
            "kafka.heartbeat_seconds: must be at most a third of kafka.session_timeout_seconds",
        ),
        (
            {"shutdown": {"drain_seconds": 50}},
            "kafka.rebalance_timeout_seconds: must be more than shutdown.drain_seconds and "
            "aws.attempt_timeout_seconds together",
        ),
        (
            {"outcomes": {"write_timeout_seconds": 45}},
            "kafka.rebalance_timeout_seconds: must be more than aws.attempt_timeout_seconds, "
            "outcomes.write_timeout_seconds and kafka.commit_timeout_seconds together",
        ),
        (
            {"input": {"topics": ["job-results", "job-results"]}},
            "input.topics: a topic stands twice",
        ),
        (
            {"outcomes": {"topic": "job-results"}},
            "outcomes.topic: must not be one of input.topics, the gateway would feed itself",
        ),
        (
            {"dead_letters": {"topic": "job-results"}},
            "dead_letters.topic: must not be one of input.topics, the gateway would feed itself",
        ),
        (
            {"dead_letters": {"topic": "job-results.outcomes"}},
            "outcomes.topic: must not be dead_letters.topic",
        ),
        (
            {"input": {"allowed": {"other": ["default"]}}},
            "input.allowed.other: is not one of input.topics",
        ),
        (
            {"input": {"allowed": {"job-results": ["prod"]}}},
            "input.allowed.job-results: names prod, which is not one of targets",
        ),
        (
            {"targets": {"a": {}, "b": {}}},
            "input.allowed.job-results: must list the targets that this topic may reach",
        ),
        (
            {"targets": {"a": {"room": {"initial": 200}}}},
            "targets.a.room: must be min <= initial <= max",
        ),
        (
            {"retry": {"probe_first_seconds": 31}},
            "retry.probe_first_seconds: must be at most retry.probe_cap_seconds",
        ),
        (
            {"kafka": {"sasl_username": "u"}},
            "kafka.sasl_username: has no use when kafka.security_protocol is PLAINTEXT",
        ),
        (
            {"kafka": {"security_protocol": "SASL_SSL", "sasl_username": "u"}},
            "kafka.sasl_password: must be set when kafka.security_protocol is SASL_SSL",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    config: Any, values: dict[str, Any], told: str
) -> None:
    assert faults(config(values), **BROKERS) == [told]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA__BOOTSTRAP_SERVERS", "kafka"),
        ("KAFKA__BOOTSTRAP_SERVERS", "http://kafka:9092"),
        ("KAFKA__SESSION_TIMEOUT_SECONDS", "nan"),
        ("KAFKA__SESSION_TIMEOUT_SECONDS", "45s"),
        ("KAFKA__MAX_BATCH_RECORDS", "1.5"),
        ("KAFKA__SSL_CA_FILE", "/nowhere/ca.pem"),
        ("INPUT__START", "-1"),
        ("INPUT__START", "nan"),
        ("INPUT__TOPICS", "[]"),
        ("INPUT__ALLOWED", "{not json"),
        ("KAFKA", "hunter2"),
        ("TARGETS", "hunter2"),
        ("TARGETS__X", "hunter2"),
        ("TARGETS__X__ROLE_ARN", "hunter2"),
        ("TARGETS__X__ENDPOINT", "https://user:hunter2@host"),
        ("ADMIN__TOKEN", "hunter2"),
        ("ADMIN__TOKEN", "hunter2 hunter2"),
        ("ADMIN__PORT", "hunter2"),
        ("DEAD_LETTERS__CONFLICTS", "hunter2"),
        ("LOG__LEVEL", "hunter2"),
        ("ENDINGS__DIGEST_KEY", "/hunter2"),
        ("THIRD_PARTY__CLIENT_TOKENS", "/hunter2"),
        ("RETRY__EARLY_RESULT_DELAYS_SECONDS", "1,hunter2"),
        ("RETRY__EARLY_RESULT_DELAYS_SECONDS", "-1"),
    ],
)
def test_a_wrong_value_gets_a_sentence_that_does_not_hold_it(name: str, value: str) -> None:
    variable = f"GATEWAY_{name}"
    told = faults(None, **{**BROKERS, variable: value})
    assert all(f.startswith((variable, name.lower().replace("__", "."))) for f in told)
    assert "hunter2" not in repr(told)
    assert "is not valid" not in repr(told), "a fault of this kind has no sentence of its own"


def test_a_fault_hides_no_contradiction_among_the_others(config: Any) -> None:
    path = config({"log": {"level": "loud"}, "dead_letters": {"topic": "job-results"}})
    assert [fault.split(":")[0] for fault in faults(path, **BROKERS)] == [
        "log.level",
        "dead_letters.topic",
    ]


def test_a_fault_brings_no_contradiction_with_a_default(config: Any) -> None:
    path = config({"kafka": {"heartbeat_seconds": 20, "session_timeout_seconds": "long"}})
    assert faults(path, **BROKERS) == ["kafka.session_timeout_seconds: must be a number"]


def test_secrets_are_in_no_text_of_the_settings() -> None:
    environ = BROKERS | {
        "GATEWAY_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "GATEWAY_KAFKA__SASL_USERNAME": "u",
        "GATEWAY_KAFKA__SASL_PASSWORD": "hunter2-password",
        "GATEWAY_ADMIN__TOKEN": "hunter2-token",
    }
    settings = load(None, environ)
    texts = [repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())]
    assert "hunter2" not in "".join(texts)
    assert settings.secrets() == ("hunter2-password", "hunter2-token")


def test_every_setting_has_bounds_if_it_is_a_number_and_a_line_of_meaning() -> None:
    for name, field in each_setting(Settings):
        assert field.description, name
        if field.annotation in (int, float):
            limits = [rule for rule in field.metadata if hasattr(rule, "ge") or hasattr(rule, "le")]
            assert len(limits) == 2, name
