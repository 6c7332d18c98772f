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
        self._heads: dict[Hashable, Item] = {}
        self._behind: dict[Hashable, deque[Item]] = {}
        """Only where somebody waits: a deque for each lane would take 600 bytes."""
        self._items = 0

    def __len__(self) -> int:
        """How many lanes there are."""
        return len(self._heads)

    @property
    def items(self) -> int:
        """How many items stand in all lanes, heads included."""
        return self._items

    def append(self, key: Hashable, item: Item) -> bool:
        """True if the item is the head of its lane now."""
        self._items += 1
        if key not in self._heads:
            self._heads[key] = item
            return True
        self._behind.setdefault(key, deque()).append(item)
        return False

    def finish_head(self, key: Hashable) -> Item | None:
        """The head is done. Returns the new head, or None if the lane is gone.

        Raises KeyError if there is no such lane.
        """
        behind = self._behind.get(key)
        if behind is None:
            del self._heads[key]
            self._items -= 1
            return None
        head = self._heads[key] = behind.popleft()
        self._items -= 1
        if not behind:
            del self._behind[key]
        return head

    def has(self, key: Hashable) -> bool:
        return key in self._heads

    def drop(self, key: Hashable) -> list[Item]:
        """The whole lane, head first; it is gone. Empty if there is none."""
        if key not in self._heads:
            return []
        lane = [self._heads.pop(key), *self._behind.pop(key, ())]
        self._items -= len(lane)
        return lane

    def behind(self, key: Hashable) -> int:
        """How many items wait behind the head of this lane."""
        return len(self._behind.get(key, ()))

    def __iter__(self) -> Iterator[Item]:
        """Every item of every lane, heads first within a lane."""
        for key, head in self._heads.items():
            yield head
            yield from self._behind.get(key, ())
