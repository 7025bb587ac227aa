"""This node's kernel, as the agent uses it: the program in force, what others do to it, what it drops, connections.

Everything happens in the network namespace of the thread that makes it. Only `dropped` may be called by other threads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection

from gatewright.agent.desired import Desired, pod_ranges
from gatewright.agent.settings import Settings
from gatewright.engine.addresses import IPAddress
from gatewright.kernel.apply import apply_change, exchange, is_there, replace
from gatewright.kernel.change import Change
from gatewright.kernel.conntrack import Flow, Revocation, revoke
from gatewright.kernel.denylog import Denied, DenyLog
from gatewright.kernel.guards import NO_GUARDS, Guards
from gatewright.kernel.links import own_addresses, pod_bridges, pod_links
from gatewright.kernel.monitor import Alteration, Missed, Monitor
from gatewright.kernel.nft import NodeNft
from gatewright.kernel.preflight import bridge_problems
from gatewright.kernel.readback import holds
from gatewright.kernel.table import Program
from gatewright.objects.core import Node as NodeObject

LINKS_AGAIN = (0.05, 0.2, 1.0, 5.0)
"""Seconds after a pod of this node came, when links are looked at: its policies come first, since looking takes as long
as they do, and the network plugin may still be at it."""


class Node:
    """The kernel of this node."""

    def __init__(self, settings: Settings) -> None:
        """Raises KernelError for what is missing or not permitted."""
        self._settings = settings
        self._guards = NO_GUARDS
        self._own: NodeObject | None = None
        self._moved = False
        self._look: list[float] = []
        with contextlib.ExitStack() as stack:
            self._nft = stack.enter_context(NodeNft())
            self.monitor = stack.enter_context(Monitor(settings.table))
            self.log = stack.enter_context(DenyLog(settings.log_group)) if settings.log_group is not None else None
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Hear no more; the program stays in force."""
        self._stack.close()

    # --- the program ----------------------------------------------------------------------------------------------

    def replace(self, program: Program) -> float:
        """Hold this program, whatever our table holds; the moment (monotonic) from which it was in force.

        Raises KernelError; then nothing changed.
        """
        with self.monitor.own():
            replace(self._nft, program)
            return time.monotonic()

    def change(self, change: Change) -> float:
        """Make a change that is not torn in the program that is held; when (monotonic) it was in force.

        Raises KernelError; then what is held is not certain.
        """
        with self.monitor.own():
            apply_change(self._nft, change, self._settings.table)
            return time.monotonic()

    def exchange(self, program: Program) -> float:
        """Put this program in the place of the one that is held, whatever is different; when it was in force.

        Raises KernelError; then what is held is not certain.
        """
        with self.monitor.own():
            exchange(self._nft, program)
            return time.monotonic()

    def holds(self, program: Program) -> bool:
        """Whether the kernel holds this program, read back. Raises KernelError."""
        return holds(self._nft, program)

    def is_policed(self) -> bool:
        """Whether our table is there, from whichever agent."""
        return is_there(self._nft, self._settings.table)

    def alterations(self) -> list[Alteration | Missed]:
        """What others did to our table since the last call."""
        return self.monitor.read()

    def unfiltered(self, desired: Desired) -> tuple[str, ...]:
        """Why packets between pods of this node may bypass the program, a line each; empty: they do not."""
        ranges = pod_ranges(desired.own)
        if not pod_bridges(ranges):
            return ()
        return tuple(str(one) for one in bridge_problems({one.version for one in ranges}))

    # --- guards ---------------------------------------------------------------------------------------------------

    @property
    def links_at(self) -> float | None:
        """The moment from which links have to be looked at again; None while nobody came."""
        return self._look[0] if self._look else None

    def pods_moved(self) -> None:
        """Pods of this node came, went, or got addresses: their links have to be looked at, now and a little later."""
        now = time.monotonic()
        self._moved = True
        self._look = [now + pause for pause in LINKS_AGAIN] if self._settings.spoof_guard else []

    def guards(self, desired: Desired) -> Guards:
        """What fills the guards' sets now. Raises KernelError where links cannot be read."""
        now, own = time.monotonic(), desired.own
        looking = bool(self._look) and self._look[0] <= now
        if not looking and not self._moved and own is self._own:
            return self._guards
        known = frozenset(desired.addresses) if looking or self._settings.start_closed else NO_GUARDS.known
        links = pod_links(known) if looking else self._guards.links
        self._look = [at for at in self._look if at > now]
        self._own, self._moved = own, False
        self._guards = Guards(pod_ranges(own), known if self._settings.start_closed else NO_GUARDS.known, links)
        return self._guards

    # --- packets and connections ----------------------------------------------------------------------------------

    def drops(self) -> list[Denied]:
        """What was dropped, or would have been, since the last call."""
        return self.log.read() if self.log is not None else []

    @property
    def lost(self) -> int:
        """Logged drops that could not be read in time."""
        return self.log.lost if self.log is not None else 0

    def revoke(self, allowed: Callable[[Flow], bool], pods: Collection[IPAddress]) -> Revocation:
        """End the connections of these pods that are not allowed, let those go on that are. Raises KernelError."""
        return revoke(allowed, pods=pods, node=own_addresses())
