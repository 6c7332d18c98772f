"""`gateway init`: a commented configuration to start from, made of the declaration itself.

Guarantees: it loads as it is, and also with every line uncommented; no file is overwritten.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import Settings, Target
from gateway.config_sources import section_meaning

_HEAD = """\
# Settings of the job-result gateway. Lines that are commented out show the defaults.
# The same settings can come from the environment: GATEWAY_KAFKA__BOOTSTRAP_SERVERS.
# Keep secrets out of this file: use the environment or a directory of files that
# GATEWAY_SECRETS_DIRECTORY names (kafka__sasl_password, admin__token).
# `gateway check --config FILE` tells every fault at once; `gateway settings` explains all of them.
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
    """The YAML text."""
    lines = [_HEAD]
    for name, field in Settings.model_fields.items():
        lines.append(f"\n# {section_meaning(Settings, name)}\n")
        if name == "targets":
            lines += ["# targets:\n", "#   main:\n", *_section(Target, name, "#     ")]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            is_active = any(active.startswith(f"{name}.") for active in _ACTIVE)
            lines.append(f"{name}:\n" if is_active else f"# {name}:\n")
            lines += _section(field.annotation, name, "  " if is_active else "#   ")
    return "".join(lines)


def _section(section: type[BaseModel], path: str, indent: str) -> list[str]:
    lines = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines.append(f"{indent}{name}:\n")
            lines += _section(field.annotation, f"{path}.{name}", f"{indent}  ")
        else:
            lines.append(_setting(f"{path}.{name}", name, field, indent))
    return lines


def _setting(path: str, name: str, field: FieldInfo, indent: str) -> str:
    if path in _ACTIVE:
        return f"{indent}{name}: {_ACTIVE[path]}  # {field.description}\n"
    mark = indent if indent.startswith("#") else f"  # {indent[2:]}"
    return f"{mark}{name}:{_value(field.default)}  # {field.description}\n"


def _value(default: Any) -> str:
    return "" if default is None else f" {json.dumps(default)}"
