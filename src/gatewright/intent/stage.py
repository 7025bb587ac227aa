"""The cluster on which a model is proved: the objects given, and stand-ins for whom they lack.

Stand-ins are workloads of two pods. There is one for each component where no objects are given, for DNS and other
pods outside that nobody declared, and for those whom no policy may let in by mistake: any other pod of each namespace,
for each party a pod with its labels in another namespace, and the pods that policies select and nobody is yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from gatewright.engine.model import Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.selectors import matches
from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL, Changes, Snapshot
from gatewright.intent.lookup import Objects
from gatewright.intent.model import Port
from gatewright.intent.parties import Bound, Party
from gatewright.intent.simplest import assumed_numbers, simplest_labels
from gatewright.intent.unmatched import awaited
from gatewright.objects.core import Container, ContainerPort, Namespace, PodSpec
from gatewright.objects.meta import LabelSelector, Object, ObjectMeta
from gatewright.objects.workloads import Deployment, PodTemplateSpec, WorkloadSpec

ELSEWHERE = "another-namespace"
STRANGER = "any-other-pod"
TWIN = "pod-with-labels-of-"
AWAITED = "pod-with-labels-"


@dataclass(frozen=True, eq=False)
class Stage:
    """The objects with their stand-ins, and which endpoints each party has there."""

    objects: Objects
    bound: Bound
    stand_ins: frozenset[tuple[str, str]]
    """(namespace, name) of each."""
    awaited: frozenset[tuple[str, str]] = frozenset()
    """Those of them that policies wait for: they may be of a component, and no flow needs them."""
    spaces: frozenset[str] = frozenset()
    """The namespaces that were made for them."""

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot: its policies are those of the objects given."""
        return self.objects.snapshot

    def with_changes(self, changes: Changes) -> Stage:
        """The stage after policies came or went."""
        return replace(self, objects=Objects(self.snapshot.apply(changes)))

    def is_stand_in(self, endpoint: Endpoint) -> bool:
        """Whether nobody declared the endpoint."""
        return (endpoint.namespace, endpoint.name) in self.stand_ins

    def members(self, party: Party) -> PodSet:
        """The endpoints of a component, those that policies wait for included."""
        return self.objects.members(party.pods) if party.pods else NO_PODS

    @cached_property
    def awaited_members(self) -> PodSet:
        """Every endpoint that policies wait for, and nobody is."""
        roster = self.snapshot.roster if self.awaited else ()
        return PodSet.of(sorted(one.index for one in roster if self.is_awaited(one)))

    def is_awaited(self, endpoint: Endpoint) -> bool:
        """Whether policies wait for the endpoint, and nobody is it."""
        return (endpoint.namespace, endpoint.name) in self.awaited


def build_stage(bound: Bound, snapshot: Snapshot | None = None) -> Stage:
    """The snapshot with stand-ins; without one, stand-ins alone."""
    given = snapshot or Snapshot.of(())
    added = [*_parties(bound, given, every=snapshot is None)]
    added += _strangers(bound, given.apply(Changes(tuple(added))))
    waiting = [*_awaited(bound, given.apply(Changes(tuple(added))))]
    whole = _in_families(bound, given.apply(Changes((*added, *waiting))))
    return Stage(
        Objects(whole),
        bound,
        stand_ins=_paths((*added, *waiting)),
        awaited=_paths(waiting),
        spaces=frozenset(one.metadata.name for one in waiting if isinstance(one, Namespace)),
    )


def _paths(objects: Iterable[Object]) -> frozenset[tuple[str, str]]:
    return frozenset((one.namespace, one.name) for one in objects if isinstance(one, Deployment))


def _in_families(bound: Bound, snapshot: Snapshot) -> Snapshot:
    """The snapshot, its pods of either family where nothing says of which and the model names IPv6 addresses."""
    named = any(party.addresses.v6 for party in bound.parties if party.pods is None and not party.is_anywhere)
    if not named or snapshot.pod_range or any(endpoint.addresses for endpoint in snapshot.endpoints):
        return snapshot
    return Snapshot.of(snapshot.objects.values(), pod_cidrs=("0.0.0.0/0", "::/0"))


def _parties(bound: Bound, given: Snapshot, *, every: bool) -> Iterator[Object]:
    """Components where `every` is set, and pods outside that nobody declared."""
    objects = Objects(given)
    for party in bound.parties:
        if party.pods is None or (party.is_component and not every) or objects.members(party.pods):
            continue
        labels = simplest_labels(party.pods.labels) or {}
        name = party.name.replace(" ", "-").lower()
        if party.pods.namespaces is None:
            yield _workload(party.pods.namespace, name, labels, _declared(party.opens))
        else:
            known = objects.namespaces(party.pods.namespaces)
            namespace = _namespace(name, party.pods.namespaces)
            yield from () if known else [namespace]
            yield _workload(known[0] if known else namespace.name, name, labels, _declared(party.opens))


def _namespace(name: str, selector: LabelSelector) -> Namespace:
    labels = simplest_labels(selector) or {}
    own = labels.pop(NAMESPACE_NAME_LABEL, f"namespace-of-{name}")
    return Namespace(api_version="v1", kind="Namespace", metadata=ObjectMeta(name=own, labels=labels))


def _strangers(bound: Bound, known: Snapshot) -> Iterator[Deployment]:
    """Who is nobody's peer, unless a flow means everybody."""
    inhabited = {namespace for party in bound.components for namespace in party.namespaces}
    inhabited |= {party.pods.namespace for party in bound.parties if party.pods and party.pods.namespace}
    twins: dict[tuple[tuple[str, str], ...], Party] = {}
    for party in bound.parties:
        labels = simplest_labels(party.pods.labels) if party.pods else None
        if labels:
            twins.setdefault(tuple(sorted(labels.items())), party)
    wanted: list[tuple[str, str, dict[str, str], tuple[Port, ...]]]
    wanted = [(namespace, STRANGER, {}, ()) for namespace in sorted({*inhabited, ELSEWHERE})]
    wanted += [(ELSEWHERE, f"{TWIN}{party.name}", dict(labels), party.opens) for labels, party in twins.items()]
    by_namespace: dict[str, list[Party]] = {}
    for party in bound.components:
        by_namespace.setdefault(party.pods.namespace if party.pods else "", []).append(party)
    for namespace, name, labels, ports in wanted:
        near = (*by_namespace.get(namespace, ()), *by_namespace.get("", ()))
        if not any(_selects(party, namespace, labels, known) for party in near):
            yield _workload(namespace, name, labels, _declared(ports))


def _awaited(bound: Bound, known: Snapshot) -> Iterator[Object]:
    """The pods that policies wait for, each new namespace once."""
    made: dict[tuple[tuple[str, str], ...], str] = {}
    for number, one in enumerate(awaited(known, bound.components)):
        name, labels = one.space.name, tuple(sorted(one.space.labels.items()))
        if name not in known.namespaces and labels not in made:
            made[labels] = name or f"{ELSEWHERE}-{len(made)}"
            yield Namespace(api_version="v1", kind="Namespace", metadata=_meta(made[labels], one.space.labels))
        namespace = made.get(labels, name)
        yield _workload(namespace, f"{AWAITED}{number}", one.labels, _declared_like(one.like))


def _meta(name: str, labels: dict[str, str]) -> ObjectMeta:
    return ObjectMeta(name=name, labels={key: one for key, one in labels.items() if key != NAMESPACE_NAME_LABEL})


def _selects(party: Party, namespace: str, labels: dict[str, str], known: Snapshot) -> bool:
    """Whether a component of the namespace, or of namespaces by their labels, would have a pod with these labels."""
    if party.pods is None or not matches(party.pods.labels, labels):
        return False
    own = {**known.namespaces.get(namespace, {}), NAMESPACE_NAME_LABEL: namespace}
    return party.pods.namespaces is None or matches(party.pods.namespaces, own)


def _declared(ports: Iterable[Port]) -> Iterator[ContainerPort]:
    """The ports of a model as a container declares them; one that has a name alone gets some number."""
    every = tuple(ports)
    for (name, protocol), numbers in assumed_numbers(every).items():
        yield ContainerPort(container_port=numbers[0][0], name=name, protocol=protocol.value)
    for port in every:
        if port.protocol is not None and port.first:
            yield ContainerPort(container_port=port.first, protocol=port.protocol.value)


def _declared_like(pod: Endpoint | None) -> Iterator[ContainerPort]:
    """The ports that another pod declares."""
    for (name, protocol), ranges in pod.named_ports.items() if pod else ():
        for number in (number for first, last in ranges for number in range(first, last + 1)):
            yield ContainerPort(container_port=number, name=name, protocol=protocol.value)
    for protocol, number in pod.ports if pod else ():
        yield ContainerPort(container_port=number, protocol=protocol.value)


def _workload(namespace: str, name: str, labels: dict[str, str], ports: Iterable[ContainerPort]) -> Deployment:
    template = PodTemplateSpec(
        metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=(Container(ports=tuple(ports)),))
    )
    return Deployment(
        api_version="apps/v1",
        kind="Deployment",
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=WorkloadSpec(template=template, replicas=2),
    )
