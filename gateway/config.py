"""Every setting, written once: name, type, default, bounds, one line of meaning.

Guarantees of `load`: it either returns settings of which every value is within its bounds and no
two contradict each other, or raises ConfigurationError with one sentence for every fault, all at
once. Unknown keys and variables are refused. No sentence holds a value, since a value may be a
secret in the wrong place.

Sources, strongest first: environment (`GATEWAY_KAFKA__BOOTSTRAP_SERVERS`), files of the directory
that `GATEWAY_SECRETS_DIRECTORY` names (`kafka__sasl_password`), the YAML file, the defaults.
Durations are seconds, as numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway import config_sources as sources
from gateway.config_types import (
    Directory,
    Endpoint,
    File,
    Number,
    Role,
    Servers,
    Split,
    Start,
    TargetName,
    Token,
    Topic,
    Whole,
)

REST_OF_GRACE_SECONDS = 5.0
"""What leaving takes beside the waits that have a setting: closing clients, sockets, the loop."""


class ConfigurationError(Exception):
    """The configuration cannot be used. `faults` holds a sentence for each fault, no values."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _setting(
    default: Any, meaning: str, least: float | None = None, most: float | None = None, **more: Any
) -> Any:
    return Field(default, description=meaning, ge=least, le=most, **more)


class Section(BaseModel):
    """Settings that belong together. Immutable; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Kafka(Section):
    """The cluster and our membership in the group."""

    bootstrap_servers: Servers = _setting(..., "Brokers to ask first: host:port, comma-separated.")
    group_id: str = _setting("job-result-gateway", "Consumer group of all replicas.")
    client_id: str = _setting("job-result-gateway", "Name that brokers see in logs and quotas.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = _setting(
        "PLAINTEXT", "How connections to brokers are secured."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = _setting(
        "SCRAM-SHA-512", "How the gateway proves who it is, with SASL."
    )
    sasl_username: str | None = _setting(None, "User name, with SASL.")
    sasl_password: SecretStr | None = _setting(None, "Password, with SASL.")
    ssl_ca_file: File | None = _setting(
        None, "PEM file of the authorities that sign the brokers' certificates; none: the system's."
    )
    ssl_cert_file: File | None = _setting(None, "PEM file of the gateway's own certificate.")
    ssl_key_file: File | None = _setting(None, "PEM file of that certificate's key.")
    session_timeout_seconds: Number = _setting(
        45, "A member unheard of for so long is out of the group.", 1, 1800
    )
    heartbeat_seconds: Number = _setting(3, "Time between two signs of life.", 0.1, 600)
    rebalance_timeout_seconds: Number = _setting(
        60, "How long the group waits for a member to finish and rejoin.", 1, 3600
    )
    max_poll_interval_seconds: Number = _setting(
        300, "A member that has not polled for so long leaves the group.", 1, 86400
    )
    commit_interval_seconds: Number = _setting(
        1, "Time between two commits: what a crash repeats at most.", 0.01, 60
    )
    commit_timeout_seconds: Number = _setting(
        5, "A commit that takes longer counts as unknown and is made again.", 0.1, 300
    )
    metadata_refresh_seconds: Number = _setting(
        60, "How soon partitions that were added to a topic are noticed.", 0.1, 3600
    )
    max_batch_records: Whole = _setting(500, "Records taken at once.", 1, 100_000)
    fetch_max_bytes: Whole = _setting(
        16_777_216, "Bytes that one answer of a broker may hold.", 1024, 1_073_741_824
    )


class Input(Section):
    """What is read, and what it may ask for."""

    topics: Annotated[tuple[Topic, ...], Split] = _setting(
        ("job-results",), "Topics that hold job results.", min_length=1
    )
    start: Start = _setting(
        86400.0, "Where a group without commits starts: seconds back from now, earliest or latest."
    )
    key: Literal["any", "present", "job-id"] = _setting(
        "any", "What the record key must be; records with another key are rejected."
    )
    unknown_members: Literal["reject", "ignore"] = _setting(
        "reject", "What becomes of events with members that the API does not know."
    )
    allowed: dict[str, Annotated[tuple[str, ...], Split]] = _setting(
        {}, "Targets that each topic may reach, by topic. Needed as soon as there are two targets."
    )


class Outcomes(Section):
    """The feed that tells what became of each result."""

    topic: Topic = _setting("job-results.outcomes", "Topic of the outcomes; only we write it.")
    window_seconds: Number = _setting(
        86400,
        "How far back outcomes of all replicas are read at start, to know what has ended: at most "
        "half of budgets.endings of them.",
        0,
        31_536_000,
    )
    write_timeout_seconds: Number = _setting(
        10, "How long leaving waits for outcomes and dead letters to be written.", 0.1, 300
    )


class DeadLetters(Section):
    """What could not be delivered."""

    topic: Topic = _setting("job-results.dead-letters", "Topic of the dead letters.")
    conflicts: bool = _setting(
        False, "Whether results that contradict a known ending go there too."
    )


class Room(Section):
    """Bounds of the adaptive limit of concurrent calls to one target, in each replica."""

    initial: Whole = _setting(20, "Concurrent calls at the start.", 1, 1000)
    min: Number = _setting(
        0.025,
        "Concurrent calls at least, however much AWS throttles. Below one: a part of the time, "
        "with pauses between calls; 0.025 lets 40 replicas share an account that bears one call.",
        0.001,
        1000,
    )
    max: Whole = _setting(100, "Concurrent calls at most.", 1, 1000)


class GiveUp(Section):
    """How long a halt is worth waiting for."""

    dead_letter_after_seconds: Number = _setting(
        ..., "Age of a halt after which its results are dead-lettered as given-up.", 1, 31_536_000
    )


OnHalt = Literal["hold"] | GiveUp


class Target(Section):
    """An account and region to call; what is left out is ambient, as for any AWS client."""

    region: str | None = _setting(
        None, "AWS region; none: the ambient one.", pattern=r"^[a-z]{2,}(-[a-z0-9]+)+$"
    )
    role_arn: Role | None = _setting(None, "Role to assume in the pipeline's account.")
    external_id: str | None = _setting(None, "External id that the role's trust policy asks for.")
    endpoint: Endpoint | None = _setting(
        None, "URL to call in place of AWS's own: VPC endpoint, simulator."
    )
    profile: str | None = _setting(None, "Profile of the AWS configuration with the credentials.")
    deadline_seconds: Number = _setting(
        86400, "Age of a record after which its result is not tried again.", 1, 31_536_000
    )
    room: Room = Room()
    hold: bool = _setting(
        False, "Whether the target is stopped on purpose: its results wait, nothing is called."
    )
    on_halt: OnHalt = _setting(
        "hold",
        "What becomes of results while the account is in trouble: hold, or "
        "{dead_letter_after_seconds: 21600} to give them up after a while.",
    )


class Aws(Section):
    """How CodePipeline is called."""

    attempt_timeout_seconds: Number = _setting(10, "How long one call may take.", 0.1, 300)
    call_path: Literal["lean", "botocore"] = _setting(
        "lean",
        "Who makes the calls: lean for a twelfth of the CPU, checked against botocore at start and "
        "left where it differs; botocore for botocore alone.",
    )
    transport: Literal["httptools", "aiohttp"] = _setting(
        "httptools",
        "What lean calls are sent with: httptools for a third of the CPU, on connections of the "
        "gateway's own; aiohttp for the session that aiobotocore itself uses.",
    )


class Budgets(Section):
    """What the gateway may hold in memory; past it the intake pauses, nothing is lost."""

    records: Whole = _setting(10_000, "Unsettled records.", 1, 10_000_000)
    bytes: Whole = _setting(33_554_432, "Bytes of unsettled records.", 1024, 17_179_869_184)
    lanes: Whole = _setting(10_000, "Jobs with unsettled results.", 1, 10_000_000)
    skip_ahead: Whole = _setting(
        100_000,
        "Records that a partition may run past one that is held, before it is paused.",
        100,
        10_000_000,
    )
    endings: Whole = _setting(
        250_000, "Ended jobs remembered to recognise duplicates.", 0, 10_000_000
    )


class Retry(Section):
    """When a failed attempt is made again."""

    base_seconds: Number = _setting(0.5, "Upper bound of the first delay; it doubles.", 0.001, 60)
    cap_seconds: Number = _setting(60, "Upper bound of every delay.", 0.001, 3600)
    budget_attempts: Whole = _setting(
        20,
        "Attempts that fail while the target accepts other results, until `exhausted`.",
        1,
        10_000,
    )
    early_result_delays_seconds: Annotated[
        tuple[Annotated[Number, Field(ge=0, le=3600)], ...], Split
    ] = _setting(
        (10.0, 30.0),
        "Delays before a young result that came before its job's acknowledgement is tried again.",
        max_length=10,
    )
    young_seconds: Number = _setting(60, "Age up to which a result counts as young.", 0, 3600)
    probe_first_seconds: Number = _setting(
        1, "Time until the first probe of a halted account; it doubles.", 0.01, 3600
    )
    probe_cap_seconds: Number = _setting(30, "Time between two probes at most.", 0.01, 3600)


class Endings(Section):
    """How ended jobs are recognised."""

    digest_key: File | None = _setting(
        None,
        "File with the key of the digests. The same for all replicas: then each recognises what "
        "any other has delivered. None: a random key, and each knows its own deliveries only.",
    )


class ThirdParty(Section):
    """Third-party jobs."""

    client_tokens: Directory | None = _setting(
        None, "Directory with a file for each client id that holds its client token."
    )


class Runtime(Section):
    """The processes that one `gateway run` makes."""

    workers: Whole = _setting(
        1,
        "Members of the group, a process each (one uses one core), under one supervisor. On "
        "Kubernetes leave it at 1 and add replicas. Budgets and rooms count for each.",
        1,
        64,
    )


class Shutdown(Section):
    """Leaving."""

    drain_seconds: Number = _setting(15, "How long begun work may go on after SIGTERM.", 0, 3600)


class Admin(Section):
    """The HTTP server for probes, metrics and status."""

    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for all.")
    port: Whole = _setting(8080, "Port to listen on; 0 for any free one.", 0, 65535)
    token: Token | None = _setting(
        None, "Bearer token that everything but the probes asks for; none: open."
    )


class Log(Section):
    """Logs on standard output."""

    level: Literal["debug", "info", "warning", "error"] = _setting("info", "Least level logged.")
    format: Literal["auto", "json", "pretty"] = _setting(
        "auto", "A line of JSON, or for people; auto: for people on a terminal."
    )


class Settings(BaseSettings):
    """All settings. Made by `load`; the constructor reads no environment and no file."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=sources.PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    kafka: Kafka
    input: Input = Input()
    outcomes: Outcomes = Outcomes()
    dead_letters: DeadLetters = DeadLetters()
    targets: dict[TargetName, Target] = Field({}, validate_default=True)
    aws: Aws = Aws()
    budgets: Budgets = Budgets()
    retry: Retry = Retry()
    endings: Endings = Endings()
    third_party: ThirdParty = ThirdParty()
    runtime: Runtime = Runtime()
    shutdown: Shutdown = Shutdown()
    admin: Admin = Admin()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @field_validator("targets")
    @classmethod
    def _ambient_target(cls, targets: dict[str, Target]) -> dict[str, Target]:
        return targets or {"default": Target()}

    def secrets(self) -> tuple[str, ...]:
        """The values that no log and no answer may hold."""
        secrets = (self.kafka.sasl_password, self.admin.token)
        return tuple(secret.get_secret_value() for secret in secrets if secret is not None)

    @property
    def grace_period_seconds(self) -> float:
        """How long the process may take to leave after SIGTERM: at least this before SIGKILL."""
        return (
            self.shutdown.drain_seconds
            + self.aws.attempt_timeout_seconds
            + self.outcomes.write_timeout_seconds
            + self.kafka.commit_timeout_seconds
            + REST_OF_GRACE_SECONDS
        )


def load(path: str | None, environ: Mapping[str, str]) -> Settings:
    """Settings from a YAML file (`path`, else `GATEWAY_CONFIG`, else none) and the environment.

    Raises ConfigurationError. Reads files, changes nothing.
    """
    faults: list[str] = []
    variables = sources.known_variables(Settings, environ, faults)
    values = sources.read_yaml(path or environ.get(sources.CONFIG_VARIABLE) or None, faults)
    if values is None:  # what else is missing or wrong cannot be known
        raise ConfigurationError(faults)
    values = sources.merged(values, sources.read_environment(Settings, variables))
    settings = _validated(values, variables, faults)
    if faults or settings is None:
        raise ConfigurationError(faults)
    return settings


def _validated(
    values: dict[str, Any], variables: Mapping[str, str], faults: list[str]
) -> Settings | None:
    """First each value alone; then the rules between those settings that are sound."""
    unsound: set[str] = set()
    values.setdefault("kafka", {})
    settings = _built(values, variables, faults, unsound)
    if settings is None:  # once more, with defaults for what is unsound
        if isinstance(values.setdefault("kafka", {}), dict):
            values["kafka"].setdefault("bootstrap_servers", "unsound:9092")
        settings = _built(values, variables, faults, unsound)
    for paths, sentence in _contradictions(settings) if settings else ():
        if not any(bad.startswith(path) for bad in unsound for path in paths):
            faults.append(sentence)
    return settings


def _built(
    values: dict[str, Any], variables: Mapping[str, str], faults: list[str], unsound: set[str]
) -> Settings | None:
    """Settings, or None and a fault for each value that is unsound, which is then cut out."""
    try:
        return Settings(**values)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            path = ".".join(str(part) for part in fault["loc"] if part != "[key]")
            _cut(values, fault["loc"])
            if fault["type"] == "too_short" and any(b.startswith(f"{path}.") for b in unsound):
                continue  # pydantic counts only the items that are sound
            unsound.add(path)
            spelling = sources.spelling(path, variables)
            faults.append(f"{spelling}: {sources.sentence(Settings, path, fault)}")
        return None


def _cut(values: Any, location: tuple[int | str, ...]) -> None:
    """Removes the setting that `location` lies in."""
    *outer, last = [part for part in location if isinstance(part, str) and part != "[key]"]
    for part in outer:
        inner = values.get(part)
        if not isinstance(inner, dict):
            values.pop(part, None)
            return
        values = inner
    values.pop(last, None)


def _contradictions(s: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Settings that are sound alone and not together: the paths concerned, and a sentence."""
    yield from _kafka_contradictions(s.kafka)
    yield from _time_contradictions(s)
    yield from _topic_contradictions(s)
    yield from _routing_contradictions(s)
    for name, target in s.targets.items():
        yield from _target_contradictions(f"targets.{name}", target)


def _kafka_contradictions(kafka: Kafka) -> Iterator[tuple[tuple[str, ...], str]]:
    protocol = kafka.security_protocol
    without_use = f"has no use when kafka.security_protocol is {protocol}"
    for name in ("sasl_username", "sasl_password"):
        paths = (f"kafka.{name}", "kafka.security_protocol")
        if protocol.startswith("SASL") and getattr(kafka, name) is None:
            yield paths, f"kafka.{name}: must be set when kafka.security_protocol is {protocol}"
        if not protocol.startswith("SASL") and getattr(kafka, name) is not None:
            yield paths, f"kafka.{name}: {without_use}"
    for name in ("ssl_ca_file", "ssl_cert_file", "ssl_key_file"):
        if not protocol.endswith("SSL") and getattr(kafka, name) is not None:
            yield (f"kafka.{name}", "kafka.security_protocol"), f"kafka.{name}: {without_use}"
    if (kafka.ssl_cert_file is None) != (kafka.ssl_key_file is None):
        yield ("kafka.ssl",), "kafka.ssl_cert_file and kafka.ssl_key_file: need each other"


def _time_contradictions(s: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    if s.kafka.heartbeat_seconds * 3 > s.kafka.session_timeout_seconds:
        yield (
            ("kafka.heartbeat", "kafka.session"),
            "kafka.heartbeat_seconds: must be at most a third of kafka.session_timeout_seconds",
        )
    if s.kafka.rebalance_timeout_seconds <= (
        s.shutdown.drain_seconds + s.aws.attempt_timeout_seconds
    ):
        yield (
            ("kafka.rebalance", "shutdown", "aws"),
            "kafka.rebalance_timeout_seconds: must be more than shutdown.drain_seconds and "
            "aws.attempt_timeout_seconds together",
        )
    if s.kafka.rebalance_timeout_seconds <= (
        s.aws.attempt_timeout_seconds
        + s.outcomes.write_timeout_seconds
        + s.kafka.commit_timeout_seconds
    ):
        yield (
            ("kafka.rebalance", "kafka.commit_timeout", "outcomes", "aws"),
            "kafka.rebalance_timeout_seconds: must be more than aws.attempt_timeout_seconds, "
            "outcomes.write_timeout_seconds and kafka.commit_timeout_seconds together",
        )
    if s.retry.probe_first_seconds > s.retry.probe_cap_seconds:
        yield (
            ("retry.probe",),
            "retry.probe_first_seconds: must be at most retry.probe_cap_seconds",
        )
    if s.retry.base_seconds > s.retry.cap_seconds:
        yield (("retry.base", "retry.cap"), "retry.base_seconds: must be at most retry.cap_seconds")


def _topic_contradictions(s: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    paths = ("input.topics", "outcomes.topic", "dead_letters.topic")
    if len(set(s.input.topics)) < len(s.input.topics):
        yield (paths[:1], "input.topics: a topic stands twice")
    for name, topic in (("outcomes", s.outcomes.topic), ("dead_letters", s.dead_letters.topic)):
        if topic in s.input.topics:
            yield (
                paths,
                f"{name}.topic: must not be one of input.topics, the gateway would feed itself",
            )
    if s.outcomes.topic == s.dead_letters.topic:
        yield (paths, "outcomes.topic: must not be dead_letters.topic")


def _routing_contradictions(s: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    paths = ("input.topics", "input.allowed", "targets")
    for topic, targets in s.input.allowed.items():
        if topic not in s.input.topics:
            yield (paths, f"input.allowed.{topic}: is not one of input.topics")
        for target in targets:
            if target not in s.targets:
                yield (paths, f"input.allowed.{topic}: names {target}, which is not one of targets")
    if len(s.targets) > 1:
        for topic in s.input.topics:
            if not s.input.allowed.get(topic):
                yield (
                    paths,
                    f"input.allowed.{topic}: must list the targets that this topic may reach",
                )


def _target_contradictions(path: str, target: Target) -> Iterator[tuple[tuple[str, ...], str]]:
    if target.external_id is not None and target.role_arn is None:
        paths = (f"{path}.external_id", f"{path}.role_arn")
        yield (paths, f"{path}.external_id: has no use without role_arn")
    if not target.room.min <= target.room.initial <= target.room.max:
        yield ((f"{path}.room",), f"{path}.room: must be min <= initial <= max")
