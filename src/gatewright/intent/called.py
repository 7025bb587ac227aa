"""What the ends of a gap are called: workloads by name, stand-ins by what they stand for, addresses as ranges."""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.engine.addresses import EVERY_V4, EVERY_V6, AddressSet
from gatewright.engine.model import Endpoint
from gatewright.engine.owners import owner
from gatewright.engine.podset import PodSet
from gatewright.engine.snapshot import NAMESPACE, NAMESPACE_NAME_LABEL
from gatewright.intent.parties import Need
from gatewright.intent.stage import ELSEWHERE, STRANGER, TWIN, Stage

ANY_OTHER = "any other pod of"
ANY_OF = "any pod of"
ANY_ELSEWHERE = f"{ANY_OF} another namespace"
WITH_LABELS = "a pod with labels"
TWIN_ELSEWHERE = "a pod of another namespace with the labels of"


def is_nobody(text: str) -> bool:
    """Whether what an end is called means somebody whom nobody declared."""
    return text.startswith((ANY_OF, ANY_OTHER, WITH_LABELS, TWIN_ELSEWHERE))


def names(stage: Stage, end: PodSet | AddressSet, need: Need | None, family: int) -> list[str]:
    """What an end of a gap is called: each of its workloads, the party whose addresses it is, or all but these."""
    if isinstance(end, PodSet):
        return sorted({endpoint_text(stage, stage.objects.at(index)) for index in end})
    every = {4: AddressSet(v4=EVERY_V4), 6: AddressSet(v6=EVERY_V6)}[family]
    meant = (need.source, need.destination) if need else ()
    for party in (*meant, *stage.bound.outside):
        own = party.addresses & every
        if end == own and (party in meant or end != every):
            return [party.name]
        if own and end == every - own:
            return [f"anywhere but {party.name}"]
    return ["anywhere" if end == every else f"{end}"]


def endpoint_text(stage: Stage, endpoint: Endpoint) -> str:
    """An endpoint as people know it: its workload, or what a stand-in stands for."""
    if not stage.is_stand_in(endpoint):
        kind, namespace, name = owner(stage.snapshot, endpoint)
        return f"{namespace}/{name}[{kind}]"
    if endpoint.name == STRANGER:
        return ANY_ELSEWHERE if endpoint.namespace == ELSEWHERE else f"{ANY_OTHER} {endpoint.namespace}"
    if endpoint.name.startswith(TWIN):
        return f"{TWIN_ELSEWHERE} {endpoint.name.removeprefix(TWIN)}"
    if stage.is_awaited(endpoint):
        who = f"{WITH_LABELS} {_labels(endpoint.labels)} of" if endpoint.labels else ANY_OF
        return f"{who} {_namespace(stage, endpoint.namespace)}"
    return endpoint.path


def _namespace(stage: Stage, name: str) -> str:
    """A namespace by name; one that somebody has yet to make by its labels, unless its name is what is asked for."""
    if name not in stage.spaces:
        return name
    labels = stage.snapshot.objects[NAMESPACE, "", name].labels
    if not labels:
        return name
    return f"a namespace with labels {_labels(labels)}"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if key != NAMESPACE_NAME_LABEL)
