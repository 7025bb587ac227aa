"""What the workloads, Services and labels of a model stand for among the objects of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewright.engine.model import Endpoint
from gatewright.engine.podset import NO_PODS, PodSet
from gatewright.engine.ports import Protocol
from gatewright.engine.selection import Selection
from gatewright.engine.selectors import matches
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.view import PER_POD_LABELS
from gatewright.intent.fields import nearest
from gatewright.intent.model import PodsOf, Port
from gatewright.objects.core import Service
from gatewright.objects.meta import LabelSelector
from gatewright.objects.workloads import CronJob, Workload


class NotFound(ValueError):
    """What an entry names is not among the objects. The text says what there is instead, or what to give."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A port of a Service (a number, perhaps with a name), and the port of the pods that it leads to."""

    port: Port
    target: Port


class Objects:
    """The objects of a snapshot, asked in the words of a model."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._selection = Selection(snapshot)

    def members(self, pods: PodsOf) -> PodSet:
        """The endpoints that labels select, as positions."""
        if pods.namespaces is not None:
            return self._selection.in_namespaces(pods.namespaces, pods.labels)
        if pods.namespace not in self.snapshot.namespaces:
            return NO_PODS
        return self._selection.in_namespace(pods.namespace, pods.labels)

    def pods(self, pods: PodsOf) -> list[Endpoint]:
        """The endpoints that labels select."""
        return [self.at(position) for position in self.members(pods)]

    def at(self, position: int) -> Endpoint:
        """The endpoint at a position."""
        return self.snapshot.roster.at(position)

    def namespaces(self, selector: LabelSelector) -> tuple[str, ...]:
        """The namespaces that a selector matches."""
        return tuple(name for name, labels in self.snapshot.namespaces.items() if matches(selector, labels))

    def by_labels(self, pods: PodsOf) -> PodsOf:
        """The labels that a workload's or Service's pods have. Raises NotFound."""
        item = self.snapshot.objects.get((pods.kind, pods.namespace, pods.name))
        written = f"{pods.kind} {pods.namespace}/{pods.name}"
        if isinstance(item, Service):
            labels = item.spec.selector
        elif isinstance(item, Workload | CronJob):
            own = item.template.metadata.labels.items()
            labels = {key: value for key, value in own if key not in PER_POD_LABELS}
        else:
            same = [key[2] for key in self.snapshot.objects if key[:2] == (pods.kind, pods.namespace)]
            there = nearest(pods.name, same) or f" (there are: {', '.join(sorted(same)) or 'none'})"
            raise NotFound(f"{written} is not among the objects{there}")
        if not labels:
            raise NotFound(f"{written} has no labels to select its pods by; give it some, or name other pods")
        return replace(pods, labels=LabelSelector(match_labels=labels))

    def translations(self, pods: PodsOf) -> tuple[Translation, ...]:
        """The ports of a Service; none for anything else."""
        item = self.snapshot.objects.get((pods.kind, pods.namespace, pods.name))
        if not isinstance(item, Service):
            return ()
        found = []
        for one in item.spec.ports:
            protocol = Protocol(one.protocol)
            target = one.target_port if item.spec.cluster_ip != "None" else None
            number = one.port if target is None else target
            to = Port(protocol, name=number) if isinstance(number, str) else Port(protocol, number, number)
            found.append(Translation(Port(protocol, one.port, one.port, one.name), to))
        return tuple(found)
