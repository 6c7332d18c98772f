"""`gateway settings`: the reference of all settings, or of all logs and metrics.

Both come from the declarations themselves, so they cannot be out of date; docs/CONFIGURATION.md
and docs/SIGNALS.md are this command's output, which a test compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gateway.config import Section, Settings
from gateway.config_sources import each_setting, section_meaning, variable

_TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    SecretStr: "secret text",
    Path: "path",
}

_HEAD = """# Configuration

Written by `gateway settings`; change `gateway/config.py` instead of this page.

Every setting can stand in a YAML file (`gateway run --config FILE`, or `GATEWAY_CONFIG`), in the
environment (`kafka.bootstrap_servers` is `GATEWAY_KAFKA__BOOTSTRAP_SERVERS`; lists are written
`a,b` or as JSON), or in a file of the directory that `GATEWAY_SECRETS_DIRECTORY` names
(`kafka__sasl_password`), as a mounted Kubernetes secret has it. The environment wins over the
directory, the directory over the file. Keep secrets out of the YAML file.

Only `kafka.bootstrap_servers` must be set. Unknown keys, and unknown variables that begin with
`GATEWAY_`, are refused; those that Kubernetes adds for a Service of that name are not.
`gateway check` tells every fault at once. Durations are seconds. The process leaves within
`shutdown.drain_seconds` + `aws.attempt_timeout_seconds` + `outcomes.write_timeout_seconds` +
`kafka.commit_timeout_seconds` + 5 seconds after SIGTERM: give it that grace period.
"""


def run(*, as_json: bool = False, signals: bool = False) -> int:
    if signals:
        from gateway.commands import signals as reference

        print(reference.as_json() if as_json else reference.as_markdown(), end="")
    else:
        print(_as_json() if as_json else as_markdown(), end="")
    return 0


def as_markdown() -> str:
    """docs/CONFIGURATION.md."""
    blocks = [_HEAD]
    for section, rows in groupby(_rows(), key=lambda row: row["name"].rpartition(".")[0]):
        blocks.append(f"\n## {section}\n\n{section_meaning(Settings, section)}\n\n")
        blocks.append(
            "| setting | type | default | bounds | meaning |\n| --- | --- | --- | --- | --- |\n"
        )
        blocks += [_line(row) for row in rows]
    return "".join(blocks)


def _line(row: dict[str, Any]) -> str:
    default = "must be set" if row["required"] else _code(row["default"])
    cells = (f"`{row['name']}`", row["type"], default, row["bounds"], row["meaning"])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _code(default: Any) -> str:
    if default is None:
        return "none"
    if isinstance(default, float):
        return f"`{default:.10g}`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _as_json() -> str:
    return json.dumps(list(_rows()), indent=2) + "\n"


def _rows() -> Iterator[dict[str, Any]]:
    for name, field in each_setting(Settings):
        required = field.default is PydanticUndefined
        yield {
            "name": name,
            "variable": variable(name.replace("<name>", "NAME")),
            "type": type_name(field.annotation),
            "required": required,
            "default": None if required else field.default,
            "bounds": _bounds(field),
            "meaning": field.description,
        }


def type_name(kind: Any) -> str:
    """A type in the words of people who write configurations."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return type_name(inner[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if origin in (Union, UnionType):
        return " or ".join(type_name(part) for part in inner if part is not type(None))
    if origin is tuple:
        return f"list of {type_name(inner[0])}"
    if origin is dict:
        return f"mapping of {type_name(inner[0])} to {type_name(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, Section):
        members = (f"{n}: {type_name(f.annotation)}" for n, f in kind.model_fields.items())
        return f"{{{', '.join(members)}}}"
    return _TYPES[kind]


def _bounds(field: FieldInfo) -> str:
    limits = {
        name: getattr(rule, name)
        for rule in field.metadata
        for name in ("ge", "le", "min_length", "max_length")
        if getattr(rule, name, None) is not None
    }
    if "ge" in limits:
        return f"{limits['ge']:.10g} to {limits['le']:.10g}"
    lengths = [limits.get("min_length"), limits.get("max_length")]
    words = (f"{word} {n}" for word, n in zip(("at least", "at most"), lengths, strict=True) if n)
    return ", ".join(words)
