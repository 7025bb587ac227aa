"""A large mapping of which most stays: the next version shares it, and keeps what is different on top.

Copying a hundred thousand entries takes longer than everything else that one change of a cluster asks for.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
MOST_ON_TOP = 64
"""Entries that may be kept in the top layer before they go into the one below it: it is copied with every change."""
MOST_BETWEEN = 2048
"""Entries that may be kept in the middle before all layers become one again."""


class Layers(Mapping[K, V]):
    """An immutable mapping. `put` gives the next version."""

    __slots__ = ("_base", "_middle", "_top", "_whole")

    def __init__(
        self, base: dict[K, V], middle: dict[K, V | None] | None = None, top: dict[K, V | None] | None = None
    ) -> None:
        """All layers are shared between versions and must not be changed any more. None in an upper one: it is gone."""
        self._base = base
        self._middle = middle or {}
        self._top = top or {}
        self._whole: dict[K, V] | None = None if middle or top else base

    def put(self, changes: Mapping[K, V | None]) -> Layers[K, V]:
        """The mapping with these entries instead; None takes one out."""
        if not changes:
            return self
        top = {**self._top, **changes}
        if len(top) <= MOST_ON_TOP:
            return Layers(self._base, self._middle, top)
        following = Layers(self._base, {**self._middle, **top})
        return following if len(following._middle) <= MOST_BETWEEN else Layers(following._merged())

    def __getitem__(self, key: K) -> V:
        for layer in (self._top, self._middle):
            if key in layer:
                if (found := layer[key]) is None:
                    raise KeyError(key)
                return found
        return self._base[key]

    def __contains__(self, key: object) -> bool:
        for layer in (self._top, self._middle):
            if key in layer:
                return layer[key] is not None
        return key in self._base

    def __iter__(self) -> Iterator[K]:
        return iter(self._merged())

    def __len__(self) -> int:
        return len(self._merged())

    def keys(self) -> KeysView[K]:
        """The keys; those that came later last."""
        return self._merged().keys()

    def values(self) -> ValuesView[V]:
        """The values."""
        return self._merged().values()

    def items(self) -> ItemsView[K, V]:
        """Keys and values."""
        return self._merged().items()

    def _merged(self) -> dict[K, V]:
        if self._whole is None:
            whole = self._base.copy()
            for layer in (self._middle, self._top):
                for key, value in layer.items():
                    if value is None:
                        whole.pop(key, None)
                    else:
                        whole[key] = value
            self._whole = whole
        return self._whole


def variant(value: T) -> T:
    """A copy, of which the caller will set some attributes: `copy.copy`, several times faster, for plain classes."""
    made = object.__new__(type(value))
    vars(made).update(vars(value))
    return made
