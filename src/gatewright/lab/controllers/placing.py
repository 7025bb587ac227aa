"""On which node a pod belongs, and why not on the others: the scheduler's decision. Pure.

The filters, their order and the words of their refusals are the Kubernetes scheduler's (pkg/scheduler/framework).
Resource requests are not among them: what runs in a lab asks for next to nothing, and its nodes are one machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewright.lab.api.resources import Tree
from gatewright.lab.controllers.census import Census, Port, Spaces, Term, affinity_terms, host_ports, spread_term
from gatewright.lab.controllers.fitting import cordoned, preference, suits, taints_of, untolerated
from gatewright.lab.controllers.objects import controller_uid, labels_of, status_of

MOST_PODS = 110
"""Pods a node takes that does not say how many (kubelet's default)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about places: a node's place is its value of the label `topology`."""

    topology: str
    places: frozenset[str]


@dataclass(frozen=True, slots=True)
class Spread:
    """A topology spread constraint: a place may have this many pods at most before the new one."""

    topology: str
    counts: Mapping[str, int]
    most: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a pod asks of places, given what stands where."""

    pod: Tree
    ports: frozenset[Port]
    near: tuple[Rule, ...]
    anywhere_near: bool
    """The first pod of a group that wants to be near itself may go to any place."""
    apart: tuple[Rule, ...]
    unwanted: tuple[Rule, ...]
    spreads: tuple[Spread, ...]


def choose(pod: Tree, nodes: Sequence[Tree], census: Census, spaces: Spaces) -> tuple[str | None, str]:
    """(the node for a pod, empty), or (None, why there is none)."""
    wish = _wish(pod, nodes, census, spaces)
    reasons: Counter[str] = Counter()
    fitting = []
    for node in nodes:
        reason = _refusal(wish, node, census)
        if reason is None:
            fitting.append(node)
        else:
            reasons[reason] += 1
    if fitting:
        best = min(fitting, key=lambda node: _rank(pod, node, census))
        return best["metadata"]["name"], ""
    if not nodes:
        return None, "no nodes available to schedule pods"
    said = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return None, f"0/{len(nodes)} nodes are available: {said}."


def _rank(pod: Tree, node: Tree, census: Census) -> tuple[int, int, int, int, str]:
    name = node["metadata"]["name"]
    crowd = census.on(name)
    unliked = untolerated(pod["spec"], taints_of(node), ("PreferNoSchedule",)) is not None
    owner = controller_uid(pod)
    return int(unliked), -preference(pod["spec"], node), crowd.owners[owner] if owner else 0, crowd.pods, name


def _wish(pod: Tree, nodes: Sequence[Tree], census: Census, spaces: Spaces) -> Wish:
    by_name = {node["metadata"]["name"]: node for node in nodes}
    namespace, labels = pod["metadata"]["namespace"], labels_of(pod)
    near = affinity_terms(pod, "podAffinity")
    rules = tuple(_rule(term.topology, census.matching(term), by_name) for term in near)
    alone = not any(one.places for one in rules) and all(term.matches(namespace, labels, spaces) for term in near)
    apart = affinity_terms(pod, "podAntiAffinity")
    constraints = pod["spec"].get("topologySpreadConstraints") or ()
    return Wish(
        pod,
        host_ports(pod["spec"]),
        rules,
        alone,
        tuple(_rule(term.topology, census.matching(term), by_name) for term in apart),
        tuple(_rule(topology, counts, by_name) for topology, counts in census.kept_apart(namespace, labels)),
        tuple(
            _spread(pod, one, nodes, census, spaces)
            for one in constraints
            if one.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        ),
    )


def _rule(topology: str, counts: Mapping[str, int], nodes: Mapping[str, Tree]) -> Rule:
    places = (labels_of(nodes[name]).get(topology) for name in counts if name in nodes)
    return Rule(topology, frozenset(place for place in places if place is not None))


def _spread(pod: Tree, constraint: Tree, nodes: Sequence[Tree], census: Census, spaces: Spaces) -> Spread:
    term: Term = spread_term(pod, constraint)
    on = census.matching(term)
    counts: Counter[str] = Counter()
    for node in nodes:
        place = labels_of(node).get(term.topology)
        if place is not None and _counts_for(pod, constraint, node):
            counts[place] += on.get(node["metadata"]["name"], 0)
    least = min(counts.values(), default=0)
    if len(counts) < constraint.get("minDomains", 1):
        least = 0
    itself = term.matches(pod["metadata"]["namespace"], labels_of(pod), spaces)
    return Spread(term.topology, counts, least + constraint.get("maxSkew", 1) - itself)


def _counts_for(pod: Tree, constraint: Tree, node: Tree) -> bool:
    """Whether a constraint counts a node at all: by its policies for node affinity and for taints."""
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not suits(pod["spec"], node):
        return False
    honoured = constraint.get("nodeTaintsPolicy", "Ignore") == "Honor"
    return not honoured or untolerated(pod["spec"], taints_of(node)) is None


def _refusal(wish: Wish, node: Tree, census: Census) -> str | None:
    """Why a pod cannot go to a node; None where it can."""
    spec, name = wish.pod["spec"], node["metadata"]["name"]
    if cordoned(spec, node):
        return "node(s) were unschedulable"
    if taint := untolerated(spec, taints_of(node)):
        return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
    if not suits(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    crowd = census.on(name)
    if any(_clash(wanted, taken) for wanted in wish.ports for taken in crowd.ports):
        return "node(s) didn't have free ports for the requested pod ports"
    if crowd.pods >= _room(node):
        return "Too many pods"
    return _place_refusal(wish, labels_of(node))


def _place_refusal(wish: Wish, labels: Mapping[str, str]) -> str | None:
    for spread in wish.spreads:
        place = labels.get(spread.topology)
        if place is None:
            return "node(s) didn't match pod topology spread constraints (missing required label)"
        if spread.counts.get(place, 0) > spread.most:
            return "node(s) didn't match pod topology spread constraints"
    for rule in wish.near:
        place = labels.get(rule.topology)
        if place is None or (place not in rule.places and not wish.anywhere_near):
            return "node(s) didn't match pod affinity rules"
    if any(labels.get(rule.topology) in rule.places for rule in wish.apart):
        return "node(s) didn't match pod anti-affinity rules"
    if any(labels.get(rule.topology) in rule.places for rule in wish.unwanted):
        return "node(s) didn't satisfy existing pods anti-affinity rules"
    return None


def _clash(one: Port, other: Port) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or not one[0] or not other[0])


def _room(node: Tree) -> int:
    text = str((status_of(node).get("allocatable") or status_of(node).get("capacity") or {}).get("pods", ""))
    return int(text) if text.isascii() and text.isdigit() else MOST_PODS
