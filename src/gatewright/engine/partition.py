"""Positions in cells: those of one cell are selected by exactly the same policies.

A cell is split when a policy selects a part of it, and two cells become one when nothing tells them apart any more.
Only the smaller part of a split is written anew, so that a first partition costs little more than the policies' own
subjects, and a change little more than what it touches. It is changed in place by whoever makes it; a copy is cheap.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection

from gatewright.engine.drafts import Place
from gatewright.engine.podset import NO_PODS, PodSet

Policies = tuple[Place, ...]
"""The policies that select a cell, in order of evaluation."""
NOBODY = 0
"""The cell of a position where nobody is."""


class Partition:
    """Cells by number. `touched` collects the numbers of those that are no longer what they were."""

    def __init__(self) -> None:
        self._cell_of = array("I")
        self._members: dict[int, PodSet] = {}
        self._sizes: dict[int, int] = {}
        self._policies: dict[int, Policies] = {}
        self._numbers: dict[Policies, int] = {}
        self._next = NOBODY + 1
        self.touched: set[int] = set()

    def copy(self) -> Partition:
        """A partition of its own, with nothing touched yet."""
        other = Partition()
        other._cell_of = self._cell_of[:]
        other._members, other._sizes = dict(self._members), dict(self._sizes)
        other._policies = dict(self._policies)
        other._numbers, other._next = dict(self._numbers), self._next
        return other

    def cell_of(self, position: int) -> int:
        """The number of a position's cell."""
        return self._cell_of[position] if position < len(self._cell_of) else NOBODY

    def members(self, cell: int) -> PodSet:
        """The positions in a cell; none where there is no such cell (any more)."""
        return self._members.get(cell, NO_PODS)

    def policies(self, cell: int) -> Policies:
        """The policies that select the members of a cell."""
        return self._policies[cell]

    def add(self, positions: PodSet, capacity: int) -> None:
        """Newcomers, whom no policy selects yet. `capacity` is one more than the highest position there can be."""
        self._cell_of.frombytes(bytes(self._cell_of.itemsize * (capacity - len(self._cell_of))))
        if positions:
            self._join(positions, ())

    def remove(self, positions: PodSet) -> None:
        """Positions where nobody is any more; no policy selects them by now."""
        if positions:
            self._leave(self._numbers[()], positions)
            for position in positions:
                self._cell_of[position] = NOBODY

    def shift(self, region: PodSet, added: Policies = (), removed: Policies = ()) -> None:
        """From now on these policies select the positions of the region too, and those no longer."""
        near = self.near(region)
        for cell in near:
            inside = region if len(near) == 1 else self._members[cell] & region
            if not inside:
                continue
            before = self._policies[cell]
            kept = set(before).difference(removed) if removed else before
            after = tuple(sorted({*kept, *added})) if removed or before else added
            if after == before:
                continue
            size = len(inside)
            if size == self._sizes[cell] and after not in self._numbers:
                self._rename(cell, after)
            elif size * 2 <= self._sizes[cell] or after in self._numbers:
                self._leave(cell, inside)
                self._join(inside, after)
            else:
                rest = self._members[cell] - inside
                self._leave(cell, rest)
                self._rename(cell, after)
                self._join(rest, before)

    def near(self, region: PodSet) -> Collection[int]:
        """The cells that have members in a region, and perhaps others: exactly one only where it holds the region."""
        if len(region) > len(self._members) > 1:
            return list(self._members)
        return {self._cell_of[position] for position in region} - {NOBODY}

    def _leave(self, cell: int, positions: PodSet) -> None:
        self.touched.add(cell)
        size = len(positions)
        if size == self._sizes[cell]:
            del self._members[cell], self._sizes[cell], self._numbers[self._policies.pop(cell)]
        else:
            self._members[cell] -= positions
            self._sizes[cell] -= size

    def _join(self, positions: PodSet, policies: Policies) -> None:
        cell = self._numbers.get(policies)
        if cell is None:
            cell, self._next = self._next, self._next + 1
            self._numbers[policies], self._policies[cell] = cell, policies
        self.touched.add(cell)
        self._members[cell] = self._members.get(cell, NO_PODS) | positions
        self._sizes[cell] = self._sizes.get(cell, 0) + len(positions)
        cell_of = self._cell_of
        for position in positions:
            cell_of[position] = cell

    def _rename(self, cell: int, policies: Policies) -> None:
        self.touched.add(cell)
        del self._numbers[self._policies[cell]]
        self._numbers[policies], self._policies[cell] = cell, policies
