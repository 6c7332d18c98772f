"""Which offset of one partition is safe to commit; begun, settled, deferred."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

_TRIM_BYTES = 4096


class Ticket:
    """The duty to settle one record. It belongs to the watermark that made it and to no other, so
    work of an earlier assignment can never move a later watermark."""

    __slots__ = ("_watermark", "is_deferred", "is_settled", "memory", "offset", "timestamp")

    def __init__(self, watermark: Watermark, offset: int, timestamp: float) -> None:
        self._watermark = watermark
        self.offset = offset
        self.timestamp = timestamp
        self.is_settled = False
        self.is_deferred = False
        self.memory: object = None
        """What its holder wants to find again when the deferred record is read again."""

    def settle(self) -> None:
        """Nothing more will happen to this record. Raises RuntimeError when called twice, or while
        deferred: a duty that is done twice was done by somebody who did not own it."""
        if self.is_settled or self.is_deferred:
            raise RuntimeError(f"offset {self.offset} is not begun")
        self.is_settled = True
        self._watermark._settled(self.offset)

    def defer(self) -> None:
        """The record is left in Kafka, to be read again: it holds the watermark. Raises
        RuntimeError if it is settled or deferred already."""
        if self.is_settled or self.is_deferred:
            raise RuntimeError(f"offset {self.offset} is not begun")
        self.is_deferred = True
        self._watermark._deferred_one(self)


class Watermark:
    """Everything below `committable()` is settled, at every moment.

        offsets   10  11  12  13  14  15
                  ==  ==  ..  ==  ~~  |
                          ^           ^
                committable()      position: the next offset that was never read

    `==` settled, `..` begun, `~~` deferred. Offsets that never arrive (compaction, transaction
    markers) are jumped over and hold nothing back. Settling costs O(1) amortised.

    `settled` says which offsets from `start` on were settled in an earlier assignment (the note):
    they are not begun again.
    """

    def __init__(self, start: int, settled: Iterable[tuple[int, int]] = ()) -> None:
        self._position = start
        self._tickets: deque[Ticket] = deque()
        self._deferred: dict[int, Ticket] = {}
        self._unsettled = 0
        self._origin = start
        self._bits = bytearray()
        """Bit n: offset origin + n is settled, or does not exist."""
        for first, end in settled:
            self._mark(max(first, start), end)

    @property
    def unsettled(self) -> int:
        """Records begun and not settled; the deferred are not among them."""
        return self._unsettled

    @property
    def deferred(self) -> int:
        """Records left in Kafka to be read again."""
        return len(self._deferred)

    @property
    def settled_ahead(self) -> int:
        """Records settled that an offset alone cannot express."""
        return len(self._tickets) - self._unsettled - len(self._deferred)

    @property
    def ahead(self) -> int:
        """How far reading has gone past what holds the watermark."""
        return self._position - self.committable()

    def begin(self, offset: int, timestamp: float = 0.0) -> Ticket | None:
        """The duty for this offset, or None if it is begun or settled already: then it is not
        yours to do. `timestamp` is the record's own, for whoever asks how old the oldest is."""
        if offset < self._position:
            return self._begin_again(offset)
        if offset > self._position:
            self._mark(self._position, offset)
        self._position = offset + 1
        if self._is_marked(offset):
            return None
        ticket = Ticket(self, offset, timestamp)
        self._tickets.append(ticket)
        self._unsettled += 1
        return ticket

    def skip_to(self, position: int) -> None:
        """No record below `position` will arrive that has not begun."""
        if position > self._position:
            self._mark(self._position, position)
            self._position = position

    def committable(self) -> int:
        """Everything below this offset is settled, or does not exist."""
        return self._tickets[0].offset if self._tickets else self._position

    def oldest_unsettled(self) -> Ticket | None:
        """What holds the watermark, or None if nothing does."""
        return self._tickets[0] if self._tickets else None

    def settled_bits(self) -> int:
        """Bit n: offset `committable()` + n is settled. What a note is made of."""
        ahead = self.committable() - self._origin
        return int.from_bytes(self._bits[ahead >> 3 :], "little") >> (ahead & 7)

    def _begin_again(self, offset: int) -> Ticket | None:
        ticket = self._deferred.pop(offset, None)
        if ticket is not None:
            ticket.is_deferred = False
            self._unsettled += 1
        return ticket

    def _deferred_one(self, ticket: Ticket) -> None:
        self._unsettled -= 1
        self._deferred[ticket.offset] = ticket

    def _settled(self, offset: int) -> None:
        self._unsettled -= 1
        tickets = self._tickets
        if tickets[0].offset != offset:
            self._mark(offset, offset + 1)
            return
        while tickets and tickets[0].is_settled:
            tickets.popleft()
        self._trim()

    def _mark(self, first: int, end: int) -> None:
        first, end = first - self._origin, end - self._origin
        if end > 8 * len(self._bits):
            self._bits.extend(bytes((end >> 3) + 64 - len(self._bits)))
        if end - first == 1:
            self._bits[first >> 3] |= 1 << (first & 7)
            return
        whole, last = (first + 7) >> 3, end >> 3
        for bit in range(first, min(end, 8 * whole)):
            self._bits[bit >> 3] |= 1 << (bit & 7)
        if last > whole:
            self._bits[whole:last] = b"\xff" * (last - whole)
        for bit in range(max(first, 8 * max(whole, last)), end):
            self._bits[bit >> 3] |= 1 << (bit & 7)

    def _is_marked(self, offset: int) -> bool:
        bit = offset - self._origin
        return bit >> 3 < len(self._bits) and bool(self._bits[bit >> 3] >> (bit & 7) & 1)

    def _trim(self) -> None:
        passed = (self.committable() - self._origin) >> 3
        if passed >= _TRIM_BYTES:
            del self._bits[:passed]
            self._origin += 8 * passed
