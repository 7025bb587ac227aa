"""A large mapping of which most stays: the next version shares it, and keeps what is different on top.

Copying a hundred thousand entries takes longer than everything else that one change of a cluster asks for.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
MOST_ON_TOP = 2048
"""Entries that may be kept on top before both layers become one again."""


class Layers(Mapping[K, V]):
    """An immutable mapping. `put` gives the next version."""

    __slots__ = ("_base", "_top", "_whole")

    def __init__(self, base: dict[K, V], top: dict[K, V | None] | None = None) -> None:
        """The base is shared between versions and must not be changed any more. None on top: it is gone."""
        self._base = base
        self._top = top or {}
        self._whole: dict[K, V] | None = None if top else base

    def put(self, changes: Mapping[K, V | None]) -> Layers[K, V]:
        """The mapping with these entries instead; None takes one out."""
        if not changes:
            return self
        following = Layers(self._base, {**self._top, **changes})
        return following if len(following._top) <= MOST_ON_TOP else Layers(following._merged())

    def __getitem__(self, key: K) -> V:
        if key in self._top:
            if (found := self._top[key]) is None:
                raise KeyError(key)
            return found
        return self._base[key]

    def __contains__(self, key: object) -> bool:
        if key in self._top:
            return self._top[key] is not None
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
            for key, value in self._top.items():
                if value is None:
                    whole.pop(key, None)
                else:
                    whole[key] = value
            self._whole = whole
        return self._whole
