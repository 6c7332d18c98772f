"""`gateway check`: parse, validate, build. Calls nobody: what the brokers and AWS say of the
configuration is found out when the gateway runs.

`load` has parsed and validated; this builds what can be built without a network, and prints a
line for each thing, so that a reader sees what the gateway would do.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator

from gateway.config import Kafka, Settings


class Unusable(Exception):
    """The settings are within their bounds, and what they name cannot be used."""


def run(settings: Settings) -> int:
    """0 if everything can be built, else 2 and a sentence for each thing that cannot."""
    faults = []
    for build in (_kafka, _topics, _targets, _keys, _admin, _leaving):
        try:
            for line in build(settings):
                print(line)
        except Unusable as fault:
            faults.append(str(fault))
    for sentence in faults:
        print(sentence, file=sys.stderr)
    return 2 if faults else 0


def _kafka(settings: Settings) -> Iterator[str]:
    kafka = settings.kafka
    _tls_context(kafka)
    yield f"kafka: {kafka.bootstrap_servers}, {kafka.security_protocol}, group {kafka.group_id}"


def _tls_context(kafka: Kafka) -> None:
    if not kafka.security_protocol.endswith("SSL"):
        return
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_ca_file)
    except OSError as error:  # SSLError is one
        raise Unusable(f"kafka.ssl_ca_file: cannot be used ({type(error).__name__})") from None
    if kafka.ssl_cert_file is None:
        return
    try:
        # An empty password refuses an encrypted key, where none would ask on the terminal.
        context.load_cert_chain(kafka.ssl_cert_file, kafka.ssl_key_file, password="")
    except OSError as error:
        both = "kafka.ssl_cert_file and kafka.ssl_key_file"
        raise Unusable(f"{both}: cannot be used ({type(error).__name__})") from None


def _topics(settings: Settings) -> Iterator[str]:
    for topic in settings.input.topics:
        targets = settings.input.allowed.get(topic) or tuple(settings.targets)
        yield f"input: {topic} -> {', '.join(targets)}"
    yield f"outcomes: {settings.outcomes.topic}"
    yield f"dead letters: {settings.dead_letters.topic}"


def _targets(settings: Settings) -> Iterator[str]:
    for name, target in settings.targets.items():
        parts = [f"region {target.region or 'ambient'}"]
        parts += [f"role {target.role_arn}"] if target.role_arn else []
        parts += [f"profile {target.profile}"] if target.profile else []
        parts += [f"endpoint {target.endpoint}"] if target.endpoint else []
        yield f"target {name}: {', '.join(parts)}"


def _keys(settings: Settings) -> Iterator[str]:
    key = settings.endings.digest_key
    if key is not None and not _content(key):
        raise Unusable("endings.digest_key: the file is empty")
    yield f"digests: {'keyed by a file' if key else 'keyed at random, per process'}"
    if settings.third_party.client_tokens is not None:
        yield f"client tokens: looked up in {settings.third_party.client_tokens}"


def _content(path: os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Unusable(f"endings.digest_key: cannot be read ({error.strerror})") from None


def _admin(settings: Settings) -> Iterator[str]:
    admin = settings.admin
    access = "with a token" if admin.token else "open"
    yield f"admin: http://{admin.host}:{admin.port}, {access}"


def _leaving(settings: Settings) -> Iterator[str]:
    yield f"grace period: {settings.grace_period_seconds:g} seconds"
