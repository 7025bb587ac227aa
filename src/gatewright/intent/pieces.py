"""Sets of (who, on which ports): cutting one from another, where who is a set of addresses or of pods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from gatewright.engine.addresses import AddressSet
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import PortSet

Who = TypeVar("Who", AddressSet, PodSet)
Piece = tuple[AddressSet, PortSet]


def without(pieces: Iterable[tuple[Who, PortSet]], taken: Iterable[tuple[Who, PortSet]]) -> list[tuple[Who, PortSet]]:
    """The pieces without others, cut where either differs."""
    left = [piece for piece in pieces if all(piece)]
    for addresses, ports in taken:
        cut: list[tuple[Who, PortSet]] = []
        for own, wanted in left:
            shared = own & addresses
            if not shared or not wanted & ports:
                cut.append((own, wanted))
                continue
            cut += [(own - shared, wanted), (shared, wanted - ports)]
        left = [piece for piece in cut if all(piece)]
    return left
