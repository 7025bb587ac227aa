"""Makes the kernel hold a program, says what it holds, and takes it away.

The kernel changes from one program to the next in a single transaction. Whoever keeps a `NodeProgram` and hears of
everything that others do to the table (the agent) calls `apply_change`: it sends the change and reads nothing. Others
call `apply`: where nothing at all has touched the packet filter since the last time (the kernel counts transactions of
a network namespace) only the difference is sent; else the table is read first, and replaced as a whole unless it is
what was left there.
"""

from __future__ import annotations

import dataclasses
import errno
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from gatewright.kernel.batch import can_send, filling, requests, unfilled
from gatewright.kernel.change import Change
from gatewright.kernel.delta import change_text, delta, difference
from gatewright.kernel.elements import INET
from gatewright.kernel.errors import NftRefused, NftTooLarge
from gatewright.kernel.netlink import NETLINK_NETFILTER, Netlink, Request, attributes, text_attribute
from gatewright.kernel.nft import Nft, give_back
from gatewright.kernel.options import Options
from gatewright.kernel.readback import holds, read_back
from gatewright.kernel.staging import staged, staged_change
from gatewright.kernel.table import Program
from gatewright.kernel.text import listing, removal

STANDING_IN = "-change"
"""What the name of our table is followed by, for the table that stands in while ours is made anew."""
_GET_GENERATION = 10 << 8 | 16
_GENERATION_ID = 1
_GET_TABLE, _TABLE_NAME = 10 << 8 | 1, 1
_NFGENMSG = struct.pack("=BBH", 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Applied:
    """What the kernel was left with, and the generation of the ruleset it was left in; None: somebody interfered."""

    program: Program
    generation: int | None


def apply(nft: Nft, program: Program, last: Applied | None = None) -> Applied:
    """Leaves the kernel of the calling thread's network namespace with exactly this program, atomically.

    With `last`, the answer of the call before, only the difference is sent, if the kernel still holds that program.
    Raises NftRefused, NotPermitted or NftMissing; then the kernel holds what it held.
    """
    before = generation()
    if last is not None and _holds(nft, last, before):
        change = delta(last.program, program)
        if not change:
            return Applied(program, before)
        try:
            nft.run(change)
        except NftRefused:
            before += _replace(nft, program)
        else:
            before += 1
    else:
        before += _replace(nft, program)
    after = generation()
    return Applied(program, after if after == before else None)


def apply_change(nft: Nft, change: Change, table: str = Options().table) -> None:
    """Makes a change in our table, which must hold the program that the change begins at. Nothing is read back.

    Raises NftRefused, NotPermitted or NftMissing. After NftRefused what the table holds is not what was believed:
    `replace` makes it so again; until then the kernel enforces what it held.
    """
    for part in change.in_steps():
        _make(nft, part, table)


def _make(nft: Nft, change: Change, table: str) -> int:
    """Makes a change, in how many transactions; only the last of them has an effect."""
    try:
        if can_send(change):
            _send(nft, requests(change, table))
        else:
            nft.run(change_text(change, table))
    except NftTooLarge:
        if not change.new_sets:
            if not can_send(change):
                raise
            nft.run(change_text(change, table))
            return 1
        texts = list(staged_change(change, table))
        for text in texts:
            nft.run(text)
        return len(texts)
    return 1


def _send(nft: Nft, messages: Iterable[Request]) -> None:
    with nft.netlink() as netlink:
        try:
            netlink.batch(messages)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise NftTooLarge from error
            raise NftRefused(f"a batch of messages: {error.strerror or error}") from error


def replace(nft: Nft, program: Program) -> None:
    """Leaves the kernel with exactly this program, atomically, whatever our table holds. Raises what `apply` does.

    Where there is no table yet, its sets are filled first; the rules that use them come into force at once.
    """
    if not is_there(nft, program.table):
        _begin(nft, program)
    else:
        _replace(nft, program)
    if is_there(nft, _stand_in(program).table):  # of somebody who was killed while one stood in
        remove(nft, _stand_in(program).table)


def _begin(nft: Nft, program: Program) -> int:
    """Makes a table that is not there, in how many transactions."""
    count = 0
    try:
        _send(nft, filling(program))
        count += 1
        nft.run(listing(unfilled(program)))
    except NftRefused:
        remove(nft, program.table)
        texts = list(staged(None, program))
        for text in texts:
            nft.run(text)
        return count + 1 + len(texts)
    return count + 1


def _stand_in(program: Program) -> Program:
    """The same program in another table."""
    return dataclasses.replace(program, table=f"{program.table}{STANDING_IN}")


def is_there(nft: Nft, table: str) -> bool:
    """Whether there is an `inet` table of this name. Raises NotPermitted."""
    with nft.netlink() as netlink:
        try:
            return any(True for _ in netlink.request(_GET_TABLE, 0, INET + text_attribute(_TABLE_NAME, table)))
        except FileNotFoundError:
            return False


def _replace(nft: Nft, program: Program) -> int:
    """Replaces what the table holds, in how many transactions; only the last of them has an effect.

    A table that one of our programs is in becomes the new one by what differs. One with parts that are not ours has to
    go: then another table with the new program stands in until it is there again, since the hooks of a table that goes
    and of one that comes are two, and a packet between them would meet neither.
    """
    held = read_back(nft, program.table)
    if held is None:
        return _begin(nft, program)
    change = None if held.has_foreign else difference(held, program)
    count = 0
    if change is not None and not change.is_torn:
        with suppress(NftRefused):
            count = sum(_make(nft, part, program.table) for part in change.in_steps())
            if holds(nft, program):  # a table that was read while it grew may have held more than was seen
                return count
    return count + exchange(nft, program)


def exchange(nft: Nft, program: Program) -> int:
    """Makes a table anew that is there, in how many transactions; another one stands in meanwhile.

    At every moment one of the two is whole, so a packet meets what was, what will be, or both: what either forbids is
    forbidden, what both allow is allowed. It costs two loads of the program. Raises what `apply` does.
    """
    stand_in = _stand_in(program)
    remove(nft, stand_in.table)
    try:
        count = _begin(nft, stand_in)
    except NftRefused:
        remove(nft, stand_in.table)
        raise
    remove(nft, program.table)
    count += _begin(nft, program)
    remove(nft, stand_in.table)
    give_back()
    return count + 3


def remove(nft: Nft, table: str = Options().table) -> None:
    """Takes a table of ours away, whether it is there or not. Nothing else is touched."""
    nft.run(removal(table))


def generation(nft: Nft | None = None) -> int:
    """How many transactions the packet filter has seen, of the namespace that `nft` or the calling thread is in."""
    with nft.netlink() if nft else Netlink(NETLINK_NETFILTER) as netlink:
        return ask_generation(netlink)


def ask_generation(netlink: Netlink) -> int:
    """The same, over a socket that is open."""
    for answer in netlink.request(_GET_GENERATION, 0, _NFGENMSG):
        (number,) = struct.unpack(">I", attributes(answer[4:])[_GENERATION_ID])
        return int(number)
    return 0


def _holds(nft: Nft, last: Applied, now: int) -> bool:
    return last.generation == now or holds(nft, last.program)
