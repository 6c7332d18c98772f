"""What the simulated CodePipeline remembers of every call: the evidence of demo and tests.

A call is written down when it begins, so one whose connection is cut is in the books as well.
Client tokens never enter the books.
"""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gateway.simulation.sigv4 import Caller

_INSTANCE = re.compile(r"instance#([A-Za-z0-9-]+)")


@dataclass(slots=True)
class Entry:
    """One call. What is None is not known yet, or never came to be."""

    sequence: int
    """1 for the first call; the order in which calls began."""
    begun: float
    operation: str
    request_id: str
    instance: str | None
    """From the User-Agent: which process of the caller's."""
    caller: Caller | None = None
    """None: nobody that the simulator knows."""
    job_id: str | None = None
    digest: str | None = None
    """SHA-256 of the request as canonical JSON without clientToken; None: not a JSON object."""
    request: bytes | None = None
    """That canonical JSON."""
    ended: float | None = None
    status: int | None = None
    """The answer's HTTP status; None: no answer was given."""
    code: str | None = None
    """The answer's error code, empty for a success; None: no answer was given."""
    applied: bool = False
    applied_sequence: int | None = None
    """1 for the first call that was applied; the order in which calls took effect."""
    delivered: bool = False
    """The answer was written to a connection that was still open."""
    fault: str | None = None

    def line(self) -> bytes:
        """The entry as one line of JSON."""
        caller = self.caller
        shown: dict[str, Any] = {
            "sequence": self.sequence,
            "begun": self.begun,
            "ended": self.ended,
            "operation": self.operation,
            "job_id": self.job_id,
            "digest": self.digest,
            "request": None if self.request is None else orjson.Fragment(self.request),
            "access_key": caller and caller.access_key,
            "account": caller and caller.account,
            "region": caller and caller.region,
            "instance": self.instance,
            "status": self.status,
            "code": self.code,
            "applied": self.applied,
            "applied_sequence": self.applied_sequence,
            "delivered": self.delivered,
            "fault": self.fault,
            "request_id": self.request_id,
        }
        return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE)


def instance_of(user_agent: str) -> str | None:
    """The instance that a User-Agent names, if it does."""
    found = _INSTANCE.search(user_agent)
    return found and found[1]


def canonical(request: Mapping[str, Any]) -> bytes | None:
    """The request as the books keep it: keys sorted, no clientToken. None: nested too deeply."""
    kept = {name: value for name, value in request.items() if name != "clientToken"}
    try:
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None


class Books:
    """Every call in the order in which they began, none left out, none forgotten.

    With a file, each entry is appended to it twice: as it begins and as it ends.
    """

    def __init__(self, file: BooksFile | None = None) -> None:
        self._entries: list[Entry] = []
        self._applied = 0
        self._file = file

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def since(self, sequence: int) -> list[Entry]:
        """The entries after this one; 0 for all."""
        return self._entries[max(0, sequence) :]

    def begin(self, now: float, operation: str, request_id: str, user_agent: str) -> Entry:
        instance = instance_of(user_agent)
        entry = Entry(len(self._entries) + 1, now, operation, request_id, instance)
        self._entries.append(entry)
        return entry

    def describe(self, entry: Entry, request: Mapping[str, Any], text: bytes) -> None:
        """Adds what was asked, once it has been read; `text` is its canonical form."""
        job_id = request.get("jobId")
        entry.job_id = job_id if isinstance(job_id, str) else None
        entry.request = text
        entry.digest = hashlib.sha256(text).hexdigest()

    def write_begun(self, entry: Entry) -> None:
        """Puts the entry in the file before anything is done about the call."""
        self._write(entry)

    def apply(self, entry: Entry) -> None:
        """Notes that the call has taken effect now."""
        self._applied += 1
        entry.applied, entry.applied_sequence = True, self._applied

    def end(self, entry: Entry, now: float, *, delivered: bool) -> None:
        entry.ended, entry.delivered = now, delivered
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        if self._file is not None:
            self._file.append(entry.line())


class BooksFile:
    """Appends lines to a file from a thread of its own, so that no call waits for a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def open(self) -> None:
        """Raises OSError if the file cannot be appended to."""
        file = self._path.open("ab", buffering=0)
        self._writer = threading.Thread(target=self._write, args=(file,), name="books", daemon=True)
        self._writer.start()

    def append(self, line: bytes) -> None:
        self._lines.put(line)

    def close(self) -> None:
        """Returns when every line is in the file."""
        self._lines.put(None)
        self._writer.join()

    def _write(self, file: BinaryIO) -> None:
        with file:
            while (line := self._lines.get()) is not None:
                file.write(line)
