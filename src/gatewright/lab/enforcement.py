"""What a lab's network does with policies: `enforcing` programs the kernel, `flat` accepts them and does nothing.

`flat` is there because it is what clusters without policy support do, silently; the lab says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gatewright.lab.addresses import Plan
from gatewright.objects.meta import Object


class Enforcement(Protocol):
    """One way to treat policies."""

    name: str
    enforces: bool

    def program(self, objects: Iterable[Object]) -> None:
        """Make the kernel agree with the objects, at once and completely. Raises GatewrightError; then nothing changed."""


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
        from gatewright.kernel.nft import Nft

        self._nft = Nft()
        self._cidrs = tuple(str(network) for network in plan.pod_networks)

    def program(self, objects: Iterable[Object]) -> None:
        """Compile and apply."""
        from gatewright.engine.compile import compile_snapshot
        from gatewright.engine.snapshot import Snapshot
        from gatewright.kernel.program import node_program
        from gatewright.kernel.text import whole

        compiled = compile_snapshot(Snapshot.of(objects, pod_cidrs=self._cidrs))
        local = [one.index for one in compiled.endpoints if one.addresses and not one.host_network]
        self._nft.run(whole(node_program(compiled, local)))
