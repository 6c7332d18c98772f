"""Offsets settled ahead of the watermark <-> the metadata beside a commit.

    1 <cluster> <base> r|b <base64: payload> <check>

`r`: pairs of variable-length integers, how many offsets to pass over, how many are settled, from
the base on. `b`: a bitset, the lowest bit of the first byte is the base. The smaller one is
written. At most LONGEST characters, which is what brokers allow (`offset.metadata.max.bytes`); what
does not fit is forgotten, short runs first, and forgetting is safe: it costs a repeat.

A note is believed only in the cluster and beside the offset that it was written for, because
MirrorMaker carries metadata to another cluster beside a translated offset. The check is keyed:
without the key's file it tells corruption only, with it a stranger's note as well.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from heapq import nlargest
from typing import Final, NamedTuple

VERSION: Final = "1"
LONGEST: Final = 4096
_ROOM_FOR_HEADER: Final = 160
_PAYLOAD_BYTES: Final = (LONGEST - _ROOM_FOR_HEADER) // 4 * 3
_MOST_RUNS: Final = _PAYLOAD_BYTES // 2
_MOST_SETTLED: Final = 1 << 24
"""A note that claims more than this is not one of ours: no partition runs so far ahead."""
_WHOLE_BYTES = re.compile(rb"\xff+")
_SOME_BITS = re.compile(rb"[^\x00]")
_BITS_OF: Final = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))


class Run(NamedTuple):
    """Offsets from `start` up to, not including, `end`."""

    start: int
    end: int


def encode(settled: int, base: int, cluster: str, key: bytes) -> str:
    """The note for a commit at `base`; empty if there is nothing to say. `settled` has bit n set
    if offset base + n is settled. Never longer than LONGEST. Never raises."""
    if not settled:
        return ""
    kind, payload = _smallest(settled)
    body = (
        f"{VERSION} {cluster} {base} {kind} {binascii.b2a_base64(payload, newline=False).decode()}"
    )
    note = f"{body} {_check(body, key)}"
    return note if len(note) <= LONGEST else ""


def decode(note: str, base: int, cluster: str, key: bytes) -> list[Run]:
    """The runs that the note says are settled, ascending; none if it cannot be believed: another
    version, another cluster, another base, a check that is not ours, anything odd. Never raises."""
    parts = note.split(" ")
    if len(note) > LONGEST or len(parts) != 6 or parts[:3] != [VERSION, cluster, str(base)]:
        return []
    body = note.rpartition(" ")[0]
    if parts[5] != _check(body, key):
        return []
    try:
        payload = binascii.a2b_base64(parts[4], strict_mode=True)
    except (binascii.Error, ValueError):
        return []
    if parts[3] == "b":
        return [Run(base + start, base + end) for start, end in _runs(_to_bits(payload))]
    return _read_runs(payload, base) if parts[3] == "r" else []


def _check(body: str, key: bytes) -> str:
    return blake2b(body.encode(), digest_size=8, key=key[:64]).hexdigest()


def _smallest(settled: int) -> tuple[str, bytes]:
    bitset = settled.to_bytes((settled.bit_length() + 7) // 8, "little")
    if _count_runs(settled) <= _MOST_RUNS:
        pairs = _write_runs(_edges(settled))
        if len(pairs) <= min(_PAYLOAD_BYTES, len(bitset)):
            return "r", pairs
    if len(bitset) <= _PAYLOAD_BYTES:
        return "b", bitset
    return _what_fits(settled, bitset)


def _what_fits(settled: int, bitset: bytes) -> tuple[str, bytes]:
    """Neither form fits: the longest runs, or the beginning of the bitset, whichever says more."""
    beginning = bitset[:_PAYLOAD_BYTES]
    said = _to_bits(beginning).bit_count()
    if _count_runs(settled) <= _MOST_RUNS:
        candidates = list(_runs(settled))
    elif 8 * bitset.count(b"\xff") <= said:
        return "b", beginning
    else:  # too many to look at each: whole bytes are enough to find the long ones
        candidates = [
            Run(8 * match.start(), 8 * match.end()) for match in _WHOLE_BYTES.finditer(bitset)
        ]
    kept = sorted(nlargest(_MOST_RUNS // 3, candidates, key=_length))
    if sum(map(_length, kept)) > said:
        return "r", _write_runs(edge for run in kept for edge in run)
    return "b", beginning


def _length(run: Run) -> int:
    return run.end - run.start


def _to_bits(payload: bytes) -> int:
    return int.from_bytes(payload, "little")


def _count_runs(settled: int) -> int:
    return (settled & ~(settled << 1)).bit_count()


def _runs(settled: int) -> Iterator[Run]:
    """The runs of set bits, ascending."""
    edges = iter(_edges(settled))
    return map(Run, edges, edges)


def _edges(settled: int) -> list[int]:
    """Where runs of set bits start and end, in turns."""
    changes = settled ^ (settled << 1)
    marks = changes.to_bytes((changes.bit_length() + 7) // 8, "little")
    edges: list[int] = []
    for match in _SOME_BITS.finditer(marks):
        first = 8 * match.start()
        edges += [first + bit for bit in _BITS_OF[marks[match.start()]]]
    return edges


def _write_runs(edges: Iterable[int]) -> bytes:
    out = bytearray()
    at = 0
    for edge in edges:
        number, at = edge - at, edge
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)


def _read_runs(payload: bytes, base: int) -> list[Run]:
    numbers: list[int] = []
    number = shift = 0
    for byte in payload:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
        elif shift > 35:
            return []
    if shift or len(numbers) % 2 or sum(numbers) > _MOST_SETTLED:
        return []
    runs, at = [], base
    for passed, settled in zip(numbers[::2], numbers[1::2], strict=True):
        runs.append(Run(at + passed, at + passed + settled))
        at += passed + settled
    return runs
