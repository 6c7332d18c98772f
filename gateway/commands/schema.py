"""`gateway schema`: the JSON Schema of the events, from the table that validation uses."""

from __future__ import annotations

import json

from gateway.core.requests import json_schema


def run() -> int:
    """Prints the schema (draft 2020-12)."""
    print(json.dumps(json_schema(), indent=2))
    return 0
