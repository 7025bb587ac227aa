"""A program that is too large for one netlink message, in several transactions of which only the last has an effect.

Without privilege over the machine the kernel takes a few thousand elements a message (`net.core.wmem_default`). Sets
that no rule names yet change nothing, so they are filled first, piece by piece; the rules that use them then come into
force in one transaction, as ever. What cannot be staged is a change of very many elements in a set that is in use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from gatewright.kernel.delta import declaration, delta
from gatewright.kernel.table import Program
from gatewright.kernel.text import listing, set_elements

PIECE = 2000
"""Elements a transaction; the widest, an IPv6 range, takes some 150 bytes of the 208 KiB every socket may send."""


def staged(old: Program | None, new: Program) -> Iterator[str]:
    """The transactions that lead from what the kernel holds (None: no table) to the new program."""
    before = {part.name for part in old.sets} if old else set()
    fresh = tuple(part for part in new.sets if part.name not in before)
    table = f"inet {new.table}"
    yield f"add table {table}\n" + "".join(f"{declaration(table, part)}\n" for part in fresh)
    for part in fresh:
        words = set_elements(part, part.elements)
        for start in range(0, len(words), PIECE):
            piece = ", ".join(words[start : start + PIECE])
            yield f"add element {table} {part.name} {{ {piece} }}\n"
    if old is None:
        yield listing(dataclasses.replace(new, sets=()))
    else:
        yield delta(Program.of(old.table, (*old.sets, *fresh), old.maps, old.chains, old.counters, old.limits), new)
