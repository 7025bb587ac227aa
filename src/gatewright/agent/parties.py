"""Who an address is: the kernel speaks of addresses, the rules of pods."""

from __future__ import annotations

from gatewright.engine.addresses import IPAddress
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Endpoint


def holder(compiled: Compiled, address: IPAddress) -> Endpoint | None:
    """The pod that has an address; None for an address that is no pod's, or a node's.

    Two pods can claim one for a moment, while the last owner is on its way out; one that rules are about goes first.
    """
    held = [compiled.at(position) for position in compiled.holders.get(address, ())]
    pods = [one for one in held if not one.host_network]
    return next((one for one in pods if compiled.is_subject(one.index)), pods[0] if pods else None)


def party(compiled: Compiled, address: IPAddress) -> Endpoint | IPAddress:
    """The pod that has an address, else the address itself."""
    return holder(compiled, address) or address
