"""UDP "connections" that lead where they should not: kept in conntrack as long as somebody sends.

A client that goes on sending from one port keeps its entry, and with it the endpoint that was chosen at the beginning:
after that endpoint is gone its packets are lost, and a client that sent before there was any endpoint is never
translated at all. Forgotten entries begin anew. TCP needs none of this: it ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gatewright.engine.addresses import IPAddress
from gatewright.kernel.conntrack import Flow
from gatewright.lab.proxy.fronts import Front, Target

UDP = 17
Places = Mapping[Target, frozenset[Target]]
"""Where Services are reached by UDP, and the endpoints that may keep what they have."""


def places(fronts: Iterable[Front], addresses: Iterable[IPAddress]) -> dict[Target, frozenset[Target]]:
    """The places of these fronts, on a node with these addresses."""
    own = tuple(addresses)
    return {place: front.kept for front in fronts if front.protocol == "udp" for place in _reached(front, own)}


def _reached(front: Front, addresses: tuple[IPAddress, ...]) -> Iterator[Target]:
    yield Target(front.address, front.port)
    yield from (Target(address, front.port) for address in front.external)
    if front.node_port:
        yield from (Target(one, front.node_port) for one in addresses if one.version == front.version)


def leave_behind(before: Places, after: Places) -> bool:
    """Whether stale entries are possible after a change: an endpoint went, or a place got its first one."""
    return any(before.get(place, frozenset()) - kept or not before.get(place) for place, kept in after.items())


def is_stale(flow: Flow, reached: Places) -> bool:
    """Whether the entry's packets go to a Service, and end at none of its endpoints.

    A place without endpoints leaves an entry alone: there is nothing better to lead its packets to.
    """
    kept = reached.get(Target(flow.original.destination, flow.original.destination_port))
    return bool(kept) and Target(flow.reply.source, flow.reply.source_port) not in (kept or ())
