"""Answers that are alike, told once: a question about workloads is about every pair of their pods, soon a million.

Pods of one owner that have the same rules, and that the rules of the other side match alike, get the same answer: one
verdict stands for all their pairs. What can still tell pairs apart is the node, since a pod's own node always reaches
it, and is looked at pair by pair.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gatewright.engine.addresses import FAMILIES, IPAddress
from gatewright.engine.ask import Door, Question, question
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Direction, Endpoint, Peers
from gatewright.engine.owners import owner
from gatewright.engine.ports import Protocol
from gatewright.engine.verdict import DomainName, Party, Verdict, matches_peer, verdict
from gatewright.objects.meta import Key


@dataclass(frozen=True, slots=True)
class Ends:
    """One side of a block: pods of one owner, out of the `asked` pods of that owner that the question names.

    `owner` is None for what is nobody's pod, and stands alone.
    """

    members: tuple[Party, ...]
    owner: Key | None = None
    asked: int = 1

    def __str__(self) -> str:
        if self.owner is None or self.asked == 1:
            return str(self.members[0])
        kind, namespace, name = self.owner
        return f"{namespace}/{name}[{kind}]"


@dataclass(frozen=True, slots=True)
class Block:
    """Connections with one answer: `verdict` is that of one of them.

    They are those of each source with each destination; with `same_node` those on one node, or with False those
    between nodes. A pod and itself are a block only where that is all that was asked.
    """

    verdict: Verdict
    sources: Ends
    destinations: Ends
    same_node: bool | None = None


@dataclass(frozen=True, slots=True)
class _Alike:
    """Parties of one owner with the same rules that the other side's rules match alike, and the port of each."""

    ends: Ends
    port: int


def ask_alike(compiled: Compiled, source: str, destination: str, port: str, namespace: str = "default") -> list[Block]:
    """What `ask` answers, the connections with the same answer as one. Raises what `ask` raises."""
    return blocks(compiled, question(compiled, source, destination, port, namespace))


def blocks(compiled: Compiled, asked: Question) -> list[Block]:
    """The answers to a question, in the order in which its parties first appear."""
    known = compiled.by_address
    sources = [(known.get(one, one) if isinstance(one, IPAddress) else one, 0) for one in asked.sources]
    doors = [(known.get(one, one) if isinstance(one, IPAddress) else one, port) for one, port in asked.doors]
    outward = _peers(compiled, (party for party, _ in sources), Direction.EGRESS)
    inward = _peers(compiled, (party for party, _ in doors), Direction.INGRESS)
    left = _classes(compiled, sources, Direction.EGRESS, inward)
    right = _classes(compiled, doors, Direction.INGRESS, outward)
    found = [
        Block(verdict(compiled, *pair, asked.protocol, there.port), here.ends, there.ends, same_node)
        for here in left
        for there in right
        for pair, same_node in _kinds_of_pair(compiled, here.ends.members, there.ends.members)
    ]
    return found or [_itself(compiled, here, there, asked.protocol) for here in left for there in right]


def _itself(compiled: Compiled, here: _Alike, there: _Alike, protocol: Protocol | None) -> Block:
    """The answer about a pod and itself."""
    (one,) = here.ends.members
    return Block(verdict(compiled, one, one, protocol, there.port), here.ends, there.ends)


def _peers(compiled: Compiled, parties: Iterable[Party], direction: Direction) -> tuple[Peers, ...]:
    """Every set of peers that rules of the parties name in a direction."""
    rules = {compiled.rules(one.index, direction): None for one in parties if isinstance(one, Endpoint)}
    return tuple({rule.peers: None for one in rules for tier in one.tiers for rule in tier.rules})


def _classes(compiled: Compiled, doors: Sequence[Door], direction: Direction, others: Sequence[Peers]) -> list[_Alike]:
    """The parties in classes; `others` are the peers that rules of the other side name."""
    found: dict[object, list[Party]] = {}
    asked: dict[Key, set[int]] = defaultdict(set)
    owners: dict[object, tuple[Key | None, int]] = {}
    for party, port in doors:
        key: object = (party, port)
        whose = None
        if isinstance(party, Endpoint):
            matched = tuple(matches_peer(compiled, peers, party, family) for peers in others for family in FAMILIES)
            families = tuple(address.version for address in party.addresses)
            whose = owner(compiled.snapshot, party)
            asked[whose].add(party.index)
            rules = compiled.rules(party.index, direction)
            key = (whose, party.kind, rules, party.host_network, families, port, matched)
        found.setdefault(key, []).append(party)
        owners[key] = (whose, port)
    return [
        _Alike(Ends(tuple(members), whose, len(asked[whose]) if whose else 1), port)
        for (key, members) in found.items()
        for whose, port in [owners[key]]
    ]


def _kinds_of_pair(
    compiled: Compiled, sources: Sequence[Party], destinations: Sequence[Party]
) -> Iterator[tuple[tuple[Party, Party], bool | None]]:
    """One pair of each kind that may be answered differently, and whether its two sides share a node where that tells.

    A pod and itself are no pair.
    """
    near, far = None, None
    first = destinations[0]
    if isinstance(first, Endpoint) and not first.host_network:
        by_node = {one.node: one for one in reversed(destinations) if isinstance(one, Endpoint) and one.node}
        nodes = ((one, _node(compiled, one)) for one in sources)
        near = next(((one, by_node[node]) for one, node in nodes if node in by_node), None)
    for source in sources:
        node = _node(compiled, source) if near else ""
        others = (one for one in destinations if one is not source or (isinstance(one, Endpoint) and one.many))
        other = next((one for one in others if not node or not isinstance(one, Endpoint) or one.node != node), None)
        if other is not None:
            far = (source, other)
            break
    if near and far:
        yield near, True
        yield far, False
    elif pair := near or far:
        yield pair, None


def _node(compiled: Compiled, party: Party) -> str:
    """The node whose address a party has; pods of the pod network have one of their own."""
    if isinstance(party, Endpoint):
        return party.node if party.host_network else ""
    return "" if isinstance(party, DomainName) else compiled.snapshot.nodes_by_address.get(party, "")
