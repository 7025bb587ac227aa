"""Which nodes of a graph are interchangeable: they stand in the same relation to everything else, and to each other.

What is the same may be said once: replicas of a workload on one line, workloads of a drawing in one box. Being twins is
an equivalence, so the answer does not depend on the order in which nodes are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
V = TypeVar("V", bound=Hashable)


class Relations(Generic[T, V]):
    """A directed graph whose edges have values, kept so that two nodes can be compared."""

    def __init__(self, edges: Mapping[tuple[T, T], V]) -> None:
        self._out: dict[T, dict[T, V]] = {}
        self._into: dict[T, dict[T, V]] = {}
        for (source, destination), value in edges.items():
            self._out.setdefault(source, {})[destination] = value
            self._into.setdefault(destination, {})[source] = value

    def classes(self, nodes: Iterable[T]) -> list[Sequence[T]]:
        """The nodes in classes of twins; classes and members in order of appearance."""
        classes: list[list[T]] = []
        alike: dict[Hashable, list[list[T]]] = {}
        for node in nodes:
            candidates = alike.setdefault(self._summary(node), [])
            home = next((one for one in candidates if self._are_twins(one[0], node)), None)
            if home is not None:
                home.append(node)
            else:
                candidates.append([node])
                classes.append(candidates[-1])
        return [tuple(one) for one in classes]

    def _summary(self, node: T) -> Hashable:
        """Equal for twins: how many edges of each value it has in each direction, leaving out the one to itself."""
        return tuple(
            frozenset(Counter(value for other, value in side.get(node, {}).items() if other != node).items())
            for side in (self._out, self._into)
        )

    def _are_twins(self, one: T, other: T) -> bool:
        """For two nodes of one summary: it says already that the edges between them have one value both ways."""
        pair = {one, other}
        between = self._out.get(one, {}).get(other)
        own = (self._out.get(node, {}).get(node) for node in pair)
        if any(value is not None and value != between for value in own):
            return False
        return all(
            _without(side.get(one, {}), pair) == _without(side.get(other, {}), pair) for side in (self._out, self._into)
        )


def _without(edges: dict[T, V], nodes: set[T]) -> dict[T, V]:
    return {other: value for other, value in edges.items() if other not in nodes}
