"""Which pods stand on which node, counted as they come and go.

The scheduler asks for counts: of a node's pods, of one owner's, of those that a term of (anti-)affinity or of spreading
selects, of those that keep others away. Each is kept up to date with every pod, so an answer costs the same among ten
and among ten thousand pods. Pure but for the lock of its user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from gatewright.lab.api.resources import Tree
from gatewright.lab.controllers.objects import Canonical, canonical, controller_uid, labels_of, selected, uid_of

Port = tuple[str, str, int]
"""Address (empty: all), protocol, number."""
MOST_TERMS = 200
"""Terms whose pods are kept counted; rollouts make new ones, and each costs a little with every pod."""
_Counted = TypeVar("_Counted")
Spaces = Callable[[str], Mapping[str, str]]
"""The labels of a namespace."""


@dataclass(frozen=True, slots=True)
class Term:
    """Pods that a rule looks at, and the node label whose values are the places that it compares."""

    namespaces: frozenset[str]
    spaces: Canonical | None
    """Namespaces by their labels, besides those by name; None: no others."""
    selector: Canonical | None
    """None selects nothing."""
    topology: str

    def matches(self, namespace: str, labels: Mapping[str, str], spaces: Spaces) -> bool:
        """Whether it looks at a pod."""
        if self.selector is None or not selected(self.selector, labels):
            return False
        if namespace in self.namespaces:
            return True
        return self.spaces is not None and selected(self.spaces, spaces(namespace))


def affinity_terms(pod: Tree, kind: str) -> tuple[Term, ...]:
    """The required terms of `podAffinity` or `podAntiAffinity`."""
    own = ((pod.get("spec") or {}).get("affinity") or {}).get(kind) or {}
    required = own.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return tuple(_affinity_term(pod, one) for one in required)


def _affinity_term(pod: Tree, term: Tree) -> Term:
    selector = _with_keys(pod, term.get("labelSelector"), term.get("matchLabelKeys"), "In")
    selector = _with_keys(pod, selector, term.get("mismatchLabelKeys"), "NotIn")
    names, spaces = term.get("namespaces") or (), term.get("namespaceSelector")
    if not names and spaces is None:
        names = (pod["metadata"]["namespace"],)
    return Term(
        frozenset(names),
        None if spaces is None else canonical(spaces),
        None if selector is None else canonical(selector),
        term.get("topologyKey", ""),
    )


def spread_term(pod: Tree, constraint: Tree) -> Term:
    """The pods that a topology spread constraint counts: those of the pod's namespace that it selects."""
    selector = _with_keys(pod, constraint.get("labelSelector"), constraint.get("matchLabelKeys"), "In")
    namespaces = frozenset((pod["metadata"]["namespace"],))
    return Term(namespaces, None, None if selector is None else canonical(selector), constraint["topologyKey"])


def _with_keys(pod: Tree, selector: Tree | None, keys: list[str] | None, operator: str) -> Tree | None:
    """A selector that also asks for the pod's own values of some labels."""
    if selector is None or not keys:
        return selector
    labels = labels_of(pod)
    more = [{"key": key, "operator": operator, "values": [labels[key]]} for key in keys if key in labels]
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *more]}


def host_ports(spec: Tree) -> frozenset[Port]:
    """The ports of the node that a pod takes."""
    return frozenset(
        ("" if port.get("hostIP") in (None, "0.0.0.0", "::") else port["hostIP"], port.get("protocol", "TCP"), number)
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if (number := port.get("hostPort") or (port.get("containerPort", 0) if spec.get("hostNetwork") else 0))
    )


@dataclass(frozen=True, slots=True)
class Placed:
    """A pod that stands on a node."""

    uid: str
    node: str
    namespace: str
    labels: Mapping[str, str]
    owner: str
    ports: frozenset[Port]
    apart: tuple[Term, ...]
    """What it wants to be apart from."""


def placed(pod: Tree, node: str) -> Placed:
    """A pod on a node."""
    return Placed(
        uid_of(pod),
        node,
        pod["metadata"]["namespace"],
        labels_of(pod),
        controller_uid(pod),
        host_ports(pod["spec"]),
        affinity_terms(pod, "podAntiAffinity"),
    )


@dataclass(slots=True)
class Crowd:
    """What stands on one node."""

    pods: int = 0
    owners: Counter[str] = field(default_factory=Counter)
    ports: Counter[Port] = field(default_factory=Counter)


class Census:
    """All pods that stand on nodes."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._pods: dict[str, Placed] = {}
        self._crowds: dict[str, Crowd] = {}
        self._terms: dict[Term, Counter[str]] = {}
        self._apart: dict[Term, Counter[str]] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def put(self, pod: Placed) -> None:
        """Count a pod, once."""
        before = self._pods.get(pod.uid)
        if before != pod:
            if before is not None:
                self._count(before, -1)
            self._pods[pod.uid] = pod
            self._count(pod, 1)

    def remove(self, uid: str) -> bool:
        """Count a pod no longer; whether it was counted."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._count(pod, -1)
        return pod is not None

    def _count(self, pod: Placed, step: int) -> None:
        crowd = self._crowds.setdefault(pod.node, Crowd())
        crowd.pods += step
        if pod.owner:
            _add(crowd.owners, pod.owner, step)
        for port in pod.ports:
            _add(crowd.ports, port, step)
        for term in pod.apart:
            counter = self._apart.setdefault(term, Counter())
            _add(counter, pod.node, step)
            if not counter:
                del self._apart[term]
        for term, counter in self._terms.items():
            if term.matches(pod.namespace, pod.labels, self._spaces):
                _add(counter, pod.node, step)
        if not crowd.pods:
            del self._crowds[pod.node]

    def on(self, node: str) -> Crowd:
        """What stands on a node."""
        return self._crowds.get(node) or Crowd()

    def matching(self, term: Term) -> Mapping[str, int]:
        """How many pods that a term looks at stand on each node."""
        counter = self._terms.get(term)
        if counter is None:
            if len(self._terms) >= MOST_TERMS:
                self._terms.clear()
            matching = (one for one in self._pods.values() if term.matches(one.namespace, one.labels, self._spaces))
            counter = self._terms[term] = Counter(one.node for one in matching)
        return counter

    def kept_apart(self, namespace: str, labels: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, int]]]:
        """(topology, nodes) of the pods that do not want a pod with these labels in their place."""
        for term, nodes in self._apart.items():
            if term.matches(namespace, labels, self._spaces):
                yield term.topology, nodes

    def namespaces_changed(self) -> None:
        """Labels of namespaces are different: what terms look at is to be counted again when it is asked for."""
        self._terms.clear()


def _add(counter: Counter[_Counted], key: _Counted, step: int) -> None:
    counter[key] += step
    if not counter[key]:
        del counter[key]
