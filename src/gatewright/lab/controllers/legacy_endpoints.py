"""The Endpoints object of a Service, which older clients read instead of its EndpointSlices.

Pure. It knows the Service's first family only, says ready or not and nothing of pods on their way out, and holds at
most a thousand addresses.
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.lab.api.resources import Tree
from gatewright.lab.controllers.slicing import (
    HEADLESS,
    Port,
    address_type,
    families,
    has_ended,
    hostname,
    is_headless,
    is_ready,
    is_terminating,
    pod_addresses,
    ports_of,
    target,
)

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
MOST_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def endpoints(service: Tree, pods: Iterable[Tree]) -> Tree:
    """The Endpoints of a Service among these pods, which it selects."""
    published = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    primary = families(service)[:1]
    groups: dict[tuple[Port, ...], tuple[list[Tree], list[Tree]]] = {}
    count = 0
    for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"])):
        addresses = [one for one in pod_addresses(pod) if address_type(one) in primary]
        if has_ended(pod) or not addresses or (is_terminating(pod) and not published):
            continue
        count += 1
        if count <= MOST_ADDRESSES:
            ready, waiting = groups.setdefault(ports_of(service, pod), ([], []))
            (ready if published or is_ready(pod) else waiting).append(_address(service, pod, addresses[0]))
    metadata = service["metadata"]
    labels = {**(metadata.get("labels") or {}), MANAGED_BY: CONTROLLER}
    made: Tree = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": labels | ({HEADLESS: ""} if is_headless(service) else {}),
        },
    }
    if count > MOST_ADDRESSES:
        made["metadata"]["annotations"] = {OVER_CAPACITY: "truncated"}
    if groups:
        made["subsets"] = [_subset(ports, *own) for ports, own in sorted(groups.items())]
    return made


def differs(known: Tree, made: Tree) -> bool:
    """Whether the object that is there says something else."""
    one, other = known["metadata"], made["metadata"]
    over = tuple((tree.get("annotations") or {}).get(OVER_CAPACITY) for tree in (one, other))
    return (
        (one.get("labels") or {}) != other["labels"]
        or over[0] != over[1]
        or (known.get("subsets") or []) != made.get("subsets", [])
    )


def _subset(ports: tuple[Port, ...], ready: list[Tree], waiting: list[Tree]) -> Tree:
    made: Tree = {}
    if ready:
        made["addresses"] = ready
    if waiting:
        made["notReadyAddresses"] = waiting
    if ports:
        made["ports"] = [_port(*one) for one in ports]
    return made


def _port(name: str, protocol: str, number: int, application: str) -> Tree:
    made: Tree = {"port": number, "protocol": protocol}
    return made | ({"name": name} if name else {}) | ({"appProtocol": application} if application else {})


def _address(service: Tree, pod: Tree, address: str) -> Tree:
    made: Tree = {"ip": address, "targetRef": target(pod)}
    if node := (pod.get("spec") or {}).get("nodeName"):
        made["nodeName"] = node
    if own := hostname(service, pod):
        made["hostname"] = own
    return made
