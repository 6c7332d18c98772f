"""`python -m tests.virtual --seeds N [--first-seed S]`: how fast, and which seeds failed."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterable
from multiprocessing import get_context

from tests.virtual.run import Verdict, run


def main() -> int:
    asked = _arguments().parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    if asked.verbose:
        return _show(run(asked.first_seed))
    began = time.monotonic()
    failed = sum(_tell(verdict) for verdict in verdicts(seeds, asked.processes))
    seconds = time.monotonic() - began
    pace = f"{len(seeds) / seconds:.0f} seeds/s"
    print(f"{len(seeds)} seeds, {failed} with violations, {seconds:.1f} s, {pace}")
    return 1 if failed else 0


def verdicts(seeds: Iterable[int], processes: int) -> Iterable[Verdict]:
    """In any order."""
    gc.freeze()
    if processes == 1:
        yield from map(run, seeds)
        return
    with get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=8)


def replay_line(seed: int) -> str:
    return f"python -m tests.virtual --seeds 1 --first-seed {seed} --verbose"


def _tell(verdict: Verdict) -> bool:
    for violation in verdict.violations[:5]:
        print(f"seed {verdict.seed}: {violation}")
    if not verdict.is_clean:
        print(f"    {replay_line(verdict.seed)}", flush=True)
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
    parser.add_argument("--verbose", "-v", action="store_true", help="tell the first seed's story")
    return parser


if __name__ == "__main__":
    sys.exit(main())
