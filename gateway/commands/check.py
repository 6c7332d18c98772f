"""`gateway check`: parse, validate, build. Calls nobody: what the brokers and AWS say of the
configuration is found out when the gateway runs.

`load` has parsed and validated; this builds what can be built without a network, and prints a
line for each thing, so that a reader sees what the gateway would do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from gateway import assembly
from gateway.config import Settings

_TLS_FILES = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")


class Unusable(Exception):
    """The settings are within their bounds, and what they name cannot be used."""


def run(settings: Settings) -> int:
    """0 if everything can be built, else 2 and a sentence for each thing that cannot."""
    faults = []
    for build in (_kafka, _topics, _targets, _events, _admin, _workers, _leaving):
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
    try:
        assembly.connection(settings)
    except OSError as error:  # SSLError is one
        files = (kafka.ssl_ca_file, kafka.ssl_cert_file, kafka.ssl_key_file)
        names = [f"kafka.{name}" for name, file in zip(_TLS_FILES, files, strict=True) if file]
        raise Unusable(f"{', '.join(names)}: cannot be used ({type(error).__name__})") from None
    yield f"kafka: {kafka.bootstrap_servers}, {kafka.security_protocol}, group {kafka.group_id}"


def _topics(settings: Settings) -> Iterator[str]:
    for topic in settings.input.topics:
        targets = settings.input.allowed.get(topic) or tuple(settings.targets)
        yield f"input: {topic} -> {', '.join(targets)}"
    yield f"outcomes: {settings.outcomes.topic}"
    yield f"dead letters: {settings.dead_letters.topic}"


def _targets(settings: Settings) -> Iterator[str]:
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    ambient = named or "of the AWS configuration, as AWS_REGION is not set"
    for name, target in settings.targets.items():
        parts = [f"region {target.region or ambient}"]
        parts += [f"role {target.role_arn}"] if target.role_arn else []
        parts += [f"profile {target.profile}"] if target.profile else []
        parts += [f"endpoint {target.endpoint}"] if target.endpoint else []
        yield f"target {name}: {', '.join(parts)}"


def _events(settings: Settings) -> Iterator[str]:
    key, tokens = settings.endings.digest_key, settings.third_party.client_tokens
    try:
        if key is not None and not key.read_bytes().strip():
            raise Unusable("endings.digest_key: the file is empty")
        assembly.decoder(settings, assembly.digest_key(settings))
    except OSError as error:
        path = "endings.digest_key" if error.filename == str(key) else "third_party.client_tokens"
        raise Unusable(f"{path}: cannot be read ({error.strerror})") from None
    yield f"digests: {'keyed by a file' if key else 'keyed at random, per process'}"
    if tokens is not None:
        yield f"client tokens: looked up in {tokens}"


def _admin(settings: Settings) -> Iterator[str]:
    admin = settings.admin
    access = "with a token" if admin.token else "open"
    yield f"admin: http://{admin.host}:{admin.port}, {access}"


def _workers(settings: Settings) -> Iterator[str]:
    if settings.runtime.workers > 1:
        yield f"workers: {settings.runtime.workers}"


def _leaving(settings: Settings) -> Iterator[str]:
    yield f"grace period: {settings.grace_period_seconds:g} seconds"
