"""`python -m tests.mutations [NAME …]`: plants each mutation, runs until it is found, and prints
the kill table. Exit 1 if one is not found."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

from tests.mutations.catalogue import MUTATIONS, Mutation
from tests.mutations.planting import ROOT

MOST_SEEDS = 5000
_TIMEOUT_SECONDS = 900
_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_CAUGHT = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)


class Found(NamedTuple):
    """Who has found a mutation, and how it is seen again; `by` is empty if nobody has."""

    mutation: Mutation
    by: str
    seeds: str
    replay: str


def main() -> int:
    asked = _arguments().parse_args()
    chosen = [MUTATIONS[name] for name in asked.names] or list(MUTATIONS.values())
    with ThreadPoolExecutor(asked.processes) as pool:
        found = list(pool.map(lambda one: _find(one, asked.seeds), chosen))
    table = "\n".join(_table(found)) + "\n"
    print(table)
    if asked.write is not None:
        asked.write.write_text(_page(found, table))
    missed = [one.mutation.name for one in found if not one.by]
    print(
        f"{len(found) - len(missed)} of {len(found)} found" + "".join(f"\nNOT {n}" for n in missed)
    )
    return 1 if missed else 0


def _find(mutation: Mutation, most_seeds: int) -> Found:
    if mutation.found_by is not None:
        return _by_test(mutation, mutation.found_by)
    replay = f"python -m tests.virtual --mutation {mutation.name}"
    command = [*replay.split(), "--seeds", str(most_seeds), "--processes", "1", "--first-failure"]
    said = _run(command)
    caught = _CAUGHT.search(said)
    if caught is None:
        return Found(mutation, "", said[-200:], replay)
    seed, what = caught.groups()
    by = f"simulation: {shorten(re.sub(_JOB_ID, 'a job', what), 100, placeholder=' …')}"
    return Found(mutation, by, str(int(seed) + 1), f"{replay} --first-seed {seed} -v")


def _by_test(mutation: Mutation, file: str) -> Found:
    replay = f"python -m tests.mutations.pytest {mutation.name} {file}"
    said = _run(replay.split())
    failed = re.search(r"^FAILED \S+::(\S+)", said, re.MULTILINE)
    by = "" if failed is None else f"{file}: {failed[1]}"
    return Found(mutation, by, "–" if by else said[-200:], replay)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            [sys.executable, *command[1:]],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "timed out"
    return done.stdout + done.stderr


def _table(found: Iterable[Found]) -> Iterable[str]:
    yield "| mutation | breaks | found by | seeds |"
    yield "| --- | --- | --- | ---: |"
    for one in found:
        name, breaks, *_ = one.mutation
        by = one.by.replace("|", "/") or "NOT FOUND"
        yield f"| `{name}` | {breaks} | {by} | {one.seeds} |"


def _page(found: list[Found], table: str) -> str:
    by_simulation = sum(one.by.startswith("simulation") for one in found)
    return f"{_PREFACE}{by_simulation} of {len(found)} are found by the simulation.\n\n{table}"


_PREFACE = """# Mutations

Deliberate faults of the product (`tests/mutations/catalogue.py`), planted one at a time, and what
finds each: the simulation in virtual time, after how many seeds, or the named test where no
simulated world could tell the difference. Written by `make mutations`. What was found after N seeds
is seen again by `python -m tests.virtual --mutation NAME --first-seed N-1 --verbose`.

"""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--seeds", type=int, default=MOST_SEEDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", type=Path, help="a page with the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
