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
    pods: tuple[Endpoint, ...] = ()


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


class _Judge:
    def __init__(self, compiled: Compiled, controllers: tuple[Party, ...]) -> None:
        self.compiled = compiled
        self.controllers = controllers
        self.families = families_in_use(compiled)
        self._outside: dict[int, list[tuple[PortSet, AddressSet]]] = {}
        self._known: dict[tuple[int, Protocol, int, str], dict[int, Endpoint]] = {}
        self._all = {one.index: one for one in compiled.endpoints}
        for family in self.families:
            for part in connectivity(compiled, family).outside:
                if part.direction is Direction.INGRESS:
                    for index in part.pods:
                        self._outside.setdefault(index, []).append((part.access.ports, part.addresses))

    def exposure(self, way: Way, endpoint: Endpoint, port: int) -> Exposure:
        if way.entrance.proxied and self.controllers:
            return self._from_controllers(way, endpoint, port)
        addresses = self._addresses(endpoint, way.protocol, port)
        pods = self._pods(endpoint, way.protocol, port) if way.entrance.proxied else {}
        everywhere = not self._everything(endpoint) - addresses
        others = len(pods) - (endpoint.index in pods)
        if everywhere and (not way.entrance.proxied or others == len(self.compiled.endpoints) - 1):
            outcome = Outcome.ALLOWED
        else:
            outcome = Outcome.DEPENDS if addresses or pods else Outcome.DENIED
        source = next(_samples(addresses), None) or next(iter(pods.values()), None) or next(_samples(ALL_ADDRESSES))
        side = self._side(endpoint, source, way.protocol, port)
        if outcome is not Outcome.DEPENDS:
            return Exposure(way, endpoint, port, outcome, side)
        return Exposure(way, endpoint, port, outcome, side, addresses, tuple(pods.values()))

    def _from_controllers(self, way: Way, endpoint: Endpoint, port: int) -> Exposure:
        answers = [verdict(self.compiled, one, endpoint, way.protocol, port) for one in self.controllers]
        outcomes = {answer.outcome for answer in answers}
        outcome = outcomes.pop() if len(outcomes) == 1 else Outcome.DEPENDS
        first = next((answer for answer in answers if answer.allowed), answers[0])
        deciding = first.egress if first.egress.outcome is Outcome.DENIED else first.ingress
        allowed = tuple(one.source for one in answers if one.allowed and isinstance(one.source, Endpoint))
        return Exposure(way, endpoint, port, outcome, deciding, pods=allowed if outcome is Outcome.DEPENDS else ())

    def _everything(self, endpoint: Endpoint) -> AddressSet:
        families = [one for one in self.families if not endpoint.addresses or endpoint.address(one) is not None]
        return AddressSet(
            v4=ALL_ADDRESSES.ranges(4) if 4 in families else (), v6=ALL_ADDRESSES.ranges(6) if 6 in families else ()
        )

    def _addresses(self, endpoint: Endpoint, protocol: Protocol, port: int) -> AddressSet:
        """The outside addresses that may connect to the port."""
        found = NO_ADDRESSES
        for ports, addresses in self._outside.get(endpoint.index, ()):
            if ports.contains(protocol, port):
                found |= addresses
        return found

    def _pods(self, endpoint: Endpoint, protocol: Protocol, port: int) -> dict[int, Endpoint]:
        """The endpoints that the ingress side lets connect to the port: the same for every pod of a class on a node."""
        rules = self.compiled.rules(endpoint.index, Direction.INGRESS)
        if not rules:
            return self._all
        key = (id(rules), protocol, port, endpoint.node)
        if key not in self._known:
            sides = ((one, self._side(endpoint, one, protocol, port)) for one in self.compiled.endpoints)
            self._known[key] = {one.index: one for one, side in sides if side.outcome is Outcome.ALLOWED}
        return self._known[key]

    def _side(self, endpoint: Endpoint, source: Party, protocol: Protocol, port: int) -> Side:
        family = source.version if isinstance(source, IPAddress) else self.families[0]
        return judge_side(self.compiled, endpoint, source, Direction.INGRESS, protocol, port, family)


def _samples(addresses: AddressSet) -> Iterator[IPAddress]:
    """One address of each range."""
    for family in FAMILIES:
        make = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
        for first, _ in addresses.ranges(family):
            yield make(first)
