"""Where to look for the classes that name a pod, without asking each of them.

Most classes name pods of one namespace, a few those of the whole cluster; a pod that moves concerns a handful of a
node's. Positions are taken together in blocks, so that a class of many pods is known by few of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gatewright.engine.podset import PodSet


class Naming:
    """The cells of which a class names pods of a block, or did once: too many perhaps, never too few.

    So one of these may be shared by programs that follow from one another, though only those know what is still so.
    """

    def __init__(self, known: Iterable[tuple[int, PodSet]] = ()) -> None:
        self._cells: defaultdict[int, set[int]] = defaultdict(set)
        self._all: set[int] = set()
        for cell, pods in known:
            self.add(cell, pods)

    def __len__(self) -> int:
        """How many cells are known, also those that are long gone."""
        return len(self._all)

    def add(self, cell: int, pods: PodSet) -> None:
        """A class of this cell names these pods, beside those that it was known to name."""
        self._all.add(cell)
        for block in pods.blocks:
            self._cells[block].add(cell)

    def near(self, pods: PodSet) -> list[int]:
        """The cells that may name one of these pods, in order."""
        found: set[int] = set()
        for block in pods.blocks:
            found |= self._cells.get(block, set())
        return sorted(found)
