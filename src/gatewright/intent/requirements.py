"""What each component must be able to receive and send: the table a person would draw before writing policies.

Flows between the same two parties are one requirement. Which of them need a rule of their own is decided here, too: a
rule for those whom a wider rule lets through already would change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewright.engine.addresses import ALL_ADDRESSES
from gatewright.engine.model import Direction
from gatewright.engine.selectors import matches, requirements
from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL
from gatewright.intent.model import PodsOf, Port
from gatewright.intent.numbers import port_set, ports_text
from gatewright.intent.parties import Bound, Need, Party
from gatewright.intent.pieces import without


@dataclass(frozen=True, slots=True, eq=False)
class Requirement:
    """What a component receives from a peer, or sends to it, and the flows that say so."""

    component: Party
    direction: Direction
    peer: Party
    ports: tuple[Port, ...]
    needs: tuple[Need, ...]

    @property
    def destination(self) -> Party:
        """On whose pods the ports are."""
        return self.component if self.direction is Direction.INGRESS else self.peer

    def __str__(self) -> str:
        ends = (self.peer, self.component) if self.direction is Direction.INGRESS else (self.component, self.peer)
        return f"{ends[0].name} -> {ends[1].name} : {ports_text(self.ports)}"


def requirements_of(bound: Bound) -> tuple[Requirement, ...]:
    """Every requirement: by component, ingress first, the widest peers first."""
    found: dict[tuple[Party, Direction, Party], list[Need]] = {}
    for need in bound.flows:
        if need.destination.is_component:
            found.setdefault((need.destination, Direction.INGRESS, need.source), []).append(need)
        if need.source.is_component:
            found.setdefault((need.source, Direction.EGRESS, need.destination), []).append(need)
    made = [
        Requirement(component, direction, peer, _joined(needs), tuple(sorted(needs, key=str)))
        for (component, direction, peer), needs in found.items()
    ]
    return tuple(sorted(made, key=_order))


def _joined(needs: Iterable[Need]) -> tuple[Port, ...]:
    return tuple(sorted({port for need in needs for port in need.ports}, key=lambda port: (port.protocol or "", port)))


def _order(one: Requirement) -> tuple[object, ...]:
    return (one.component.name, one.direction is Direction.EGRESS, one.peer.rank)


def needed(every: Iterable[Requirement]) -> dict[Requirement, list[Requirement]]:
    """The requirements of one component and direction that need a rule, each with those that its rule serves too."""
    kept = list(every)
    dropped: list[Requirement] = []
    for one in reversed(list(kept)):
        others = [other for other in kept if other is not one and _touches(other, one)]
        if others and _is_covered(one, others):
            kept.remove(one)
            dropped.append(one)
    served: dict[Requirement, list[Requirement]] = {one: [] for one in kept}
    for one in reversed(dropped):
        first = next((other for other in kept if _touches(other, one)), None)
        if first is not None:
            served[first].append(one)
    return served


def _touches(wide: Requirement, narrow: Requirement) -> bool:
    """Whether a rule for one requirement lets any of another one's peers through."""
    if wide.peer.pods is None:
        return True
    if wide.peer.is_component and narrow.peer.is_component:
        return False
    return narrow.peer.pods is not None and implies(narrow.peer.pods, wide.peer.pods)


def _is_covered(one: Requirement, others: list[Requirement]) -> bool:
    who = one.peer.addresses or ALL_ADDRESSES
    for names in one.destination.port_names:
        taken = ((other.peer.addresses or ALL_ADDRESSES, port_set(other.ports, names)) for other in others)
        if without([(who, port_set(one.ports, names))], taken):
            return False
    return True


def implies(narrow: PodsOf, wide: PodsOf) -> bool:
    """Whether every pod that one selector matches is surely matched by the other."""
    if not set(requirements(wide.labels)) <= set(requirements(narrow.labels)):
        return False
    if wide.namespaces is None:
        return narrow.namespaces is None and narrow.namespace == wide.namespace
    if narrow.namespaces is None:
        keys = {key for key, _, _ in requirements(wide.namespaces)}
        return keys <= {NAMESPACE_NAME_LABEL} and matches(wide.namespaces, {NAMESPACE_NAME_LABEL: narrow.namespace})
    return set(requirements(wide.namespaces)) <= set(requirements(narrow.namespaces))
