"""What the kernel holds, and whether that is a program.

A listing in JSON says everything; of a table with 67,000 elements it takes a second and a hundred megabytes. To compare
takes less: everything but the elements is listed, and those come as netlink messages, set by set. What each of them has
to be is known to the byte, so none is read. Where they seem to differ the listing decides: a kernel that writes them
otherwise costs time, and nothing else.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from gatewright.kernel import elements
from gatewright.kernel.change import NO_ELEMENTS
from gatewright.kernel.errors import NftRefused
from gatewright.kernel.listing import parse
from gatewright.kernel.netlink import DUMP
from gatewright.kernel.nft import Nft
from gatewright.kernel.options import Options
from gatewright.kernel.table import Program, Set, VerdictMap

READ_AGAIN = (0.0, 0.05, 0.2)
"""Seconds before a set is read, and before it is read again where it seemed not to hold what it should."""


def read_back(nft: Nft, table: str = Options().table) -> Program | None:
    """The program the kernel holds in our table, None when the table is not there. Equals what was applied."""
    objects = nft.list_table(table)
    return None if objects is None else parse(table, objects)


def holds(nft: Nft, program: Program) -> bool:
    """Whether our table holds exactly this program.

    A hash set that was just filled grows in the background, and a dump of it can lack elements meanwhile; so what seems
    to be different is read again. Where nft cannot list the tables of others, ours alone is listed.
    """
    try:
        objects = nft.outline(program.table)
    except NftRefused:
        return read_back(nft, program.table) == program
    if objects is None or parse(program.table, objects) != _without_elements(program):
        return False
    parts: tuple[Set | VerdictMap, ...] = (*program.sets, *program.maps)
    held = all(_holds_elements(nft, program.table, part) for part in parts)
    return held or read_back(nft, program.table) == program


def _holds_elements(nft: Nft, table: str, part: Set | VerdictMap) -> bool:
    for pause in READ_AGAIN:
        time.sleep(pause)
        if _equals(nft, table, part):
            return True
    return False


def _equals(nft: Nft, table: str, part: Set | VerdictMap) -> bool:
    if isinstance(part, Set) and not elements.is_known(part):
        return parse(table, nft.list_set(table, part.name) or ()).sets == (part,)
    missing, others = elements.dumped(part), 0
    with suppress(OSError), nft.netlink() as netlink:
        for answer in netlink.request(elements.GET_ELEMENTS, DUMP, elements.of_set(table, part.name)):
            for one in elements.pieces(answer):
                if one in missing:
                    missing.remove(one)
                else:
                    others += 1  # read to the end: the socket takes no other question before
        return not missing and not others
    return False


def _without_elements(program: Program) -> Program:
    sets = tuple(replace(part, elements=NO_ELEMENTS) for part in program.sets)
    maps = tuple(replace(part, elements=frozenset()) for part in program.maps)
    return replace(program, sets=sets, maps=maps)
