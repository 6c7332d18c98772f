"""The demo while it runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gateway.commands.demo_report import KINDS
from gateway.simulation.history import Source

REFRESH_SECONDS = 0.25
_LINE_SECONDS = 3.0
_RATE_SECONDS = 3.0
_PLAIN_WIDTH = 160


def demo_console(on_stderr: bool) -> Console:
    """Where people read. What is no terminal has no width either: lines are not broken there."""
    console = Console(stderr=on_stderr)
    return console if console.is_terminal else Console(stderr=on_stderr, width=_PLAIN_WIDTH)


@dataclass
class Progress:
    """How far it is. Everything counted is counted once, whatever is sent or told twice."""

    total: int = 0
    to_end: int = 0
    """Records that will have an outcome: all but the skipped ones."""
    sent: int = 0
    ended: dict[Source, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    now: str = ""
    """What is happening, in a few words."""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def note_outcome(self, source: Source, kind: str) -> None:
        if source not in self.ended:
            self.ended[source] = kind
            self.kinds[kind] += 1

    def rate_per_second(self, now: float) -> float:
        """Outcomes a second over the last few seconds."""
        self._recent.append((now, len(self.ended)))
        while len(self._recent) > 2 and now - self._recent[0][0] > _RATE_SECONDS:
            self._recent.popleft()
        (then, before), (_, count) = self._recent[0], self._recent[-1]
        return (count - before) / (now - then) if now > then else 0.0


class Show:
    """Tells people what is happening, on a console that may or may not be a terminal."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self.console = console
        self._progress = progress
        self._live: Live | None = None
        self._last_line = 0.0

    def say(self, sentence: str) -> None:
        """News, in a line of its own."""
        self._progress.now = sentence
        self.console.print(Text(f"{time.strftime('%H:%M:%S')}  {sentence}"))

    @contextmanager
    def playing(self) -> Iterator[None]:
        """The live picture stands at the bottom of a terminal while in here."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def refresh(self) -> None:
        now = time.monotonic()
        rate = self._progress.rate_per_second(now)
        if self._live is not None:
            self._live.update(self._picture(rate), refresh=True)
        elif now - self._last_line >= _LINE_SECONDS and self._progress.sent:
            self._last_line = now
            self.console.print(Text(f"          {self._line(rate)}"))

    def _line(self, rate: float) -> str:
        state = self._progress
        kinds = ", ".join(f"{state.kinds[kind]} {kind}" for kind in KINDS if state.kinds[kind])
        return f"{state.sent} sent, {len(state.ended)} ended ({rate:.0f}/s): {kinds}"

    def _picture(self, rate: float) -> Table:
        state = self._progress
        table = Table.grid(padding=(0, 2))
        table.add_row("sent", _bar(state.sent, state.total), f"{state.sent:,} of {state.total:,}")
        done = f"{len(state.ended):,} of {state.to_end:,}  {rate:,.0f}/s"
        table.add_row("ended", _bar(len(state.ended), state.to_end), done)
        for kind in KINDS:
            if state.kinds[kind]:
                bar = _bar(state.kinds[kind], state.to_end)
                table.add_row(f"  {kind}", bar, f"{state.kinds[kind]:,}")
        table.add_row("now", Text(state.now, style="bold"))
        return table


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(1, total), completed=done, width=40)
