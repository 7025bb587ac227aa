"""Says within milliseconds that somebody else touched our table.

The kernel numbers the transactions of the packet filter, and the number alone says nothing: service proxies change
their own tables all day long. But it also tells what each transaction changed, and who made it. Here that is cut down
to transactions that touch our table and that are not ours.

Which are ours: those by which the number rose while a thread of ours made them (`Monitor.own`), if they are of the one
that made all of them when that thread first did. Our own idea of a process id would not do: the kernel's are the
machine's, a container sees others. Where `nft` runs as a process of its own, every id is another, and a rise by more
than one stays doubtful. What is doubtful counts as not ours; the caller reads the table once in vain.

When the kernel had to throw notifications away, that is said too: the table may have been altered.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gatewright.kernel.apply import ask_generation
from gatewright.kernel.errors import NetlinkFailed, NotPermitted
from gatewright.kernel.netlink import NETLINK_NETFILTER, Listener, Message, Netlink, attributes
from gatewright.kernel.nft import COMMAND

_GROUP = 7
"""NFNLGRP_NFTABLES."""
_SUBSYSTEM, _INET = 10, 1
_NEW_TABLE, _DELETE_TABLE, _NEW_GENERATION = 0, 2, 15
_GENERATION_ID, _PROCESS, _PROCESS_NAME, _TABLE_NAME = 1, 2, 3, 1
_BUFFER = 8 << 20
_MOST_READS = 256
"""In one call; what is still there keeps the descriptor readable."""
_REMEMBERED = 4096
"""Times that we made transactions, should their notifications be read late."""


@dataclass(frozen=True, slots=True)
class Alteration:
    """A transaction of somebody else that touched our table. `removed`: the table is not there any more.

    `program` and `pid` are the kernel's words for who it was; a pid is one of the machine's, not of our container.
    """

    generation: int
    program: str
    pid: int
    removed: bool

    def __str__(self) -> str:
        return f"table {'removed' if self.removed else 'altered'} by {self.program} ({self.pid})"


@dataclass(frozen=True, slots=True)
class Missed:
    """The kernel threw notifications away: the table may have been altered."""

    def __str__(self) -> str:
        return "table may have been altered: more was changed than could be followed"


class Monitor:
    """Follows one `inet` table, in the network namespace of the thread that makes it. For a selector."""

    def __init__(self, table: str, buffer: int = _BUFFER) -> None:
        """Raises NotPermitted or NetlinkFailed."""
        self._transaction = _Transaction(table.encode() + b"\0")
        self._own: deque[tuple[range, int]] = deque(maxlen=_REMEMBERED)
        self._name = Path("/proc/thread-self/comm").read_text().rstrip("\n")
        self._pids: dict[int, int] = {}
        self._strangers: set[int] = set()
        self._seen: dict[int, tuple[str, int]] = {}
        with ExitStack() as stack:
            self._listener = stack.enter_context(Listener(NETLINK_NETFILTER, buffer))
            self._asking = stack.enter_context(Netlink(NETLINK_NETFILTER))
            _join(self._listener)
            self._stack = stack.pop_all()
        self._listener.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor that becomes readable when the packet filter changed."""
        return self._listener.fileno()

    def close(self) -> None:
        """Stops following."""
        self._stack.close()

    @contextmanager
    def own(self) -> Iterator[None]:
        """What changes the packet filter in it, on the calling thread, is our own. Not to be read meanwhile.

        If it raises, nothing counts as ours: the table holds what nobody is sure of.
        """
        before = ask_generation(self._asking)
        yield
        thread = threading.get_native_id()
        self._own.append((range(before + 1, ask_generation(self._asking) + 1), thread))
        if thread not in self._pids:
            self._strangers.add(thread)

    def read(self) -> list[Alteration | Missed]:
        """What others did to our table since, without waiting. While there is more, the descriptor stays readable."""
        missed: list[Missed] = []
        ended: list[_Ended] = []
        for _ in range(_MOST_READS):
            received = self._listener.receive()
            if received is None:
                self._transaction.forget()
                missed.append(Missed())
                continue
            if not received:
                break
            ended += [one for message in received if (one := self._transaction.take(message)) is not None]
        if self._strangers:
            self._learn(ended)
        return [*missed, *(one.alteration for one in ended if one.touched and not self._is_own(one.alteration))]

    def _learn(self, ended: Sequence[_Ended]) -> None:
        """Who our threads are to the kernel: one of our name made all by which the number rose while ours was at it."""
        seen = self._seen
        seen.update((one.alteration.generation, (one.alteration.program, one.alteration.pid)) for one in ended)
        for made, thread in self._own:
            who = {seen.get(number) for number in made} if thread in self._strangers else set()
            if len(who) == 1 and (found := who.pop()) is not None and found[0] == self._name:
                self._pids[thread] = found[1]
                self._strangers.remove(thread)
        if not self._strangers:
            seen.clear()
        for number in list(seen)[:-_REMEMBERED]:
            del seen[number]

    def _is_own(self, done: Alteration) -> bool:
        made, thread = next((own for own in reversed(self._own) if done.generation in own[0]), (range(0), 0))
        return len(made) == 1 if done.program == COMMAND else bool(made) and done.pid == self._pids.get(thread)


def _join(listener: Listener) -> None:
    try:
        listener.join(_GROUP)
    except PermissionError as error:
        raise NotPermitted("follow changes of the packet filter") from error
    except OSError as error:
        raise NetlinkFailed(f"changes of the packet filter cannot be followed: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Ended:
    """A transaction as an alteration of our table, and whether it touched that at all."""

    alteration: Alteration
    touched: bool


class _Transaction:
    """Messages of one transaction: what it changed, then who made it."""

    def __init__(self, table: bytes) -> None:
        self._table = table
        self.forget()

    def forget(self) -> None:
        """Nothing was seen."""
        self._touched = self._there = False

    def take(self, message: Message) -> _Ended | None:
        """Takes the next message; gives the transaction when it ends."""
        if message.kind >> 8 != _SUBSYSTEM:
            return None
        kind = message.kind & 0xFF
        if kind == _NEW_GENERATION:
            return self._end(attributes(message.body[4:]))
        about_tables = kind in (_NEW_TABLE, _DELETE_TABLE)
        if self._touched and not about_tables:
            return None  # thousands of elements may follow, which say nothing more
        if message.body[0] == _INET and attributes(message.body[4:]).get(_TABLE_NAME) == self._table:
            self._there = kind != _DELETE_TABLE
            self._touched = True
        return None

    def _end(self, found: dict[int, bytes]) -> _Ended:
        touched, there = self._touched, self._there
        self.forget()
        (generation,) = struct.unpack(">I", found[_GENERATION_ID])
        program = found.get(_PROCESS_NAME, b"?").rstrip(b"\0").decode(errors="replace")
        pid = int.from_bytes(found.get(_PROCESS, b""), "big")
        return _Ended(Alteration(generation, program, pid, not there), touched)
