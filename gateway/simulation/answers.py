"""What the simulated CodePipeline says, in AWS's shapes: JSON 1.1 bodies, codes in `__type`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

JSON_1_1 = "application/x-amz-json-1.1"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not carried out, as AWS would put it."""

    code: str
    message: str
    status: int = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. `code` is what a stock client reads as the error code; empty: success."""

    status: int
    body: bytes = b""
    content_type: str = JSON_1_1
    code: str = ""
    has_request_id: bool = True
    location: str | None = None


ACCEPTED = Answer(200)
"""What the four Put calls answer: 200 and no body."""


def accepted_with(body: Mapping[str, Any]) -> Answer:
    """A success that carries an output."""
    return Answer(200, orjson.dumps(body))


def readable(text: str) -> str:
    """The text, fit for JSON: header bytes that are no UTF-8 become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def refused(refusal: Refusal) -> Answer:
    """The refusal as a stock client expects it."""
    body = orjson.dumps({"__type": refusal.code, "message": readable(refusal.message)})
    return Answer(refusal.status, body, code=refusal.code)
