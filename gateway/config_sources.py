"""Where settings come from: a YAML file, the environment, a directory of secrets; and the sentences
for what is wrong with them.

Knows no setting by name: what exists is read from the declaration that it is given. No sentence
holds a value, since a value may be a secret in the wrong place.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

PREFIX = "GATEWAY_"
CONFIG_VARIABLE = "GATEWAY_CONFIG"
SECRETS_VARIABLE = "GATEWAY_SECRETS_DIRECTORY"


class _Environment(EnvSettingsSource):
    """pydantic-settings' way of reading variables, from a mapping in place of `os.environ`."""

    def __init__(self, settings: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._variables.items() if value}

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        """JSON where it looks like JSON; anything else is left for validation to name."""
        try:
            return json.loads(value) if value.lstrip()[:1] in ("[", "{") else value
        except ValueError:
            return value


def read_environment(settings: type[BaseSettings], variables: Mapping[str, str]) -> dict[str, Any]:
    """Variables as a tree of values, by pydantic-settings' rules."""
    return _Environment(settings, variables)()


def known_variables(
    settings: type[BaseSettings], environ: Mapping[str, str], faults: list[str]
) -> dict[str, str]:
    """Variables and secret files that are settings; the unknown ones become faults."""
    secrets = _read_secrets(environ.get(SECRETS_VARIABLE), faults)
    known = {}
    for name, value in sorted({**secrets, **environ}.items()):
        if not name.startswith(PREFIX) or name in (CONFIG_VARIABLE, SECRETS_VARIABLE):
            continue
        if _is_setting(settings, name.removeprefix(PREFIX).lower().split("__")):
            known[name] = value
        elif name in secrets or not _is_service_link(name, value):
            spellings = [variable(path) for path, _ in each_setting(settings)]
            faults.append(f"{name}: no such setting{_did_you_mean(name, spellings)}")
    return known


def _read_secrets(directory: str | None, faults: list[str]) -> dict[str, str]:
    if not directory:
        return {}
    try:  # Kubernetes keeps its own links there, named with leading dots
        files = [f for f in Path(directory).iterdir() if f.is_file() and f.name[0] != "."]
        return {PREFIX + file.name.upper(): file.read_text("utf-8").strip() for file in files}
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{SECRETS_VARIABLE}: cannot be read ({type(error).__name__})")
        return {}


_SERVICE_LINKS = (
    # What kubelet adds for a Service named `gateway` or `gateway-…`, with the form of its value:
    # the form keeps GATEWAY_ADMIN_PORT=8080, a misspelt setting, from passing for a link.
    (r"SERVICE_HOST", r"[0-9A-Fa-f:.]+"),
    (r"SERVICE_PORT(_[A-Z0-9_]+)?", r"\d+"),
    (r"PORT", r"(tcp|udp|sctp)://.+"),
    (r"PORT_\d+_(TCP|UDP|SCTP)", r"(tcp|udp|sctp)://.+"),
    (r"PORT_\d+_(TCP|UDP|SCTP)_PROTO", r"tcp|udp|sctp"),
    (r"PORT_\d+_(TCP|UDP|SCTP)_PORT", r"\d+"),
    (r"PORT_\d+_(TCP|UDP|SCTP)_ADDR", r"[0-9A-Fa-f:.]+"),
)


def _is_service_link(name: str, value: str) -> bool:
    return any(
        re.fullmatch(rf"{PREFIX}([A-Z0-9_]+_)?{ending}", name) and re.fullmatch(form, value)
        for ending, form in _SERVICE_LINKS
    )


def _is_setting(kind: Any, path: list[str]) -> bool:
    """Whether `path` leads to a setting or section below `kind`."""
    if not path:
        return True
    if get_origin(kind) is dict:
        return path[0] != "" and _is_setting(get_args(kind)[1], path[1:])
    if not is_section(kind):
        return False
    field = kind.model_fields.get(path[0])
    return field is not None and _is_setting(field.annotation, path[1:])


def each_setting(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as (`kafka.group_id`, its declaration); targets as `targets.<name>.region`."""
    for name, field in section.model_fields.items():
        kind: Any = field.annotation
        inner = f"{path}.{name}".lstrip(".")
        if get_origin(kind) is dict and is_section(get_args(kind)[1]):
            kind, inner = get_args(kind)[1], f"{inner}.<name>"
        if is_section(kind):
            yield from each_setting(kind, inner)
        else:
            yield inner, field


def section_meaning(settings: type[BaseModel], path: str) -> str:
    """What the section at `path` is for: the first line of its docstring."""
    kind: Any = settings
    for part in path.split("."):
        kind = get_args(kind)[1] if part == "<name>" else kind.model_fields[part].annotation
    if get_origin(kind) is dict:
        kind = get_args(kind)[1]
    return str(kind.__doc__).splitlines()[0]


def is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    """Whether the type of a setting is a section of its own."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def variable(path: str) -> str:
    return PREFIX + path.upper().replace(".", "__")


def _did_you_mean(word: str, words: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.7)
    return f", did you mean {close[0]}?" if close else ""


class _StrictLoader(yaml.SafeLoader):
    """YAML as everybody reads it, except that a key given twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str) or key in seen:
                raise yaml.MarkedYAMLError(
                    problem="a key stands twice, or is no text", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}


def read_yaml(path: str | None, faults: list[str]) -> dict[str, Any] | None:
    """The file's tree of values; None, and a fault, if it cannot be read."""
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _StrictLoader)  # noqa: S506  derived from SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read ({_os_reason(error)})")
    except yaml.YAMLError as error:
        faults.append(f"{path}: {_yaml_reason(error)}")
    else:
        if isinstance(content, dict):
            return _without_empty(content)
        if content is None:
            return {}
        faults.append(f"{path}: must hold a mapping of settings")
    return None


def _os_reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "unknown") if isinstance(error, OSError) else "it is not UTF-8"


def _yaml_reason(error: yaml.YAMLError) -> str:
    """Where the fault is and of which kind; quoted parts are cut out, as they may be secrets."""
    mark = getattr(error, "problem_mark", None)
    problem = re.sub(r"\s*(['\"]).*\1", "", str(getattr(error, "problem", None) or "not YAML"))
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """A section whose lines are all commented out reads as null, and means its defaults."""
    kept = {key: value for key, value in values.items() if value is not None}
    kept |= {k: _without_empty(v) for k, v in kept.items() if isinstance(v, dict)}
    if isinstance(targets := kept.get("targets"), dict):
        kept["targets"] = {name: {} for name in values["targets"]} | targets
    return kept


def merged(weak: dict[str, Any], strong: dict[str, Any]) -> dict[str, Any]:
    """Both trees in one; where both give a setting, the strong one's."""
    both = weak | strong
    for key in weak.keys() & strong.keys():
        if isinstance(weak[key], dict) and isinstance(strong[key], dict):
            both[key] = merged(weak[key], strong[key])
    return both


def spelling(path: str, variables: Mapping[str, str]) -> str:
    """The name under which the operator has given the setting."""
    return variable(path) if variables.get(variable(path)) else path


_SENTENCES = {
    "missing": "must be set",
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge:.10g}",
    "less_than_equal": "must be at most {le:.10g}",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "value_error": "{error}",
    "string_type": "must be text",
    "string_pattern_mismatch": "must look like eu-west-1",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "path_type": "must be a path",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
}


def sentence(settings: type[BaseSettings], path: str, fault: Mapping[str, Any]) -> str:
    """What is wrong with the setting at `path`, from pydantic's fault."""
    kind = fault["type"]
    if kind == "extra_forbidden":
        known = [name for name, _ in each_setting(settings)]
        sections = {name.split(".")[0] for name in known}
        return f"no such setting{_did_you_mean(path, [*known, *sections])}"
    if kind == "missing":
        return f"must be set, here or as {variable(path)}"
    if kind.startswith(("int", "float", "finite")):
        return "must be a whole number" if kind.startswith("int") else "must be a number"
    return _SENTENCES.get(kind, "is not valid").format_map(fault.get("ctx", {}))
