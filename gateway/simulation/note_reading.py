"""What a note beside a commit says, read without any of the gateway's code.

    1 <cluster> <base> r|b <base64> <check>

`r`: pairs of numbers, seven bits a byte, least significant first, a set high bit meaning that
more follows: how many offsets to pass over, and how many are settled. `b`: one bit an offset. The
check is keyed, and the key is not ours: a history believes what the group's own members wrote.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator


def settled_ahead(note: str, offset: int) -> frozenset[int]:
    """Offsets that the note beside a commit of `offset` declares settled; none if it is not a
    note, or was written for another offset."""
    words = note.split(" ")
    if len(words) != 6 or words[0] != "1" or words[2] != str(offset):
        return frozenset()
    try:
        payload = base64.b64decode(words[4], validate=True)
    except (binascii.Error, ValueError):
        return frozenset()
    read = _pairs if words[3] == "r" else _bits
    return frozenset(offset + ahead for ahead in read(payload))


def _bits(payload: bytes) -> Iterator[int]:
    for number, byte in enumerate(payload):
        yield from (8 * number + bit for bit in range(8) if byte & 1 << bit)


def _pairs(payload: bytes) -> Iterator[int]:
    at = 0
    numbers = _numbers(payload)
    for passed, settled in zip(numbers, numbers, strict=False):
        yield from range(at + passed, at + passed + settled)
        at += passed + settled


def _numbers(payload: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in payload:
        number += (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
