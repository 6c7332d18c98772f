"""The types of settings. Each refuses what it does not take with a sentence that holds no value:
a value may be a secret in the wrong place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr


def _refuse_booleans(value: object) -> object:
    if isinstance(value, bool):  # `yes` in YAML would otherwise pass for one second
        raise ValueError("must be a number")
    return value


def _split_at_commas(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _join_with_commas(value: object) -> object:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return value


def _check_servers(value: str) -> str:
    for server in value.split(","):
        if not re.fullmatch(r"\s*(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}\s*", server):
            raise ValueError("must be host:port, several separated by commas")
    return ",".join(server.strip() for server in value.split(","))


def _check_topic(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in {".", ".."}:
        raise ValueError("must be a Kafka topic name: letters, digits, '.', '_' and '-'")
    return value


def _check_target_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", value):
        raise ValueError("must be lower-case letters, digits, '.', '_' and '-', at most 63")
    return value


def _check_role(value: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,576}", value):
        raise ValueError("must be the ARN of an IAM role")
    return value


def _check_endpoint(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+/?", value):
        raise ValueError("must be http://host:port or https://host:port, without user or path")
    return value.rstrip("/")


def _check_token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{8,}", value.get_secret_value()):
        raise ValueError("must be at least 8 visible ASCII characters without spaces")
    return value


def _check_file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError("must name a file that exists")
    return value


def _check_directory(value: Path) -> Path:
    if not value.is_dir():
        raise ValueError("must name a directory that exists")
    return value


def _check_start(value: object) -> object:
    if isinstance(value, str) and value not in {"earliest", "latest"}:
        value = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else None
    if isinstance(value, bool | None) or (isinstance(value, int | float) and not value >= 0):
        raise ValueError("must be seconds back from now, earliest or latest")
    return value


Number = Annotated[float, BeforeValidator(_refuse_booleans), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_refuse_booleans)]
Topic = Annotated[str, AfterValidator(_check_topic)]
TargetName = Annotated[str, AfterValidator(_check_target_name)]
Servers = Annotated[str, BeforeValidator(_join_with_commas), AfterValidator(_check_servers)]
File = Annotated[Path, AfterValidator(_check_file)]
Directory = Annotated[Path, AfterValidator(_check_directory)]
Role = Annotated[str, AfterValidator(_check_role)]
Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
Token = Annotated[SecretStr, AfterValidator(_check_token)]
Split = BeforeValidator(_split_at_commas)
"""Lets a list be written `a,b` too, as environments want it."""
Start = Annotated[float | Literal["earliest", "latest"], BeforeValidator(_check_start)]
