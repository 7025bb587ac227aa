"""The endpoints of a stage by what the model says of them, and what it lets one group send to another.

Endpoints of one component, with the same port names and the same place among the outside addresses, form a group. What
is no component is restricted by nothing in the model; so what may pass is what both sides let pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from gatewright.engine.addresses import EVERY_V4, EVERY_V6, AddressSet
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Peers
from gatewright.engine.parts import EVERYTHING, NOTHING, Access
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import NO_TRAFFIC, Protocol, Ranges
from gatewright.engine.verdict import matches_peer
from gatewright.intent.model import Port
from gatewright.intent.numbers import NamedPorts, port_set
from gatewright.intent.parties import Bound, Need, Party
from gatewright.intent.pieces import without
from gatewright.intent.stage import Stage

Ports = tuple[Port, ...]


class _Signature(NamedTuple):
    """What makes endpoints alike."""

    component: Party | None
    within: tuple[bool | None, ...]
    named_ports: tuple[tuple[tuple[str, Protocol], Ranges], ...]
    closed: bool
    node: str
    host_network: bool
    awaited: bool


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Endpoints alike. `within` says of each outside party whether they are of it: None where that is not known yet.

    `closed` are pods of nobody's that may send and receive nothing (a whole namespace is denied by default).
    `node` is set where host-network pods stand on the same node: they may always reach the group. Of `awaited` pods,
    who are not there, the model demands nothing: they may not do more than it says.
    """

    component: Party | None
    members: PodSet
    within: dict[Party, bool | None]
    named_ports: NamedPorts
    closed: bool
    node: str
    host_network: bool
    awaited: bool = False


@dataclass(frozen=True, eq=False)
class Model:
    """What the model says about the endpoints of a stage, in one address family."""

    bound: Bound
    groups: tuple[Group, ...]
    of: tuple[int, ...]
    """The number of each endpoint's group."""
    pod_addresses: AddressSet
    """Where addresses that are not known yet may lie."""
    _known: dict[tuple[int, int], Access] = field(default_factory=dict)
    _members: dict[Party, PodSet] = field(default_factory=dict)

    def split(self, pods: PodSet) -> dict[int, PodSet]:
        """A set of endpoints by the number of their groups."""
        numbers = {self.of[index] for index in pods}
        return {number: pods & self.groups[number].members for number in sorted(numbers)}

    @cached_property
    def _by_party(self) -> dict[Party, list[int]]:
        found: dict[Party, list[int]] = {}
        for number, group in enumerate(self.groups):
            if group.awaited:
                continue
            parties = [party for party, inside in group.within.items() if inside]
            for party in (*parties, *([group.component] if group.component else ())):
                found.setdefault(party, []).append(number)
        return found

    @cached_property
    def _leaving(self) -> dict[Party, list[Need]]:
        found: dict[Party, list[Need]] = {}
        for need in self.bound.flows:
            found.setdefault(need.source, []).append(need)
        return found

    @cached_property
    def _arriving(self) -> dict[Party, list[Need]]:
        found: dict[Party, list[Need]] = {}
        for need in self.bound.flows:
            found.setdefault(need.destination, []).append(need)
        return found

    def leaving(self, party: Party) -> Sequence[Need]:
        """The flows from a party."""
        return self._leaving.get(party, ())

    def arriving(self, party: Party) -> Sequence[Need]:
        """The flows to a party."""
        return self._arriving.get(party, ())

    def numbers(self, party: Party) -> list[int]:
        """The numbers of the groups that are surely of a party, and there."""
        return self._by_party.get(party, [])

    def members(self, party: Party) -> PodSet:
        """The endpoints that are surely of a party, and there."""
        known = self._members.get(party)
        if known is None:
            known = self._members[party] = PodSet.union(self.groups[one].members for one in self.numbers(party))
        return known

    def allows(self, source: int, destination: int) -> Access:
        """The most that may pass from one group to another: surely, and if unknown addresses turn out so."""
        known = self._known.get((source, destination))
        if known is None:
            known = self._known[source, destination] = self._allows(self.groups[source], self.groups[destination])
        return known

    def _allows(self, source: Group, destination: Group) -> Access:
        if source.host_network and source.node == destination.node:
            return EVERYTHING
        return self.leaves(source, destination) & self.arrives(source, destination)

    def leaves(self, source: Group, destination: Group) -> Access:
        """The most that one group may send to another, whatever that may receive."""
        if source.component is None:
            return NOTHING if source.closed else EVERYTHING
        needs = self.leaving(source.component)
        return self._permitted(((one.destination, one.ports) for one in needs), destination, destination.named_ports)

    def arrives(self, source: Group, destination: Group) -> Access:
        """The most that one group may receive from another, whatever that may send."""
        if destination.component is None:
            return NOTHING if destination.closed else EVERYTHING
        needs = self.arriving(destination.component)
        return self._permitted(((one.source, one.ports) for one in needs), source, destination.named_ports)

    def _permitted(self, peers: Iterable[tuple[Party, Ports]], group: Group, named: NamedPorts) -> Access:
        """What flows with some peers permit to a group. Blocks that together cover its address surely cover it."""
        sure, unsure = NO_TRAFFIC, []
        for party, ports in peers:
            inside = holds(party, group)
            if inside:
                sure |= port_set(ports, named)
            elif inside is None:
                unsure.append((party.addresses, port_set(ports, named)))
        if not unsure:
            return Access(sure, sure)
        possible = sure
        for _, numbers in unsure:
            possible |= numbers
        left = without([(self.pod_addresses, possible - sure)], unsure)
        uncovered = NO_TRAFFIC
        for _, numbers in left:
            uncovered |= numbers
        return Access(possible - uncovered, possible)


def holds(party: Party, group: Group) -> bool | None:
    """Whether a group is of a party; None where that depends on addresses that are not known yet."""
    return group.component is party if party.is_component else group.within.get(party, False)


def model_of(stage: Stage, compiled: Compiled, family: int, closed: frozenset[str] = frozenset()) -> Model:
    """The model on a stage. `closed` are the namespaces in which everything is denied by default."""
    bound = stage.bound
    component: dict[int, Party] = {}
    for party in bound.components:
        component |= dict.fromkeys(stage.objects.members(party.pods) if party.pods else (), party)
    outer = [party for party in bound.parties if not party.is_component]
    pods = {party: stage.objects.members(party.pods) for party in outer if party.pods is not None}
    blocks = {party: Peers(addresses=party.addresses) for party in outer if party.pods is None}
    hosts = {one.node for one in compiled.endpoints if one.host_network}
    found: dict[_Signature, list[int]] = {}
    for one in compiled.endpoints:
        within = (
            *(one.index in members for members in pods.values()),
            *(matches_peer(compiled, peers, one, family) for peers in blocks.values()),
        )
        owner = component.get(one.index)
        named = tuple(sorted(one.named_ports.items()))
        node = one.node if one.node in hosts else ""
        closing = owner is None and one.namespace in closed
        signature = _Signature(owner, within, named, closing, node, one.host_network, stage.is_awaited(one))
        found.setdefault(signature, []).append(one.index)
    groups, numbers = [], [0] * compiled.snapshot.roster.capacity
    for number, (alike, indices) in enumerate(found.items()):
        parties = dict(zip((*pods, *blocks), alike.within, strict=True))
        named_ports = dict(alike.named_ports)
        groups.append(Group(alike.component, PodSet.of(indices), parties, named_ports, *alike[3:]))
        for index in indices:
            numbers[index] = number
    every = AddressSet(v4=EVERY_V4) if family == 4 else AddressSet(v6=EVERY_V6)
    pod_addresses = (stage.snapshot.pod_range or every) & every
    return Model(bound, tuple(groups), tuple(numbers), pod_addresses)
