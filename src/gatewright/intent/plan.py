"""Policies that allow exactly the flows of a model: default deny both ways, and a rule for each requirement.

Every policy is a document as `kubectl create -f` takes it, with comments by the path of what they explain. The same
model gives the same policies whatever the order of its lines.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from gatewright.engine.model import Direction
from gatewright.intent.documents import rule_document, selector_document
from gatewright.intent.existing import Existing
from gatewright.intent.parties import Bound, Party
from gatewright.intent.requirements import Requirement, needed, requirements_of
from gatewright.objects.meta import Json, Object
from gatewright.objects.origin import Path
from gatewright.objects.read import decode

API_VERSION = "networking.k8s.io/v1"
KIND = "NetworkPolicy"
DEFAULT_DENY = "default-deny"
SIDES = {Direction.INGRESS: "from", Direction.EGRESS: "to"}


class Style(enum.StrEnum):
    """What is denied by default: the pods of components, or everything in their namespaces."""

    COMPONENT = "component"
    NAMESPACE = "namespace"


@dataclass(frozen=True, eq=False)
class Planned:
    """A policy as a document. `comments` are lines by the path of the field they stand above; () is the document."""

    document: Json
    comments: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def object(self) -> Object:
        """The policy, decoded and validated as the API server would."""
        item = decode(self.document)
        assert item is not None, "the kinds that are planned are read"
        return item


@dataclass(frozen=True, eq=False)
class Plan:
    """The requirements of a model and the policies that meet them. `closed` namespaces are denied by default."""

    bound: Bound
    requirements: tuple[Requirement, ...]
    policies: tuple[Planned, ...]
    closed: frozenset[str] = frozenset()


def plan(bound: Bound, style: Style = Style.COMPONENT, existing: Existing | None = None) -> Plan:
    """The policies that a model needs; beside `existing` ones, only what these lack."""
    requirements = requirements_of(bound)
    by_side: dict[tuple[Party, Direction], list[Requirement]] = {}
    for one in requirements:
        by_side.setdefault((one.component, one.direction), []).append(one)
    planning = _Planning(style, existing, by_side)
    policies = [*planning.default_deny(bound), *planning.components(bound)]
    closed = {namespace for party in bound.components for namespace in party.namespaces}
    return Plan(bound, requirements, tuple(policies), frozenset(closed if style is Style.NAMESPACE else ()))


class _Planning:
    """One plan on its way: the names that are taken, and what is already there."""

    def __init__(
        self, style: Style, existing: Existing | None, by_side: dict[tuple[Party, Direction], list[Requirement]]
    ) -> None:
        self.style, self.existing, self.by_side = style, existing, by_side
        self._names: set[tuple[str, str]] = existing.names() if existing else set()

    def default_deny(self, bound: Bound) -> Iterator[Planned]:
        """A policy a namespace that isolates every pod of it, where that is the style."""
        if self.style is not Style.NAMESPACE:
            return
        for namespace in sorted({one for party in bound.components for one in party.namespaces}):
            lacking = [one for one in Direction if not (self.existing and self.existing.closes(namespace, one))]
            if lacking:
                told = f"Nothing in namespace {namespace} may receive or send anything but what other policies allow."
                yield self._policy(namespace, DEFAULT_DENY, {}, {direction: [] for direction in lacking}, (told,))

    def components(self, bound: Bound) -> Iterator[Planned]:
        """A policy for each component and each namespace it has."""
        for party in sorted(bound.components, key=lambda one: (one.namespaces, one.name)):
            sides = {direction: self._rules(party, direction) for direction in Direction}
            written = {one: rules for one, rules in sides.items() if rules or not self._is_isolated(party, one)}
            for namespace in party.namespaces if written and party.pods is not None else ():
                selector = selector_document(party.pods.labels) if party.pods else {}
                told = party.entry.comment or (f"What {party.name} may receive and send: nothing else.",)
                yield self._policy(namespace, party.name, selector, written, told)

    def _rules(self, party: Party, direction: Direction) -> list[tuple[Requirement, list[Requirement]]]:
        """The requirements that need a rule, each with those that its rule serves too."""
        every = needed(self.by_side.get((party, direction), ())).items()
        return [(one, also) for one, also in every if not (self.existing and self.existing.grants(one))]

    def _is_isolated(self, party: Party, direction: Direction) -> bool:
        if self.style is Style.NAMESPACE:
            return True
        return bool(self.existing and self.existing.isolates(party, direction))

    def _policy(
        self,
        namespace: str,
        name: str,
        selector: Json,
        sides: dict[Direction, list[tuple[Requirement, list[Requirement]]]],
        told: tuple[str, ...],
    ) -> Planned:
        comments: dict[Path, tuple[str, ...]] = {(): told}
        spec: Json = {"podSelector": selector, "policyTypes": [direction.value for direction in sides]}
        for direction, rules in sides.items():
            field_name = direction.value.lower()
            for number, (one, also) in enumerate(rules):
                comments["spec", field_name, number] = tuple(_rule_comment(one, also))
            if rules:
                peers = ((one.peer, one.ports) for one, _ in rules)
                spec[field_name] = [rule_document(peer, ports, SIDES[direction], namespace) for peer, ports in peers]
        metadata = {"name": self._free(namespace, name), "namespace": namespace}
        return Planned({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}, comments)

    def _free(self, namespace: str, name: str) -> str:
        """The name, or where it is taken the name with the first number that is free."""
        found, number = name, 2
        while (namespace, found) in self._names:
            found, number = f"{name}-{number}", number + 1
        self._names.add((namespace, found))
        return found


def _rule_comment(one: Requirement, also: Iterable[Requirement]) -> Iterator[str]:
    yield str(one)
    for need in one.needs:
        yield from need.flow.entry.comment if need.flow else ()
    yield from (f"also {other}" for other in also)
