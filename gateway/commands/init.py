"""`gateway init`: a commented configuration to start from, made of the declaration itself.

Guarantees: it loads as it is, and also with every line uncommented; no file is overwritten.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.config import Settings, Target
from gateway.config_sources import is_section, section_meaning

_HEAD = """\
## Settings of the job-result gateway. Lines behind a single # show the defaults.
## The same settings can come from the environment: GATEWAY_KAFKA__BOOTSTRAP_SERVERS.
## Keep secrets out of this file: use the environment or a directory of files that
## GATEWAY_SECRETS_DIRECTORY names (kafka__sasl_password, admin__token).
## `gateway check --config FILE` tells every fault at once; `gateway settings` explains all.
"""
_ACTIVE = {"kafka.bootstrap_servers": '"localhost:9092"', "input.topics": '["job-results"]'}


def run(file: Path | None) -> int:
    if file is None:
        print(template(), end="")
        return 0
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(template())
    except FileExistsError:
        print(f"{file}: exists already, and is left as it is", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{file}: cannot be written ({error.strerror})", file=sys.stderr)
        return 1
    print(f"{file}: written; check it with: gateway check --config {file}")
    return 0


def template() -> str:
    """The YAML text. Without the single # at their beginning, all lines are settings."""
    lines = [_HEAD]
    for name, field in Settings.model_fields.items():
        mark = "" if any(active.startswith(f"{name}.") for active in _ACTIVE) else "#"
        lines.append(f"\n## {section_meaning(Settings, name)}\n{mark}{name}:\n")
        if name == "targets":
            lines += ["#  main:\n", *_section(Target, name, "    ")]
        elif is_section(field.annotation):
            lines += _section(field.annotation, name, "  ")
    return "".join(lines)


def _section(section: type[BaseModel], path: str, indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = f"{path}.{name}"
        if is_section(field.annotation):
            yield f"#{indent}{name}:\n"
            yield from _section(field.annotation, inner, f"{indent}  ")
        elif inner in _ACTIVE:
            yield f"{indent}{name}: {_ACTIVE[inner]}  # {field.description}\n"
        else:
            yield f"#{indent}{name}:{_value(field.default)}  # {field.description}\n"


def _value(default: Any) -> str:
    if isinstance(default, float):
        return f" {default:.10g}"
    return "" if default is None else f" {json.dumps(default)}"
