"""One request, as the users of different tools would serialise it. All mean the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

Request = dict[str, Any]
"""The members of one of the four requests; `created` in epoch seconds."""

SPELLINGS = ("http api", "boto3", "aws cli", "paws")


def spelt(request: Request, tool: str) -> bytes:
    """The request as JSON, the way `tool` writes it; UTF-8."""
    match tool:
        case "boto3":  # json.dumps(kwargs, default=str)
            return json.dumps(_with_created(request, "%Y-%m-%d %H:%M:%S+00:00")).encode()
        case "aws cli":  # --cli-input-json, from a skeleton filled in
            return json.dumps(_with_created(request, "%Y-%m-%dT%H:%M:%SZ"), indent=4).encode()
        case "paws":  # jsonlite::toJSON(request, auto_unbox = TRUE)
            written = _with_created(request, "%Y-%m-%d %H:%M:%S")
            if "failureDetails" not in request:  # R's empty list, for what was left out
                written = {"executionDetails": []} | written
            return json.dumps(written, separators=(",", ":"), ensure_ascii=False).encode()
        case _:  # the wire body
            return json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode()


def _with_created(request: Request, form: str) -> Request:
    revision = request.get("currentRevision")
    if revision is None:
        return request
    created = datetime.fromtimestamp(revision["created"], UTC).strftime(form)
    return request | {"currentRevision": revision | {"created": created}}
