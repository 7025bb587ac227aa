"""Takes away what agents left on a node: the table, our bit of connections' marks, the socket file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gatewright.agent.http import answers
from gatewright.errors import GatewrightError
from gatewright.kernel.apply import STANDING_IN, is_there, remove
from gatewright.kernel.conntrack import forget_marks
from gatewright.kernel.nft import Nft
from gatewright.kernel.options import Options


class StillRunning(GatewrightError):
    """An agent would put everything back at once."""


def cleanup(table: str, socket: Path) -> Iterator[str]:
    """Take everything away, and say what; nothing where there is nothing. Raises StillRunning, KernelError."""
    if answers(socket):
        raise StillRunning(f"an agent is running and answers on {socket}; end it first, it would put the table back")
    nft = Nft()
    there = is_there(nft, table)
    for name in (table, f"{table}{STANDING_IN}"):
        remove(nft, name)
    yield f"table inet {table}: {'taken away, no policy is in force on this node' if there else 'was not there'}"
    marks = forget_marks(Options().revoked_mask)
    yield f"connections marked as ended: {marks}"
    if socket.exists():
        socket.unlink()
        yield f"{socket}: taken away"
