"""One Service's share of the node's table: chains and sets of its own, and its elements in the maps of all.

Pure: `piece` is a function of the Service's fronts alone, so Services are worked out one by one. Names come from the
Service, never from a count: a Service that comes or goes changes no other's chains.

    services_vN, node_ports_vN ─► cluster/F ─► destination     the whole cluster's endpoints
                                ► local/F   ─► destination     this node's
                                ► external/F: marks for masquerade where the policy is Cluster, then one of the two
    closed_vN, closed_node_ports_vN: what is refused or dropped for want of an endpoint
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gatewright.engine.addresses import IPAddress
from gatewright.lab.proxy.fronts import Front, Target

MASQUERADE = 0x4000
"""The bit of a packet's mark that says: has to look as if the node had sent it. kube-proxy's bit."""
POD_LINKS = "pod*"
"""What the links of this node's pods are called."""
REFUSE = "refuse"
"""The chain that refuses."""

Rules = tuple[str, ...]
Slot = tuple[str, str]
"""(map or set, element of it)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A share of the table: chains with their rules, sets that remember clients with their type, elements.

    An element of a set says nothing (empty text), one of a map a verdict.
    """

    chains: dict[str, Rules] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: dict[Slot, str] = field(default_factory=dict)


NOTHING = Piece()


def piece(fronts: Iterable[Front]) -> Piece:
    """The share of a Service with these fronts."""
    chains: dict[str, Rules] = {}
    sets: dict[str, str] = {}
    elements: dict[Slot, str] = {}
    for front in fronts:
        chains.update(_chains(front))
        for slot, verdict in _elements(front):
            elements.setdefault(slot, verdict)
        if front.affinity:
            sets |= {memory(front, target): f"ipv{front.version}_addr" for target in front.targets}
    return Piece(chains, sets, elements)


def _elements(front: Front) -> Iterator[tuple[Slot, str]]:
    key = f"{front.protocol} . {front.port}"
    maps = (f"services_v{front.version}", f"closed_v{front.version}")
    yield (f"addresses_v{front.version}", str(front.address)), ""
    if front.inside:
        yield (maps[0], f"{front.address} . {key}"), f"goto {_policy(front.internal_local)}/{front.name}"
    else:
        yield (maps[1], f"{front.address} . {key}"), _closed(front)
    for address in front.external:
        yield from _reached(front, maps, f"{address} . {key}")
    if front.node_port:
        own = (f"node_ports_v{front.version}", f"closed_node_ports_v{front.version}")
        yield from _reached(front, own, f"{front.protocol} . {front.node_port}")
    for address in front.near:
        yield (f"hairpin_v{front.version}", f"{address} . {address}"), ""


def _reached(front: Front, maps: tuple[str, str], key: str) -> Iterator[tuple[Slot, str]]:
    """How it is reached from outside of the cluster. Pods and the node itself may still find what others do not."""
    if front.everyone:
        yield (maps[0], key), f"goto external/{front.name}"
    if not front.outside:
        yield (maps[1], key), _closed(front)


def _closed(front: Front) -> str:
    """Without any endpoint a connection is refused; endpoints that are only elsewhere are somebody else's to offer."""
    return "drop" if front.everyone else f"goto {REFUSE}"


def _policy(local: bool) -> str:
    return "local" if local else "cluster"


def _chains(front: Front) -> Iterator[tuple[str, Rules]]:
    exposed = bool(front.node_port or front.external)
    if front.everyone and (exposed or not front.internal_local):
        yield f"cluster/{front.name}", tuple(_balance(front, front.everyone))
    if front.local and (front.internal_local or (exposed and front.external_local)):
        yield f"local/{front.name}", tuple(_balance(front, front.local))
    if exposed and front.everyone:
        yield f"external/{front.name}", tuple(_external(front))
    if front.affinity:
        for target in front.targets:
            yield _endpoint(front, target), (_remember(front, target), _translate(front, target))


def _external(front: Front) -> Iterator[str]:
    """Under the policy Local, pods and the node itself reach every endpoint as if by the cluster address."""
    everyone = f"cluster/{front.name}"
    mark = f"meta mark set meta mark | {MASQUERADE:#x}"
    if not front.external_local:
        yield mark
        yield f"goto {everyone}"
        return
    yield f'iifname "{POD_LINKS}" goto {everyone}'
    yield f"fib saddr type local {mark} goto {everyone}"
    if front.local:
        yield f"goto local/{front.name}"


def _balance(front: Front, targets: tuple[Target, ...]) -> Iterator[str]:
    """A target at random; the one that the client had before, where clients are remembered."""
    if front.affinity:
        family = _family(front.version)
        for target in targets:
            yield f"{family} saddr @{memory(front, target)} goto {_endpoint(front, target)}"
        choices = ", ".join(f"{number} : goto {_endpoint(front, target)}" for number, target in enumerate(targets))
        yield f"numgen random mod {len(targets)} vmap {{ {choices} }}"
    elif len(targets) == 1:
        yield _translate(front, targets[0])
    else:
        pairs = ", ".join(f"{number} : {one.address} . {one.port}" for number, one in enumerate(targets))
        choice = f"numgen random mod {len(targets)} map {{ {pairs} }}"
        yield f"meta l4proto {front.protocol} dnat {_family(front.version)} addr . port to {choice}"


def _translate(front: Front, target: Target) -> str:
    return f"meta l4proto {front.protocol} dnat {_family(front.version)} to {_bracketed(target.address)}:{target.port}"


def _remember(front: Front, target: Target) -> str:
    timeout = f"timeout {front.affinity}s"
    return f"update @{memory(front, target)} {{ {_family(front.version)} saddr {timeout} }}"


def memory(front: Front, target: Target) -> str:
    """The set of clients that a target has."""
    return f"clients/{front.name}/{_place(target)}"


def _endpoint(front: Front, target: Target) -> str:
    return f"endpoint/{front.name}/{_place(target)}"


def _place(target: Target) -> str:
    """A target as a part of a name, which may hold no colon."""
    return f"{str(target.address).replace(':', '.')}/{target.port}"


def _bracketed(address: IPAddress) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _family(version: int) -> str:
    return "ip" if version == 4 else "ip6"
