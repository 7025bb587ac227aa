"""A cluster as it would be: what it has now, with proposed manifests over it.

A manifest replaces the live object of the same kind, namespace and name, as `kubectl apply` would. Where that changes
what policies see of a workload's pods, the pods it has now are on their way out: the workload then stands for the pods
it will have. Where it changes only what policies do not see (an image, a replica count), the live pods stay, with the
addresses they have. A manifest that names no namespace belongs in that of the context, as for kubectl.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from gatewright.objects.core import Container, ContainerPort
from gatewright.objects.meta import Object
from gatewright.objects.read import Parsed
from gatewright.objects.workloads import CronJob, Workload

Key = tuple[str, str, str]


def over(live: Parsed, proposed: Parsed, namespace: str = "default") -> Parsed:
    """The live objects with the proposed ones over them; `namespace` is that of manifests that name none."""
    proposed = Parsed.merge([replace(proposed, objects=tuple(_housed(item, namespace) for item in proposed.objects))])
    by_key = {item.key: item for item in live.objects}
    given = {item.key: item for item in proposed.objects}
    replaced = {key for key, item in given.items() if key in by_key and _seen(by_key[key]) != _seen(item)}
    leaving = _owned(live.objects, replaced)
    kept = tuple(item for item in live.objects if item.key not in given and item.key not in leaving)
    merged = Parsed.merge((replace(live, objects=()), replace(proposed, objects=())))
    return replace(merged, objects=kept + proposed.objects)


def _housed(item: Object, namespace: str) -> Object:
    if item.origin is None or not item.origin.homeless:
        return item
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, namespace=namespace))


def _seen(item: Object) -> object:
    """What policies see of the pods that a workload makes; None for everything else."""
    if not isinstance(item, Workload | CronJob):
        return None
    spec = item.template.spec
    return (item.template.metadata.labels, spec.host_network, _ports(spec.containers), _ports(spec.init_containers))


def _ports(containers: Iterable[Container]) -> list[tuple[str | None, tuple[ContainerPort, ...]]]:
    return [(one.restart_policy, one.ports) for one in containers]


def _owned(objects: tuple[Object, ...], owners: set[Key]) -> set[Key]:
    """The keys of what the owners control, also through others: a Deployment's ReplicaSets and their pods."""
    below: dict[Key, list[Key]] = {}
    for item in objects:
        for reference in item.metadata.owner_references:
            if reference.controller:
                below.setdefault((reference.kind, item.namespace, reference.name), []).append(item.key)
    found: set[Key] = set()
    waiting = [*owners]
    while waiting:
        for key in below.get(waiting.pop(), ()):
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found
