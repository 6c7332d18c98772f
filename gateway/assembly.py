"""Settings become objects: which part gets which value, and nothing else."""

from __future__ import annotations

import math
import os
import secrets
import ssl
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random

from gateway.adapters.aws_clients import AwsClients, CallLimits, TargetAccess
from gateway.adapters.client_tokens import ClientTokens
from gateway.adapters.kafka_client import KafkaConnection
from gateway.adapters.kafka_consumer import ConsumerSettings
from gateway.adapters.outcome_tail import Reach
from gateway.config import Settings, Target
from gateway.core.backpressure import Budgets
from gateway.core.decode import Decoder
from gateway.core.endings import Endings, ToldEndings
from gateway.core.retry import Backoff
from gateway.core.room import ProbeDelays, Room, RoomBounds
from gateway.core.routing import Routes
from gateway.core.steps import DeliveryRules
from gateway.deliver import WaitingLimits
from gateway.partitions import Patience
from gateway.ports import SignalSink


def new_instance_name() -> str:
    """Tells this process from all others, in AWS's logs as in ours."""
    return uuid.uuid4().hex[:12]


def connection(settings: Settings) -> KafkaConnection:
    """Raises OSError or ssl.SSLError if a certificate cannot be read."""
    kafka = settings.kafka
    uses_sasl = kafka.security_protocol.startswith("SASL")
    password = kafka.sasl_password
    return KafkaConnection(
        bootstrap_servers=kafka.bootstrap_servers,
        client_id=kafka.client_id,
        security_protocol=kafka.security_protocol,
        ssl_context=_ssl_context(settings) if kafka.security_protocol.endswith("SSL") else None,
        sasl_mechanism=kafka.sasl_mechanism if uses_sasl else "PLAIN",
        sasl_plain_username=kafka.sasl_username if uses_sasl else None,
        sasl_plain_password=password.get_secret_value() if uses_sasl and password else None,
        request_timeout_seconds=settings.outcomes.write_timeout_seconds,
    )


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    kafka = settings.kafka
    context = ssl.create_default_context(cafile=kafka.ssl_ca_file)
    if kafka.ssl_cert_file is not None:
        # An empty password refuses an encrypted key, where none would ask on the terminal.
        context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file, password="")
    return context


def consumer_settings(settings: Settings, group_id: str) -> ConsumerSettings:
    kafka = settings.kafka
    return ConsumerSettings(
        topics=settings.input.topics,
        group_id=group_id,
        start=settings.input.start,
        session_timeout_seconds=kafka.session_timeout_seconds,
        heartbeat_seconds=kafka.heartbeat_seconds,
        rebalance_timeout_seconds=kafka.rebalance_timeout_seconds,
        max_poll_interval_seconds=kafka.max_poll_interval_seconds,
        commit_timeout_seconds=kafka.commit_timeout_seconds,
        metadata_refresh_seconds=kafka.metadata_refresh_seconds,
        fetch_max_bytes=kafka.fetch_max_bytes,
    )


def clients(settings: Settings, signals: SignalSink, instance: str) -> AwsClients:
    accesses = {name: _access(target) for name, target in settings.targets.items()}
    most_calls = max(target.room.max for target in settings.targets.values())
    limits = CallLimits(most_calls, settings.aws.attempt_timeout_seconds)
    aws = settings.aws
    return AwsClients(
        accesses, signals, limits, instance, call_path=aws.call_path, transport=aws.transport
    )


def _access(target: Target) -> TargetAccess:
    region = target.region
    if region is None and target.profile is None:
        # Every other SDK, and Kubernetes' webhook for IRSA, speak of AWS_REGION; botocore reads
        # AWS_DEFAULT_REGION only.
        region = os.environ.get("AWS_REGION") or None
    return TargetAccess(
        region, target.role_arn, target.external_id, target.endpoint, target.profile
    )


def rooms(settings: Settings) -> dict[str, Room]:
    probes = ProbeDelays(settings.retry.probe_first_seconds, settings.retry.probe_cap_seconds)
    return {name: _room(target, probes) for name, target in settings.targets.items()}


def _room(target: Target, probes: ProbeDelays) -> Room:
    bounds = RoomBounds(target.room.initial, target.room.min, target.room.max)
    on_halt = target.on_halt
    give_up_seconds = math.inf if on_halt == "hold" else on_halt.dead_letter_after_seconds
    room = Room(bounds, probes, give_up_seconds, Random().random)
    if target.hold:
        room.hold(now=0.0)
    return room


def waiting_limits(settings: Settings) -> WaitingLimits:
    """With one target there is nobody to be protected from it: then only the budgets count."""
    half = max(1, settings.budgets.records // 2)
    return WaitingLimits(half if len(settings.targets) > 1 else sys.maxsize, half)


def delivery_rules(settings: Settings) -> DeliveryRules:
    retry = settings.retry
    return DeliveryRules(
        Backoff(retry.base_seconds, retry.cap_seconds),
        retry.budget_attempts,
        retry.early_result_delays_seconds,
        retry.young_seconds,
        settings.dead_letters.conflicts,
    )


def patience(settings: Settings) -> Patience:
    return Patience(settings.aws.attempt_timeout_seconds, settings.outcomes.write_timeout_seconds)


def budgets(settings: Settings) -> Budgets:
    return Budgets(settings.budgets.records, settings.budgets.bytes, settings.budgets.lanes)


def decoder(settings: Settings, digest_key: bytes) -> Decoder:
    """Raises OSError if the directory of client tokens cannot be read."""
    return Decoder(
        digest_key=digest_key,
        unknown_members=settings.input.unknown_members,
        key=settings.input.key,
        client_token_of=_client_tokens(settings),
    )


def reach(settings: Settings) -> Reach:
    """Twice as many outcomes would push the first ones out of the endings again."""
    outcomes = settings.outcomes
    most = settings.budgets.endings // 2
    refresh_seconds = settings.kafka.metadata_refresh_seconds
    return Reach(outcomes.topic, outcomes.window_seconds, most, refresh_seconds)


def told_endings(settings: Settings, endings: Endings) -> ToldEndings:
    return ToldEndings(
        endings,
        settings.targets.keys(),
        settings.input.topics,
        shares_digests=bool(shared_key(settings)),
    )


def digest_key(settings: Settings) -> bytes:
    """The shared key, or a random one: then digests mean something to this process only. Raises
    OSError if its file cannot be read."""
    return shared_key(settings) or secrets.token_bytes(32)


def shared_key(settings: Settings) -> bytes:
    """The replicas' own key, from its file; empty without one. Then the check of a note tells
    corruption only: whoever may commit for the group could move its offsets just as well."""
    path = settings.endings.digest_key
    return Path(path).read_bytes().strip()[:64] if path else b""


def _client_tokens(settings: Settings) -> Callable[[str], str | None]:
    directory = settings.third_party.client_tokens
    return ClientTokens(Path(directory) if directory else None).token_of


def routes(settings: Settings) -> Routes:
    return Routes(settings.targets.keys(), None, settings.input.allowed)


def deadlines(settings: Settings) -> dict[str, float]:
    return {name: target.deadline_seconds for name, target in settings.targets.items()}


def chance() -> Random:
    return Random()
