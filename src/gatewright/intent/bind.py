"""The model's names looked up: what every party is, and on which ports of its pods each flow ends.

With objects given, they decide: workloads and Services are found there, a component must have pods, no pod may be of
two components, and a port must be one that the pods declare. Without, labels and declared ports are all there is.
"""

from __future__ import annotations

from gatewright.engine.owners import owner
from gatewright.engine.ports import Protocol
from gatewright.engine.selectors import Selectors
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.targets import SERVICE
from gatewright.errors import InvalidInput, Problem
from gatewright.intent.contradictions import contradictions
from gatewright.intent.doors import Doors, NoSuchPort
from gatewright.intent.lookup import NotFound, Objects
from gatewright.intent.model import Component, Entry, Flow, Outside, PodsOf, Port, Traffic
from gatewright.intent.parties import DNS, Bound, Need, Party
from gatewright.intent.simplest import simplest_labels
from gatewright.objects.meta import LabelSelector

CLUSTER_DNS = PodsOf("kube-system", labels=LabelSelector(match_labels={"k8s-app": "kube-dns"}))
"""Where a cluster answers names: the labels that CoreDNS kept when it took the place of kube-dns."""
DNS_PORTS = (Port(Protocol.TCP, 53, 53), Port(Protocol.UDP, 53, 53))


def bind(traffic: Traffic, snapshot: Snapshot | None = None) -> Bound:
    """The model, looked up among the objects where there are any.

    Raises InvalidInput with every fault: those of its files, and of what could be read of them. What hangs on an entry
    that has a fault is not told of: it may be right once that is mended.
    """
    binding = _Binding(None if snapshot is None else Objects(snapshot))
    bound = binding.bind(traffic)
    problems = [*traffic.problems, *binding.problems, *contradictions(bound)]
    if problems:
        raise InvalidInput(sorted(dict.fromkeys(problems), key=_place))
    return bound


def _place(problem: Problem) -> tuple[str, int]:
    file, _, line = problem.where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (problem.where, 0)


class _Binding:
    """One look-up: the objects, the ports of each party so far, and what is wrong."""

    def __init__(self, objects: Objects | None) -> None:
        self.objects = objects
        self.doors = Doors(objects)
        self.problems: list[Problem] = []

    def bind(self, traffic: Traffic) -> Bound:
        components = [self._component(one) for one in traffic.components]
        outside = [self._outside(one) for one in traffic.outside]
        dns = self._outside(_dns(traffic)) if traffic.uses_dns else None
        parties = {party.name: party for party in (*components, *outside) if party is not None}
        found = tuple(party for party in components if party is not None)
        self._refuse_overlap(found)
        flows = self._needs(traffic.flows, parties)
        if dns is not None:
            flows += [Need(party, dns, dns.opens) for party in _callers(traffic, found, flows)]
        never = self._needs(traffic.never, parties, assertions=True)
        return Bound(found, tuple(one for one in outside if one is not None), tuple(flows), tuple(never), dns)

    def _fault(self, entry: Entry, what: str) -> None:
        self.problems.append(Problem(str(entry.origin), what))

    def _component(self, component: Component) -> Party | None:
        pods = self._pods(component.name, component.pods, component.entry)
        if pods is None:
            return None
        namespaces: tuple[str, ...] = (pods.namespace,)
        if pods.namespaces is not None:
            if self.objects is None:
                what = "its namespaces are looked up in manifests; name them with -f, or give one namespace"
                self._fault(component.entry, f"component {component.name}: {what}")
                return None
            namespaces = self.objects.namespaces(pods.namespaces)
        party = Party(component.name, True, pods, (), (), component.entry, namespaces)
        if self.objects is not None and not self._has_pods(component, pods):
            return None
        try:
            return self.doors.of_component(party, component)
        except NoSuchPort as error:
            self._fault(component.entry, f"component {component.name}: {error}")
            return None

    def _has_pods(self, component: Component, pods: PodsOf) -> bool:
        """Whether a component has pods, and a workload's labels select the pods of no other one."""
        endpoints = self.objects.pods(pods) if self.objects else []
        if not endpoints:
            what = "selects no pod among the objects given; mend its labels or namespace"
            self._fault(component.entry, f"component {component.name}: {what}")
            return False
        owners = {owner(self.objects.snapshot, one) for one in endpoints} if self.objects else set()
        others = sorted(key for key in owners - {(pods.kind, pods.namespace, pods.name)} if key[0] != "Pod")
        if pods.name and pods.kind != SERVICE and others:
            kind, _, name = others[0]
            what = f"the labels of {pods.kind} {pods.name} also select {kind} {name}; give labels that tell them apart"
            self._fault(component.entry, f"component {component.name}: {what}")
            return False
        return True

    def _outside(self, outside: Outside) -> Party | None:
        pods = self._pods(outside.name, outside.pods, outside.entry) if outside.pods else None
        if outside.pods is not None and pods is None:
            return None
        party = Party(outside.name, False, pods, outside.blocks, (), outside.entry)
        return self.doors.of_outside(party, outside)

    def _pods(self, name: str, pods: PodsOf, entry: Entry) -> PodsOf | None:
        """The pods by labels alone; None after noting why there can be none."""
        if pods.name:
            if self.objects is None:
                what = f"{pods.kind} {pods.name} is looked up in manifests; name them with -f, or give labels and ports"
                self._fault(entry, f"{name}: {what}")
                return None
            try:
                return self.objects.by_labels(pods)
            except NotFound as error:
                self._fault(entry, f"{name}: {error}")
                return None
        if simplest_labels(pods.labels) is None:
            self._fault(entry, f"{name}: the requirements of its selector contradict each other; no pod can meet them")
            return None
        return pods

    def _refuse_overlap(self, components: tuple[Party, ...]) -> None:
        """No pod may be of two components. Without objects the simplest pod of each one is asked."""
        if self.objects is None:
            self._refuse_overlapping_labels(components)
            return
        first_of: dict[int, Party] = {}
        told: set[tuple[str, str]] = set()
        for party in components:
            for index in self.objects.members(party.pods) if party.pods else ():
                first = first_of.setdefault(index, party)
                if first is not party and (first.name, party.name) not in told:
                    told.add((first.name, party.name))
                    self._overlap(first, party, f"both select {self.objects.at(index)}")

    def _refuse_overlapping_labels(self, components: tuple[Party, ...]) -> None:
        by_namespace: dict[str, list[Party]] = {}
        for party in components:
            by_namespace.setdefault(party.pods.namespace if party.pods else "", []).append(party)
        for parties in by_namespace.values():
            labels = [simplest_labels(party.pods.labels) or {} for party in parties if party.pods]
            index = Selectors(labels)
            for number, party in enumerate(parties):
                for other in index.select(party.pods.labels) if party.pods else ():
                    if other != number and (other > number or number not in self._selected(index, parties[other])):
                        shown = ",".join(f"{key}={value}" for key, value in labels[other].items()) or "no labels"
                        first, second = sorted((party, parties[other]), key=lambda one: one.entry.origin.line)
                        self._overlap(first, second, f"both select a pod with {shown}")

    @staticmethod
    def _selected(index: Selectors, party: Party) -> list[int]:
        return list(index.select(party.pods.labels)) if party.pods else []

    def _overlap(self, first: Party, second: Party, how: str) -> None:
        what = f"components {first.name} ({first.entry.origin}) and {second.name} overlap: {how}; tell them apart"
        self._fault(second.entry, what)

    def _needs(self, flows: tuple[Flow, ...], parties: dict[str, Party], *, assertions: bool = False) -> list[Need]:
        found = []
        for flow in flows:
            if flow.source not in parties or flow.destination not in parties:
                continue  # a party that is not there, or could not be looked up, is told of already
            source, destination = parties[flow.source], parties[flow.destination]
            if not (source.is_component or destination.is_component):
                continue  # and so is a flow between outsiders
            try:
                ports = self.doors.of_flow(flow, destination, assertion=assertions)
            except NoSuchPort as error:
                self._fault(flow.entry, f"{flow}: {error}")
                continue
            found.append(Need(source, destination, ports, flow))
        return found


def _dns(traffic: Traffic) -> Outside:
    told = traffic.dns
    if told is None:
        return Outside(DNS, CLUSTER_DNS, (), DNS_PORTS, Entry(traffic.origin))
    return Outside(DNS, told.pods, told.blocks, told.ports or DNS_PORTS, told.entry)


def _callers(traffic: Traffic, components: tuple[Party, ...], flows: list[Need]) -> list[Party]:
    """The components that call somebody by name: told so, or because what they call has a name in DNS."""
    told = {component.name: component.by_name for component in traffic.components}
    called = {need.source.name for need in flows if need.destination.pods is not None or need.destination.is_anywhere}
    return [party for party in components if told[party.name] or (told[party.name] is None and party.name in called)]
