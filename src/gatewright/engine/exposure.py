"""Which workloads can be reached from outside, through what, and whether the policies let it through.

Policies see the pod and the port where a way ends, and who opens that last connection:

- A NodePort, load balancer, external address or host port: an address outside. The answer is allowed when every such
  address may, denied when none may, and depends on the client's address in between.
- An Ingress, Gateway or Route: the proxy that serves it. Where its pods are named, they are asked about. Else it may
  run anywhere, in the cluster or outside: the answer is allowed when every source may, denied when none may, and
  depends on where the proxy runs in between.

Only the ingress side is judged where the source is not known, since nothing is known of the source's own policies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatewright.engine.addresses import ALL_ADDRESSES, FAMILIES, NO_ADDRESSES, AddressSet, IPAddress
from gatewright.engine.compile import Compiled
from gatewright.engine.connectivity import connectivity, families_in_use
from gatewright.engine.model import Direction, Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import PortSet, Protocol
from gatewright.engine.verdict import Outcome, Party, Side, judge_side, verdict
from gatewright.engine.ways import Nowhere, Way, ways


@dataclass(frozen=True, slots=True)
class Exposure:
    """One port of one endpoint at the end of a way, and what becomes of connections there.

    Where the outcome depends, `addresses` and `pods` are the sources that may. `side` is what decided it for one of
    them, or, where none may, for any.
    """

    way: Way
    endpoint: Endpoint
    port: int
    outcome: Outcome
    side: Side
    addresses: AddressSet = NO_ADDRESSES
    pods: PodSet = NO_PODS


@dataclass(frozen=True, slots=True)
class Exposures:
    """Everything that is declared to be reachable from outside, and what is declared but leads nowhere."""

    found: tuple[Exposure, ...]
    nowhere: tuple[Nowhere, ...]


def exposures(compiled: Compiled, controllers: Iterable[Party] = ()) -> Exposures:
    """Judge every way into the cluster. `controllers` are the pods (or addresses) that serve Ingresses and routes."""
    every = list(ways(compiled))
    judge = _Judge(compiled, tuple(controllers))
    found = [judge.exposure(way, *end) for way in every if isinstance(way, Way) for end in way.ends]
    return Exposures(tuple(found), tuple(way for way in every if isinstance(way, Nowhere)))


@dataclass(frozen=True, slots=True)
class _Open:
    """Who may connect to a port of a class of pods: addresses outside, and endpoints; and the side that says so."""

    addresses: AddressSet
    pods: PodSet
    side: Side


class _Judge:
    """Answers class by class: pods of one class are open to the same sources, but for those of their own node."""

    def __init__(self, compiled: Compiled, controllers: tuple[Party, ...]) -> None:
        self.compiled = compiled
        self.controllers = controllers
        self.families = families_in_use(compiled)
        self._everyone = PodSet.of(one.index for one in compiled.endpoints)
        self._hosts: dict[str, PodSet] = {}
        for one in compiled.endpoints:
            if one.node and one.host_network:
                self._hosts[one.node] = self._hosts.get(one.node, NO_PODS) | PodSet.of([one.index])
        self._connectivity = [connectivity(compiled, family) for family in self.families]
        self._outside: dict[int, list[tuple[PortSet, AddressSet]]] = {}
        self._known: dict[tuple[object, ...], _Open] = {}
        for answer in self._connectivity:
            for part in answer.outside:
                if part.direction is Direction.INGRESS:
                    for index in part.pods:
                        self._outside.setdefault(index, []).append((part.access.ports, part.addresses))

    def exposure(self, way: Way, endpoint: Endpoint, port: int) -> Exposure:
        proxied = way.entrance.proxied
        if proxied and self.controllers:
            return self._from_controllers(way, endpoint, port)
        families = tuple(one for one in self.families if not endpoint.addresses or endpoint.address(one) is not None)
        sources = self._open(endpoint, families, way.protocol, port, proxied)
        pods = sources.pods | self._hosts.get(endpoint.node, NO_PODS) if proxied else NO_PODS
        refused = self._everyone - pods - PodSet.of([endpoint.index]) if proxied else NO_PODS
        if not refused and not _every_address(families) - sources.addresses:
            return Exposure(way, endpoint, port, Outcome.ALLOWED, sources.side)
        if not sources.addresses and not pods:
            return Exposure(way, endpoint, port, Outcome.DENIED, sources.side)
        return Exposure(way, endpoint, port, Outcome.DEPENDS, sources.side, sources.addresses, pods)

    def _open(
        self, endpoint: Endpoint, families: tuple[int, ...], protocol: Protocol, port: int, proxied: bool
    ) -> _Open:
        rules = self.compiled.rules(endpoint.index, Direction.INGRESS)
        key = (id(rules), endpoint.host_network, families, protocol, port, proxied)
        if key not in self._known:
            addresses = self._addresses(endpoint, protocol, port)
            pods = self._pods(endpoint, protocol, port) if proxied else NO_PODS
            first = next((self.compiled.at(index) for index in pods), None)
            source = next(_samples(addresses), None) or first or next(_samples(ALL_ADDRESSES))
            self._known[key] = _Open(addresses, pods, self._side(endpoint, source, protocol, port))
        return self._known[key]

    def _from_controllers(self, way: Way, endpoint: Endpoint, port: int) -> Exposure:
        answers = [verdict(self.compiled, one, endpoint, way.protocol, port) for one in self.controllers]
        outcomes = {answer.outcome for answer in answers}
        outcome = outcomes.pop() if len(outcomes) == 1 else Outcome.DEPENDS
        first = next((answer for answer in answers if answer.allowed), answers[0])
        deciding = first.egress if first.egress.outcome is Outcome.DENIED else first.ingress
        allowed = PodSet.of(one.source.index for one in answers if one.allowed and isinstance(one.source, Endpoint))
        return Exposure(way, endpoint, port, outcome, deciding, pods=allowed if outcome is Outcome.DEPENDS else NO_PODS)

    def _addresses(self, endpoint: Endpoint, protocol: Protocol, port: int) -> AddressSet:
        """The outside addresses that may connect to the port."""
        found = NO_ADDRESSES
        for ports, addresses in self._outside.get(endpoint.index, ()):
            if ports.contains(protocol, port):
                found |= addresses
        return found

    def _pods(self, endpoint: Endpoint, protocol: Protocol, port: int) -> PodSet:
        """The endpoints that the ingress side lets connect to the port."""
        rules = self.compiled.rules(endpoint.index, Direction.INGRESS)
        if not rules or endpoint.host_network:
            return self._everyone
        parts = (part for answer in self._connectivity for part in answer.admitted(endpoint.index).items())
        return PodSet.union(peers for access, peers in parts if access.ports.contains(protocol, port))

    def _side(self, endpoint: Endpoint, source: Party, protocol: Protocol, port: int) -> Side:
        family = source.version if isinstance(source, IPAddress) else self.families[0]
        return judge_side(self.compiled, endpoint, source, Direction.INGRESS, protocol, port, family)


def _every_address(families: tuple[int, ...]) -> AddressSet:
    return AddressSet(
        v4=ALL_ADDRESSES.ranges(4) if 4 in families else (), v6=ALL_ADDRESSES.ranges(6) if 6 in families else ()
    )


def _samples(addresses: AddressSet) -> Iterator[IPAddress]:
    """One address of each range."""
    for family in FAMILIES:
        make = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
        for first, _ in addresses.ranges(family):
            yield make(first)
