"""The words of the engine: endpoints, directions, tiers, actions, and the rules that policies compile to.

A compiled rule no longer knows selectors or names: its peers are positions of endpoints and address ranges, its ports
are numbers. What is left of the policy is where it came from, for explanations.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import msgspec

from gatewright.engine.addresses import NO_ADDRESSES, AddressSet, IPAddress
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import PortSet, Protocol, Ranges
from gatewright.objects.meta import Key
from gatewright.objects.origin import Origin, Path, format_path


class Direction(enum.StrEnum):
    """The direction of a connection seen from the pod a policy selects; named as in policyTypes."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class Tier(enum.IntEnum):
    """Where in the evaluation a rule stands: Admin first, then NetworkPolicy, then Baseline [cnp]."""

    ADMIN = 0
    NETWORK_POLICY = 1
    BASELINE = 2


class Action(enum.StrEnum):
    """What a matching rule does. A NetworkPolicy rule can only accept."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"


class Endpoint(msgspec.Struct, frozen=True, eq=False):
    """A pod, or a workload's representative pod. Compared by identity; `index` is its bit in every `PodSet`.

    `addresses` is empty while they are not known (manifests), else holds at most one address a family.
    A host-network endpoint has its node's addresses. `named_ports` maps (name, protocol) to the numbers that carry it,
    `ports` are the declared container ports. `many` says that it stands for several pods of one workload, which may
    connect to each other.
    """

    index: int
    namespace: str
    name: str
    kind: str
    labels: dict[str, str]
    addresses: tuple[IPAddress, ...] = ()
    named_ports: dict[tuple[str, Protocol], Ranges] = {}
    ports: tuple[tuple[Protocol, int], ...] = ()
    node: str = ""
    host_network: bool = False
    many: bool = False
    origin: Origin | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}[{self.kind}]"

    @property
    def key(self) -> Key:
        """Kind, namespace and name of the object that makes it."""
        return (self.kind, self.namespace, self.name)

    @property
    def path(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    def address(self, family: int) -> IPAddress | None:
        """Its address of one family (4 or 6), or None."""
        return next((address for address in self.addresses if address.version == family), None)


class RuleOrigin(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """The place a compiled rule comes from: the policy, the path of the rule or peer in it, and the file position."""

    kind: str
    namespace: str
    name: str
    path: Path = ()
    origin: Origin | None = None

    @property
    def policy(self) -> str:
        """The policy as people name it: `NetworkPolicy default/db-policy`."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def at(self, *path: str | int) -> RuleOrigin:
        """The same policy, at a path below this one's."""
        return RuleOrigin(self.kind, self.namespace, self.name, self.path + path, self.origin)

    @property
    def field(self) -> str:
        """The field path: `spec.ingress[0]`."""
        return format_path(self.path)

    @property
    def where(self) -> str:
        """`file:line` of the field, empty when the policy came from an API."""
        return str(self.origin.at(self.path)) if self.origin else ""


class Peers(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """The other side of a rule.

    `everyone` is no restriction at all (every pod, node and outside address). `pods` are matched by selector whatever
    their address. `addresses` come from ipBlocks, networks and nodes: they match by address, pod addresses included.
    `names` are domain names (lower case; `*.` stands for one or more labels): they match what they resolve to.
    """

    everyone: bool = False
    pods: PodSet = NO_PODS
    addresses: AddressSet = NO_ADDRESSES
    names: tuple[str, ...] = ()

    @classmethod
    def union(cls, parts: Iterable[Peers]) -> Peers:
        """Whoever one of the parts covers."""
        every = list(parts)
        if any(part.everyone for part in every):
            return cls(everyone=True)
        pods = PodSet.union(part.pods for part in every)
        addresses = AddressSet.union(part.addresses for part in every)
        return cls(False, pods, addresses, tuple(sorted({name for part in every for name in part.names})))

    def __bool__(self) -> bool:
        return self.everyone or bool(self.pods) or bool(self.addresses) or bool(self.names)


class Rule(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """One compiled rule: traffic between the selected pod and `peers` on `ports` (of the destination) meets `action`.

    One written rule may compile to several, where a named port has different numbers on different destinations.
    """

    peers: Peers
    ports: PortSet
    action: Action
    origin: RuleOrigin


def join_rules(rules: Sequence[Rule]) -> Sequence[Rule]:
    """Rules that add up in any order, as those of NetworkPolicies do: the same ports make one rule of all their peers.

    A joined rule carries the origin of its first.
    """
    if len(rules) < 2:
        return rules
    by_ports: dict[PortSet, list[Rule]] = {}
    for rule in rules:
        by_ports.setdefault(rule.ports, []).append(rule)
    return [
        Rule(Peers.union(rule.peers for rule in alike), ports, alike[0].action, alike[0].origin)
        for ports, alike in by_ports.items()
    ]


class TierRules(msgspec.Struct, frozen=True):
    """What one tier says to one class of pods in one direction.

    `policies` are those that select the class. In the NetworkPolicy tier they isolate it, and all rules accept, in any
    order. In the cluster tiers rules are in order of evaluation; what none matches goes on to the next tier.
    """

    tier: Tier
    rules: tuple[Rule, ...] = ()
    policies: tuple[RuleOrigin, ...] = ()


class DirectionRules(msgspec.Struct, frozen=True, eq=False):
    """Everything in force for one class of pods in one direction: the tiers that say something, in order of evaluation.

    Empty means that nothing restricts the direction. Pods of one class share one instance: group them by identity.
    """

    direction: Direction
    tiers: tuple[TierRules, ...] = ()

    def tier(self, tier: Tier) -> tuple[Rule, ...]:
        """The rules of one tier, in order of evaluation."""
        return next((one.rules for one in self.tiers if one.tier is tier), ())

    def __bool__(self) -> bool:
        return bool(self.tiers)
