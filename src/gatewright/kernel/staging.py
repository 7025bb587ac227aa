"""What is too large for one netlink message, in several transactions of which only the last has an effect.

Without privilege over the machine the kernel takes a few thousand elements a message (`net.core.wmem_default`). Sets
that no rule names yet change nothing, so they are filled first, piece by piece; the rules that use them then come into
force in one transaction, as ever. What cannot be staged is a change of very many elements in a set that is in use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from gatewright.kernel.change import NO_ELEMENTS, Change
from gatewright.kernel.delta import change_text, declaration, delta
from gatewright.kernel.table import Program, Set
from gatewright.kernel.text import listing, set_elements

PIECE = 2000
"""Elements a transaction; the widest, an IPv6 range, takes some 150 bytes of the 208 KiB every socket may send."""


def staged(old: Program | None, new: Program) -> Iterator[str]:
    """The transactions that lead from what the kernel holds (None: no table) to the new program."""
    before = {part.name for part in old.sets} if old else set()
    fresh = tuple(part for part in new.sets if part.name not in before)
    yield from _filled(fresh, new.table)
    if old is None:
        yield listing(dataclasses.replace(new, sets=()))
    else:
        yield delta(Program.of(old.table, (*old.sets, *fresh), old.maps, old.chains, old.counters, old.limits), new)


def staged_change(change: Change, table: str) -> Iterator[str]:
    """The transactions that make a change: its new sets are filled before."""
    yield from _filled(change.new_sets, table)
    there = tuple(dataclasses.replace(part, elements=NO_ELEMENTS) for part in change.new_sets)
    yield change_text(dataclasses.replace(change, new_sets=there), table)


def _filled(parts: Sequence[Set], name: str) -> Iterator[str]:
    table = f"inet {name}"
    yield f"add table {table}\n" + "".join(f"{declaration(table, part)}\n" for part in parts)
    for part in parts:
        words = set_elements(part, part.elements)
        for start in range(0, len(words), PIECE):
            piece = ", ".join(words[start : start + PIECE])
            yield f"add element {table} {part.name} {{ {piece} }}\n"
