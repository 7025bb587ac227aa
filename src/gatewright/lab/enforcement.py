"""What a lab's network does with policies: `enforcing` programs the kernel, `flat` accepts them and does nothing.

`flat` is there because it is what clusters without policy support do, silently; the lab says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import Outcome, verdict
from gatewright.kernel.apply import Applied, apply
from gatewright.kernel.conntrack import Flow, revoke
from gatewright.kernel.cover import PROTOCOLS
from gatewright.kernel.nft import Nft
from gatewright.kernel.node import node_program
from gatewright.lab.addresses import NODE_ADDRESSES, Plan
from gatewright.objects.meta import Object


class Enforcement(Protocol):
    """One way to treat policies."""

    name: str
    enforces: bool

    def program(self, objects: Iterable[Object]) -> None:
        """Make the kernel agree with the objects, completely. Raises GatewrightError; then nothing changed."""


class Flat:
    """No policy support: every pod reaches every pod."""

    name = "flat"
    enforces = False

    def program(self, objects: Iterable[Object]) -> None:
        """Nothing to do."""


class Enforcing:
    """Policies become the node's nftables program, and connections they no longer allow are ended."""

    name = "enforcing"
    enforces = True

    def __init__(self, plan: Plan) -> None:
        self._nft = Nft()
        self._cidrs = tuple(str(network) for network in plan.pod_networks)
        self._applied: Applied | None = None

    def program(self, objects: Iterable[Object]) -> None:
        """Compile, apply, and end the connections that are no longer allowed."""
        compiled = compile_snapshot(Snapshot.of(objects, pod_cidrs=self._cidrs))
        local = [one.index for one in compiled.endpoints if one.addresses and not one.host_network]
        self._applied = apply(self._nft, node_program(compiled, local), self._applied)
        pods = {address for index in local for address in compiled.at(index).addresses}
        revoke(lambda flow: _still_allowed(compiled, flow), pods=pods, node=NODE_ADDRESSES)


def _still_allowed(compiled: Compiled, flow: Flow) -> bool:
    protocol = PROTOCOLS.get(flow.protocol)
    return verdict(compiled, flow.source, flow.destination, protocol, flow.port).outcome is not Outcome.DENIED
