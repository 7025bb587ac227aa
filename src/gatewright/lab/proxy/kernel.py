"""The node's table in its kernel: changed by what differs, replaced whole where it is not certain what is there.

Everything happens in the network namespace of the thread that makes it. The table outlives the proxy; a proxy that
starts again replaces it in one transaction and leaves the memory of which client has which endpoint as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from gatewright.kernel.errors import NftTooLarge
from gatewright.kernel.monitor import Alteration, Missed, Monitor
from gatewright.kernel.nft import Nft, NodeNft
from gatewright.lab.proxy.table import TABLE, Delta, Table

OWNERS_AT_ONCE = 50
"""Services in one transaction of a process that may not send all of them."""


class Kernel:
    """This node's kernel, as the proxy uses it. Raises KernelError for what is missing or not permitted."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self._nft = stack.enter_context(NodeNft())
            self.monitor = stack.enter_context(Monitor(TABLE))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Hear no more; the table stays in force."""
        self._stack.close()

    def replace(self, table: Table) -> None:
        """Hold this table, whatever is there. Raises KernelError.

        One transaction, unless the kernel takes no such large one from an unprivileged process: then several.
        """
        whole = table.whole(clients(self._nft, table.sets))
        with self.monitor.own():
            try:
                self._nft.run(whole)
                return
            except NftTooLarge:
                pass
        for text in table.in_steps(OWNERS_AT_ONCE):
            with self.monitor.own():
                self._nft.run(text)

    def change(self, delta: Delta) -> None:
        """Make a change of the table that is held. Raises KernelError; then what is held is not certain."""
        with self.monitor.own():
            self._nft.run(delta.text())

    def alterations(self) -> list[Alteration | Missed]:
        """What others did to the table since the last call."""
        return self.monitor.read()


def clients(nft: Nft, wanted: Iterable[str]) -> dict[str, list[str]]:
    """The elements of these sets as the kernel holds them, as text that puts them back with the time they have."""
    names = frozenset(wanted)
    if not names:
        return {}
    listed = nft.list_table(TABLE) or []
    parts = (part for entry in listed if isinstance(part := entry.get("set"), dict))
    return {part["name"]: _remembered(part) for part in parts if part["name"] in names}


def _remembered(part: Mapping[str, Any]) -> list[str]:
    """A client whose timeout was changed has more time left than the timeout it came with, which nft would refuse."""
    entries = [one["elem"] for one in part.get("elem", ()) if "elem" in one]
    return [
        f"{one['val']} timeout {max(one['timeout'], one['expires'])}s expires {one['expires']}s"
        for one in entries
        if one["expires"]
    ]
