"""One FIFO per job."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Lanes(Generic[Item]):
    """Of each lane only the head may be worked on, and it stays the head until it is finished.

        lane "a":  [a1] a2 a3        heads: a1, b1
        lane "b":  [b1]

    A lane exists while it holds anything.
    """

    def __init__(self) -> None:
        self._lanes: dict[Hashable, deque[Item]] = {}
        self._items = 0

    def __len__(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    @property
    def items(self) -> int:
        """How many items stand in all lanes, heads included."""
        return self._items

    def append(self, key: Hashable, item: Item) -> bool:
        """True if the item is the head of its lane now."""
        self._items += 1
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = deque((item,))
            return True
        lane.append(item)
        return False

    def finish_head(self, key: Hashable) -> Item | None:
        """The head is done. Returns the new head, or None if the lane is gone.

        Raises KeyError if there is no such lane.
        """
        lane = self._lanes[key]
        lane.popleft()
        self._items -= 1
        if lane:
            return lane[0]
        del self._lanes[key]
        return None

    def has(self, key: Hashable) -> bool:
        return key in self._lanes

    def drop(self, key: Hashable) -> deque[Item]:
        """The whole lane, head first; it is gone. Empty if there is none."""
        lane = self._lanes.pop(key, None) or deque()
        self._items -= len(lane)
        return lane

    def behind(self, key: Hashable) -> int:
        """How many items wait behind the head of this lane."""
        lane = self._lanes.get(key)
        return len(lane) - 1 if lane else 0

    def __iter__(self) -> Iterator[Item]:
        """Every item of every lane, heads first within a lane."""
        for lane in self._lanes.values():
            yield from lane
