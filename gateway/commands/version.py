"""`gateway version`."""

from __future__ import annotations

from gateway import __version__


def run() -> int:
    print(__version__)
    return 0
