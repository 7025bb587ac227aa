"""Sets of endpoints as bits of one Python integer.

Measured against numpy arrays, roaring bitmaps and `set` at ten thousand endpoints: big-integer `&`, `|` and `~` win.
The bit of an endpoint is its position in `Compiled.endpoints`. Iterate only to print or to program a kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NOT_EMPTY = re.compile(rb"[^\0]", re.DOTALL)
_POSITIONS = tuple(tuple(bit for bit in range(8) if value >> bit & 1) for value in range(256))


@dataclass(frozen=True, slots=True)
class PodSet:
    """An immutable set of endpoint positions."""

    bits: int = 0

    @classmethod
    def of(cls, positions: Iterable[int]) -> PodSet:
        """The set of these positions."""
        places = list(positions)
        if not places:
            return NO_PODS
        data = bytearray(max(places) // 8 + 1)
        for place in places:
            data[place >> 3] |= 1 << (place & 7)
        return cls(int.from_bytes(data, "little"))

    @classmethod
    def first(cls, count: int) -> PodSet:
        """The positions 0 to count - 1."""
        return cls((1 << count) - 1)

    def __contains__(self, position: int) -> bool:
        return bool(self.bits >> position & 1)

    def __iter__(self) -> Iterator[int]:
        data = self.bits.to_bytes((self.bits.bit_length() + 7) // 8, "little")
        for found in _NOT_EMPTY.finditer(data):
            first = found.start() << 3
            for position in _POSITIONS[found[0][0]]:
                yield first + position

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __or__(self, that: PodSet) -> PodSet:
        return PodSet(self.bits | that.bits)

    def __and__(self, that: PodSet) -> PodSet:
        return PodSet(self.bits & that.bits)

    def __sub__(self, that: PodSet) -> PodSet:
        return PodSet(self.bits & ~that.bits)


NO_PODS = PodSet()
