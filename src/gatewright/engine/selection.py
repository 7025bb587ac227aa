"""What selectors, blocks and port names mean on one snapshot: the only place that knows.

Everything is answered as sets (`PodSet`, `AddressSet`), and answered once: the same selector in a thousand policies
costs one look-up each after the first. Every answer belongs to a `Question`; `step` carries the answers on to the next
snapshot, mends those that a change touches, and says which ones these are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import NamedTuple

from gatewright.engine.addresses import AddressSet
from gatewright.engine.layers import Layers, variant
from gatewright.engine.model import Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import PortSet, Protocol, Ranges
from gatewright.engine.roster import Move
from gatewright.engine.selectors import Canonical, LabelChange, Selectors, holds, requirements
from gatewright.engine.snapshot import Snapshot, Step
from gatewright.objects.core import Node
from gatewright.objects.meta import LabelSelector

PortName = tuple[str, Protocol]
MOST_MOVED = 4096
"""Positions that may have moved before the index of labels is made anew."""


class InNamespace(NamedTuple):
    """Which pods of a namespace does the selector match?"""

    namespace: str
    pods: Canonical


class InNamespaces(NamedTuple):
    """Which pods that the second selector matches stand in the namespaces that the first one matches?"""

    namespaces: Canonical
    pods: Canonical


class OnNodes(NamedTuple):
    """Which host-network pods and which addresses have the nodes that the selector matches?"""

    nodes: Canonical


class Carrying(NamedTuple):
    """Which pods give a named port which numbers?"""

    name: PortName


Question = InNamespace | InNamespaces | OnNodes | Carrying


class Selection:
    """The endpoints of a snapshot, selectable. Host-network pods are never matched by pod selectors.

    With a `scope` only the endpoints of which it is true are there; moves of others are not for its `step`.
    """

    def __init__(self, snapshot: Snapshot, scope: Callable[[Endpoint], bool] | None = None) -> None:
        members: dict[str, list[int]] = {}
        declaring: dict[int, tuple[dict[PortName, Ranges], list[int]]] = {}
        hosts: list[int] = []
        everyone = [one for one in snapshot.roster if scope is None or scope(one)]
        for one in everyone:
            if one.host_network:
                hosts.append(one.index)
                continue
            members.setdefault(one.namespace, []).append(one.index)
            if one.named_ports:
                declaring.setdefault(id(one.named_ports), (one.named_ports, []))[1].append(one.index)
        self.snapshot = snapshot
        self.hosts = PodSet.of(hosts)
        self.selectable = PodSet.of([one.index for one in everyone]) - self.hosts
        self._scope = scope
        self._members = Layers({name: PodSet.of(positions) for name, positions in members.items()})
        self._declaring = {own: (ports, PodSet.of(positions)) for own, (ports, positions) in declaring.items()}
        self._labels = _index(everyone)
        self._blocks: dict[tuple[str, tuple[str, ...]], AddressSet] = {}
        self._names: dict[Canonical, frozenset[str]] = {}
        self._in_spaces: dict[Canonical, PodSet] = {}
        self._in: dict[str, dict[Canonical, PodSet]] = {}
        self._across: dict[Canonical, dict[Canonical, PodSet]] = {}
        self._on_nodes: dict[Canonical, tuple[PodSet, AddressSet]] = {}
        self._carriers: dict[PortName, dict[PortSet, PodSet]] = {}

    def in_namespace(self, namespace: str, pods: LabelSelector | None = None) -> PodSet:
        """The pods of one namespace that a selector matches; all of them for None."""
        return self.pods_in(InNamespace(namespace, requirements(pods) if pods else ()))

    def in_namespaces(self, namespaces: LabelSelector, pods: LabelSelector | None = None) -> PodSet:
        """The pods that the second selector matches, in all namespaces that the first one matches."""
        return self.pods_across(InNamespaces(requirements(namespaces), requirements(pods) if pods else ()))

    def pods_in(self, question: InNamespace) -> PodSet:
        """The answer."""
        namespace, pods = question
        answers = self._in.setdefault(namespace, {})
        if pods not in answers:
            members = self._members.get(namespace, NO_PODS)
            answers[pods] = members & self._labels.matching(pods) if pods else members
        return answers[pods]

    def pods_across(self, question: InNamespaces) -> PodSet:
        """The answer."""
        namespaces, pods = question
        answers = self._across.setdefault(namespaces, {})
        if pods not in answers:
            members = self._standing_in(namespaces)
            answers[pods] = members & self._labels.matching(pods) if pods else members
        return answers[pods]

    def _standing_in(self, namespaces: Canonical) -> PodSet:
        if namespaces not in self._in_spaces:
            parts = [self._members.get(name, NO_PODS) for name in self._named(namespaces)]
            self._in_spaces[namespaces] = PodSet.union(parts)
        return self._in_spaces[namespaces]

    def namespaces(self, selector: LabelSelector) -> list[str]:
        """The names of the namespaces that a selector matches, in order."""
        return sorted(self._named(requirements(selector)))

    def _named(self, selector: Canonical) -> frozenset[str]:
        """The names of the namespaces that a selector matches."""
        if selector not in self._names:
            names, index = self._index_of_namespaces
            self._names[selector] = frozenset([names[position] for position in index.matching(selector)])
        return self._names[selector]

    @cached_property
    def _index_of_namespaces(self) -> tuple[list[str], Selectors]:
        spaces = self.snapshot.namespaces
        return list(spaces), Selectors(spaces.values())

    def block(self, cidr: str, excepts: tuple[str, ...] = ()) -> AddressSet:
        """The addresses of an ipBlock."""
        key = (cidr, excepts)
        if key not in self._blocks:
            self._blocks[key] = AddressSet.of_block(cidr, excepts)
        return self._blocks[key]

    def on_nodes(self, question: OnNodes) -> tuple[PodSet, AddressSet]:
        """Nodes by label: the host-network pods that stand on them, and the nodes' addresses.

        The empty selector means every node, also one that is not among the objects.
        """
        selector = question.nodes
        if selector not in self._on_nodes:
            snapshot = self.snapshot
            names = {node.name for node in snapshot.all(Node) if holds(selector, node.labels)}
            pods = PodSet.of([one for one in self.hosts if not selector or snapshot.roster.at(one).node in names])
            known = snapshot.nodes_by_address.items()
            addresses = [AddressSet.of_address(one) for one, name in known if not selector or name in names]
            self._on_nodes[selector] = (pods, AddressSet.union(addresses))
        return self._on_nodes[selector]

    def carriers(self, name: PortName) -> dict[PortSet, PodSet]:
        """The pods that have a named port, by the numbers it has on them."""
        if name not in self._carriers:
            groups: dict[PortSet, PodSet] = {}
            for named_ports, pods in self._declaring.values():
                if ranges := named_ports.get(name):
                    ports = PortSet.of(name[1], *ranges)
                    groups[ports] = groups.get(ports, NO_PODS) | pods
            numbered = sorted(groups.items(), key=lambda item: item[0].ranges(name[1]))
            self._carriers[name] = {ports: pods for ports, pods in numbered if pods}
        return self._carriers[name]

    def step(self, step: Step) -> tuple[Selection, set[Question]]:
        """The selection of the next snapshot, and the questions asked so far whose answers are no longer the same."""
        following = variant(self)
        following.snapshot = step.snapshot
        following._on_nodes = dict(self._on_nodes)
        changed: set[Question] = set()
        moves = [move for move in step.moves if _seen(move)]
        if step.namespaces or moves:
            following._copy_answers()
        if step.namespaces:
            vars(following).pop("_index_of_namespaces", None)
            following._rename(step.namespaces, changed)
        for move in moves:
            following._move(move, changed)
        if following._labels.overlay + len(moves) > MOST_MOVED:
            following._labels = _index([one for one in step.snapshot.roster if not self._scope or self._scope(one)])
        elif moves:
            following._labels = following._labels.change([_relabelled(move) for move in moves])
        if step.nodes or any(_is_host(move.before) or _is_host(move.after) for move in step.moves):
            following._on_nodes = {}
            asked = {OnNodes(one): old for one, old in self._on_nodes.items()}
            changed |= {one for one, old in asked.items() if following.on_nodes(one) != old}
        return following, changed

    def _copy_answers(self) -> None:
        """Answers that are still to come are not those of the snapshot before: they must not be kept together.

        Those about a namespace, or about several, stay together until something moves there.
        """
        for table in ("_names", "_in_spaces", "_in", "_across", "_carriers", "_on_nodes"):
            setattr(self, table, dict(getattr(self, table)))

    def forget(self, questions: Iterable[Question]) -> None:
        """Keep the answers of these questions no longer: nobody asks them now."""
        self._copy_answers()
        for question in questions:
            match question:
                case InNamespace(namespace, pods):
                    self._in[namespace] = _without(self._in[namespace], pods)
                case InNamespaces(namespaces, pods):
                    self._across[namespaces] = _without(self._across[namespaces], pods)
                    if not self._across[namespaces]:
                        for table in (self._across, self._names, self._in_spaces):
                            table.pop(namespaces)
                case OnNodes(nodes):
                    self._on_nodes.pop(nodes, None)
                case Carrying(name):
                    self._carriers.pop(name, None)

    def _rename(self, names: tuple[str, ...], changed: set[Question]) -> None:
        """Namespaces have other labels than before, are new, or gone."""
        for selector, old in list(self._names.items()):
            labels = {name: self.snapshot.namespaces.get(name) for name in names}
            now = old.difference(names) | {name for name, own in labels.items() if own and holds(selector, own)}
            if now != old:
                self._names[selector] = now
                self._in_spaces.pop(selector, None)
                for pods, before in self._across.pop(selector, {}).items():
                    question = InNamespaces(selector, pods)
                    if self.pods_across(question) != before:
                        changed.add(question)

    def _move(self, move: Move, changed: set[Question]) -> None:
        """Somebody came, left, or is no longer the same."""
        position, before, after = move.position, move.before, move.after
        self.hosts = self.hosts.put(position, _is_host(after))
        old = before if before is not None and not before.host_network else None
        new = after if after is not None and not after.host_network else None
        there = new or old
        if there is None:
            return
        if (old is None) != (new is None):
            self.selectable = self.selectable.put(position, new is not None)
            members = self._members.get(there.namespace, NO_PODS).put(position, new is not None)
            self._members = self._members.put({there.namespace: members})
            for selector, names in self._names.items():
                if there.namespace in names and selector in self._in_spaces:
                    self._in_spaces[selector] = self._in_spaces[selector].put(position, new is not None)
        same_ports = self._redeclare(position, old, new, changed)
        if there.namespace in self._in:
            answers = self._in[there.namespace] = dict(self._in[there.namespace])
            found = _mend(answers, position, old, new, same_ports)
            changed |= {InNamespace(there.namespace, pods) for pods in found}
        for selector in [one for one in self._across if there.namespace in self._names[one]]:
            answers = self._across[selector] = dict(self._across[selector])
            found = _mend(answers, position, old, new, same_ports)
            changed |= {InNamespaces(selector, pods) for pods in found}

    def _redeclare(self, position: int, old: Endpoint | None, new: Endpoint | None, changed: set[Question]) -> bool:
        """Keep who declares which named ports; whether nothing about that changed."""
        before: dict[PortName, Ranges] = old.named_ports if old else {}
        after: dict[PortName, Ranges] = new.named_ports if new else {}
        if before is after:
            return True
        self._declaring = dict(self._declaring)
        for ports, there in ((before, False), (after, True)):
            if ports:
                known = self._declaring.get(id(ports), (ports, NO_PODS))[1]
                self._declaring[id(ports)] = (ports, known.put(position, there))
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name) and self._carriers.pop(name, None) is not None:
                changed.add(Carrying(name))
        return old is None or new is None or before == after


def _index(endpoints: Iterable[Endpoint]) -> Selectors:
    """The labels of some endpoints."""
    there = list(endpoints)
    return Selectors([one.labels for one in there], [one.index for one in there])


def _mend(
    answers: dict[Canonical, PodSet], position: int, old: Endpoint | None, new: Endpoint | None, same_ports: bool
) -> list[Canonical]:
    """Put a position in or out of the answers where it belongs; the selectors whose answer means something else now."""
    changed = []
    for pods, answer in answers.items():
        was = old is not None and holds(pods, old.labels)
        now = new is not None and holds(pods, new.labels)
        if was != now:
            answers[pods] = answer.put(position, now)
        if was != now or (now and not same_ports):
            changed.append(pods)
    return changed


def _seen(move: Move) -> bool:
    """Whether a selector or a port name may mean something else by it: not for an address."""
    before, after = move.before, move.after
    if before is None or after is None:
        return True
    return (
        before.labels != after.labels
        or before.named_ports != after.named_ports
        or before.host_network != after.host_network
    )


def _without(answers: dict[Canonical, PodSet], pods: Canonical) -> dict[Canonical, PodSet]:
    return {one: answer for one, answer in answers.items() if one != pods}


def _is_host(one: Endpoint | None) -> bool:
    return one is not None and one.host_network


def _relabelled(move: Move) -> LabelChange:
    before, after = move.before, move.after
    return move.position, before.labels if before else None, after.labels if after else None
