"""What holds the repository together: import contracts that bite, locks that are honest."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)

# Pure parts of the standard library, and the one library that the core may use.
# fmt: off
CORE_MAY_IMPORT = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses",
    "datetime", "difflib", "enum", "functools", "hashlib", "heapq", "itertools", "json", "math",
    "operator", "re", "string", "struct", "types", "typing", "zlib",
    "orjson", "gateway",
}
# fmt: on


def imported_names(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_core_imports_only_what_is_pure() -> None:
    core = sorted((ROOT / "gateway" / "core").glob("**/*.py"))
    assert core
    strangers = {
        f"{module.name}: {name}"
        for module in core
        for name in imported_names(module)
        if name.partition(".")[0] not in CORE_MAY_IMPORT
        or (name.startswith("gateway") and not name.startswith("gateway.core."))
    }
    assert strangers == set()


# --- import contracts -----------------------------------------------------------------------------

# Contract, the module that breaks it, and how.
PLANTED = [
    ("Imports point one way", "deliver.py", "import gateway.partitions"),
    ("Imports point one way", "a_module_without_a_layer.py", ""),
    ("The story knows neither the world nor the settings", "flow.py", "import gateway.adapters"),
    ("Settings are read at the top", "adapters/admin.py", "import gateway.config"),
    ("Settings are read at the top", "simulation/broker.py", "import gateway.config"),
    ("The core decides and touches nothing", "core/lanes.py", "import time"),
    ("Parts of the core meet only in the model", "core/lanes.py", "import gateway.core.signals"),
    ("The judge knows nothing", "simulation/judge.py", "import gateway.core.model"),
    ("Only these modules know aiokafka", "flow.py", "import aiokafka.errors"),
    ("Only the adapters know aiobotocore", "runtime.py", "import aiobotocore.session"),
    ("Botocore's names", "adapters/admin.py", "import botocore.exceptions"),
    ("Only the adapters and the simulation speak HTTP", "runtime.py", "import aiohttp"),
    ("Only the adapters know how signals are shown", "runtime.py", "import structlog"),
]


def broken_contracts(tree: Path) -> list[str]:
    lint_imports = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run(
        [sys.executable, str(lint_imports), "--no-cache"], cwd=tree, capture_output=True, text=True
    )
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert any(line.startswith("Contracts: ") for line in lines), done.stdout + done.stderr
    return [line for line in lines if line.endswith("BROKEN") or " BROKEN (" in line]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package with its contracts, free to be broken."""
    shutil.copy(ROOT / ".importlinter", tmp_path)
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway")
    return tmp_path


def test_the_package_keeps_its_import_contracts(tree: Path) -> None:
    assert broken_contracts(tree) == []


@pytest.mark.parametrize(("contract", "module", "planted"), PLANTED)
def test_a_planted_import_breaks_its_contract(
    tree: Path, contract: str, module: str, planted: str
) -> None:
    with (tree / "gateway" / module).open("a") as source:
        source.write(f"\n{planted}\n")
    assert any(line.startswith(contract) for line in broken_contracts(tree))


# --- locks ----------------------------------------------------------------------------------------


def wanted(extra: str | None) -> Iterator[Requirement]:
    """What pyproject.toml asks for, extras of our own followed."""
    project = PYPROJECT["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    for requirement in map(Requirement, lines):
        if requirement.name == project["name"]:
            for ours in requirement.extras:
                yield from wanted(ours)
        else:
            yield requirement
    if extra:
        yield from wanted(None)


def listed(path: Path) -> Iterator[Requirement]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return (Requirement(line) for line in lines if line)


def pinned(lock: Path) -> dict[str, Version]:
    pins = PINNED.finditer(lock.read_text())
    return {canonicalize_name(pin["name"]): Version(pin["version"]) for pin in pins}


def asked_of(lock: Path) -> list[Requirement]:
    if lock.stem in {"build", "kubectl"}:
        return list(listed(lock.with_suffix(".in")))
    if lock.stem == "manifests":
        return [*wanted(None), *listed(lock.with_suffix(".in"))]
    return list(wanted(None if lock.stem == "run" else lock.stem))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_what_is_asked_for(lock: Path) -> None:
    pins = pinned(lock)
    missing = [
        str(requirement)
        for requirement in asked_of(lock)
        if (pin := pins.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(pin, prereleases=True)
    ]
    assert missing == [], "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_nothing_that_is_no_longer_asked_for(lock: Path) -> None:
    asked = {canonicalize_name(requirement.name) for requirement in asked_of(lock)}
    name, strays = "", []
    for line in lock.read_text().splitlines():
        if pin := PINNED.match(line):
            name = canonicalize_name(pin["name"])
        by_us = re.search(r"(job-result-gateway \(|-r requirements/\S+\.in)", line)
        if line.lstrip().startswith("#") and by_us and name not in asked:
            strays.append(name)
    assert strays == [], "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_pins_every_package_by_hash_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    entries = [entry for entry in re.split(r"\n(?=[A-Za-z])", text) if not entry.startswith("#")]
    assert entries
    unpinned = [entry.splitlines()[0] for entry in entries if not PINNED.match(entry)]
    unhashed = [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry]
    assert (unpinned, unhashed) == ([], [])
    assert not re.search(r"://|^-|^\s*(?!#|--hash)-|file:|\s@\s", text, re.MULTILINE)


def test_what_is_shipped_is_what_is_tested() -> None:
    """The smaller locks hold no version that the largest does not hold."""
    dev = pinned(ROOT / "requirements" / "dev.txt")
    for name in ("run", "demo", "test"):
        lock = pinned(ROOT / "requirements" / f"{name}.txt")
        assert {package: dev.get(package) for package in lock} == lock
