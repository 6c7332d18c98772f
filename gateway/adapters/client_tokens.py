"""Client tokens of third-party jobs, looked up by client id in a mounted directory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_SECONDS = 1.0
TOKEN_MAX_BYTES = 4096
"""A larger file is no client token (256 characters) but something mounted by mistake."""
_SETTLED_AFTER_SECONDS = 2.0


class ClientTokens:
    """The token of each client id for which the directory holds a file of that name.

    A client id is never made into a path: the directory is listed, and names are compared. So no
    id, whatever it holds, reads anything outside of the directory.

    The directory is read when this is made and again when its modification time has changed,
    which is looked at once a second at most, and at once for an id that is not known. A mounted
    Kubernetes Secret changes it with every update; files changed by hand are to be replaced
    (renamed into place), not written over. If it cannot be read any more, the tokens last read
    stay. No directory: no tokens.

    Not in the event loop's way: a look is one `stat`, a reading at most what a Secret can hold,
    which is 1 MiB.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises OSError if the directory cannot be read now."""
        self._directory = directory
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._tokens: dict[str, str] = {}
        self._seen: int | None = None
        self._looked_at = monotonic()
        if directory is not None:
            self._read(directory)

    def __repr__(self) -> str:
        return f"ClientTokens({str(self._directory)!r}, {len(self._tokens)} tokens)"

    def token_of(self, client_id: str) -> str | None:
        """None if there is no such file, or nothing readable in it."""
        directory = self._directory
        if directory is None:
            return None
        is_due = self._monotonic() - self._looked_at >= LOOK_EVERY_SECONDS
        if is_due or client_id not in self._tokens:
            self._look(directory)
        return self._tokens.get(client_id)

    def _look(self, directory: Path) -> None:
        self._looked_at = self._monotonic()
        try:
            if os.stat(directory).st_mtime_ns != self._seen:
                self._read(directory)
        except OSError:
            return  # keep what was read last: a Secret being remounted must reject nothing

    def _read(self, directory: Path) -> None:
        modified = os.stat(directory)
        with os.scandir(directory) as entries:
            found = {entry.name: _token_in(entry) for entry in entries}
        self._tokens = {name: token for name, token in found.items() if token}
        # Two changes within one tick of the file system's clock look like one: a directory that
        # has just changed is read again at the next look.
        is_settled = self._wall_clock() - modified.st_mtime > _SETTLED_AFTER_SECONDS
        self._seen = modified.st_mtime_ns if is_settled else None


def _token_in(entry: os.DirEntry[str]) -> str | None:
    """Names with a leading dot are how Kubernetes keeps its versions: no client ids."""
    if entry.name.startswith("."):
        return None
    try:
        if not entry.is_file():
            return None
        with open(entry.path, "rb") as file:
            content = file.read(TOKEN_MAX_BYTES + 1)
        return content.decode().strip() if len(content) <= TOKEN_MAX_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
