"""Sets of endpoints as bits of one Python integer.

Measured against numpy arrays, roaring bitmaps and `set` at ten thousand endpoints: big-integer `&`, `|` and `~` win.
The bit of an endpoint is its position in `Compiled.endpoints`. Endpoints are in order of namespace, so most sets lie
close together: the integer starts at the set's own first word, not at zero. Iterate only to print or to program a
kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

_WORD = 64
_FIRST_WORD = (1 << _WORD) - 1
_NOT_EMPTY = re.compile(rb"[^\0]", re.DOTALL)
_POSITIONS = tuple(tuple(bit for bit in range(8) if value >> bit & 1) for value in range(256))


class PodSet(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """An immutable set of endpoint positions.

    Bit i of `bits` is the position `base + i`. `base` is a multiple of 64, and some of the first 64 bits are set unless
    the set is empty, so that equal sets are equal values.
    """

    bits: int = 0
    base: int = 0

    @classmethod
    def of(cls, positions: Iterable[int]) -> PodSet:
        """The set of these positions."""
        places = positions if isinstance(positions, list) else list(positions)
        if not places:
            return NO_PODS
        first, last = places[0], places[-1]
        if last - first + 1 == len(places) and places == list(range(first, last + 1)):
            return _make(((1 << len(places)) - 1) << (first & (_WORD - 1)), first & -_WORD)
        base = min(places) & -_WORD
        data = bytearray((max(places) - base) // 8 + 1)
        for place in places:
            data[(place - base) >> 3] |= 1 << (place & 7)
        return cls(int.from_bytes(data, "little"), base)

    @classmethod
    def first(cls, count: int) -> PodSet:
        """The positions 0 to count - 1."""
        return cls((1 << count) - 1)

    def __contains__(self, position: int) -> bool:
        place = position - self.base
        return 0 <= place < self.bits.bit_length() and bool(self.bits >> place & 1)

    def __iter__(self) -> Iterator[int]:
        data = self.bits.to_bytes((self.bits.bit_length() + 7) // 8, "little")
        for found in _NOT_EMPTY.finditer(data):
            first = self.base + (found.start() << 3)
            for position in _POSITIONS[found[0][0]]:
                yield first + position

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __or__(self, that: PodSet) -> PodSet:
        if not that.bits:
            return self
        if not self.bits:
            return that
        low, high = (self, that) if self.base <= that.base else (that, self)
        return PodSet(low.bits | high.bits << (high.base - low.base), low.base)

    def __and__(self, that: PodSet) -> PodSet:
        if self.base <= that.base:
            return _make(self.bits >> (that.base - self.base) & that.bits, that.base)
        return _make(that.bits >> (self.base - that.base) & self.bits, self.base)

    def __sub__(self, that: PodSet) -> PodSet:
        shared = self & that
        if not shared.bits:
            return self
        return _make(self.bits ^ shared.bits << (shared.base - self.base), self.base)

    def __xor__(self, that: PodSet) -> PodSet:
        return (self - that) | (that - self)

    def put(self, position: int, there: bool) -> PodSet:
        """The same set, with this position in it or not."""
        one = PodSet(1 << (position & (_WORD - 1)), position & -_WORD)
        return self | one if there else self - one

    @property
    def span(self) -> tuple[int, int]:
        """(first, last) between which every position lies: sets whose spans are apart share none."""
        return self.base, self.base + self.bits.bit_length() - 1

    @property
    def blocks(self) -> list[int]:
        """In which runs of 64 positions some position lies: each as the first of its positions divided by 64."""
        data = self.bits.to_bytes((self.bits.bit_length() + _WORD - 1) // _WORD * 8, "little")
        first = self.base // _WORD
        return [first + number for number, word in enumerate(memoryview(data).cast("Q")) if word]

    @classmethod
    def union(cls, parts: Iterable[PodSet]) -> PodSet:
        """The positions of all parts."""
        found = NO_PODS
        for part in parts:
            found |= part
        return found


def _make(bits: int, base: int) -> PodSet:
    """The set in its one form: nothing is left empty below its first word."""
    if not bits:
        return NO_PODS
    if not bits & _FIRST_WORD:
        empty = ((bits & -bits).bit_length() - 1) & -_WORD
        return PodSet(bits >> empty, base + empty)
    return PodSet(bits, base)


NO_PODS = PodSet()
