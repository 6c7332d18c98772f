"""`python -m tests.virtual --seeds N [--first-seed S]`: how fast, and which seeds failed."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterable
from multiprocessing import get_context
from typing import TYPE_CHECKING

from tests.mutations.planting import plant

if TYPE_CHECKING:
    from tests.virtual.run import Verdict


def main() -> int:
    asked = _arguments().parse_args()
    if asked.mutation is not None:
        plant(asked.mutation)
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    if asked.verbose:
        return _show(_run(asked.first_seed))
    began = time.monotonic()
    failed = 0
    for verdict in verdicts(seeds, asked.processes):
        failed += _tell(verdict, asked.mutation)
        if failed and asked.first_failure:
            return 1
    seconds = time.monotonic() - began
    pace = f"{len(seeds) / seconds:.0f} seeds/s"
    print(f"{len(seeds)} seeds, {failed} with violations, {seconds:.1f} s, {pace}")
    return 1 if failed else 0


def verdicts(seeds: Iterable[int], processes: int) -> Iterable[Verdict]:
    """In any order."""
    import tests.virtual.run  # noqa: F401  before forking, so that nobody does it again

    gc.freeze()
    if processes == 1:
        yield from map(_run, seeds)
        return
    with get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_run, seeds, chunksize=8)


def replay_line(seed: int, mutation: str | None = None) -> str:
    planted = "" if mutation is None else f"--mutation {mutation} "
    return f"python -m tests.virtual {planted}--seeds 1 --first-seed {seed} --verbose"


def _run(seed: int) -> Verdict:
    """Imported late: a mutation is planted before anything of the product is imported."""
    from tests.virtual.run import run

    return run(seed)


def _tell(verdict: Verdict, mutation: str | None) -> bool:
    for violation in verdict.violations[:5]:
        print(f"seed {verdict.seed}: {violation}")
    if not verdict.is_clean:
        print(f"    {replay_line(verdict.seed, mutation)}", flush=True)
    return not verdict.is_clean


def _show(verdict: Verdict) -> int:
    print("\n".join(verdict.story))
    print(verdict.judgement.outcomes, verdict.judgement.dead_letters)
    print(f"repeats after crash {verdict.judgement.repeats_after_crash}")
    print("\n".join(verdict.violations) or "clean")
    print(f"seed {verdict.seed} fingerprint {verdict.fingerprint}")
    return 0 if verdict.is_clean else 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.virtual")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mutation", help="a deliberate fault of the product: tests/mutations")
    parser.add_argument("--first-failure", action="store_true", help="stop at the first one")
    parser.add_argument("--verbose", "-v", action="store_true", help="tell the first seed's story")
    return parser


if __name__ == "__main__":
    sys.exit(main())
