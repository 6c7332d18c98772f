"""Which offset of one partition is safe to commit."""

from __future__ import annotations

from collections import deque


class Ticket:
    """The duty to settle one record. It belongs to the watermark that made it and to no other, so
    work of an earlier assignment can never move a later watermark."""

    __slots__ = ("_watermark", "is_settled", "offset", "timestamp")

    def __init__(self, watermark: Watermark, offset: int, timestamp: float) -> None:
        self._watermark = watermark
        self.offset = offset
        self.timestamp = timestamp
        self.is_settled = False

    def settle(self) -> None:
        """Nothing more will happen to this record. Raises RuntimeError when called twice: a duty
        that is done twice was done by somebody who did not own it."""
        if self.is_settled:
            raise RuntimeError(f"offset {self.offset} is settled already")
        self.is_settled = True
        self._watermark._settled()


class Watermark:
    """Everything below `committable()` is settled, at every moment.

        offsets   10  11  12  13  14  15
                  ==  ==  ..  ==  ..  |
                          ^           ^
                committable()      position: the next offset that may begin

    `==` settled, `..` unsettled. Offsets that never arrive (compaction, transaction markers) are
    jumped over and hold nothing back. Settling costs O(1) amortised.
    """

    def __init__(self, start: int) -> None:
        self._position = start
        self._tickets: deque[Ticket] = deque()
        self._unsettled = 0

    @property
    def unsettled(self) -> int:
        """Records begun and not settled."""
        return self._unsettled

    @property
    def settled_ahead(self) -> int:
        """Records settled that a commit cannot express yet."""
        return len(self._tickets) - self._unsettled

    def begin(self, offset: int, timestamp: float = 0.0) -> Ticket | None:
        """The duty for this offset, or None if it was begun before: then it is not yours to do.
        `timestamp` is the record's own, for whoever asks how old the oldest is."""
        if offset < self._position:
            return None
        ticket = Ticket(self, offset, timestamp)
        self._tickets.append(ticket)
        self._position = offset + 1
        self._unsettled += 1
        return ticket

    def skip_to(self, position: int) -> None:
        """No record below `position` will arrive that has not begun."""
        self._position = max(self._position, position)

    def committable(self) -> int:
        """Everything below this offset is settled, or does not exist."""
        return self._tickets[0].offset if self._tickets else self._position

    def oldest_unsettled(self) -> Ticket | None:
        """What holds the watermark, or None if nothing does."""
        return self._tickets[0] if self._tickets else None

    def _settled(self) -> None:
        self._unsettled -= 1
        tickets = self._tickets
        while tickets and tickets[0].is_settled:
            tickets.popleft()
