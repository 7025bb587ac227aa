"""What the EndpointSlices of a Service should be, and the fewest writes that lead there from those that are.

Pure. The rules are those of Kubernetes' controller: a slice holds one family and one set of ports, at most a hundred
endpoints; pods whose container ports give a name other numbers stand in slices of their own; a family without any
endpoint has one empty slice. Endpoints stay in the slice that they are in, since every slice that changes is sent to
every node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.engine.addresses import parse_address
from gatewright.lab.api.resources import Tree

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
MOST_ENDPOINTS = 100
"""Endpoints in a slice."""
_RESERVED = frozenset((SERVICE_NAME, MANAGED_BY, HEADLESS))

Port = tuple[str, str, int, str]
"""Name, protocol, number, application protocol (empty: none)."""
Group = tuple[str, tuple[Port, ...]]
"""Address type and ports: what slices hold together."""


@dataclass(frozen=True, slots=True)
class Writes:
    """Slices to make, to change (each a whole object) and to delete. New ones first: nothing is missing meanwhile."""

    created: tuple[Tree, ...] = ()
    updated: tuple[Tree, ...] = ()
    deleted: tuple[Tree, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.created or self.updated or self.deleted)


# --- pods -------------------------------------------------------------------------------------------------------------


def selects(service: Tree, labels: Mapping[str, str]) -> bool:
    """Whether the Service selects pods with these labels. One without a selector selects none."""
    selector = (service.get("spec") or {}).get("selector") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def is_ready(pod: Tree) -> bool:
    """Whether the pod's condition says that it is ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def is_terminating(pod: Tree) -> bool:
    """Whether the pod is on its way out."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def has_ended(pod: Tree) -> bool:
    """Whether the pod has finished for good: it is an endpoint no more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def pod_addresses(pod: Tree) -> tuple[str, ...]:
    """Its addresses, at most one a family; none while it has none."""
    status = pod.get("status") or {}
    listed = tuple(one["ip"] for one in status.get("podIPs") or () if one.get("ip"))
    return listed or ((status["podIP"],) if status.get("podIP") else ())


def address_type(address: str) -> str:
    """`IPv4` or `IPv6`."""
    return f"IPv{parse_address(address).version}"


def hostname(service: Tree, pod: Tree) -> str:
    """The pod's own name below the Service's, if it asks for one there."""
    spec = pod.get("spec") or {}
    return spec.get("hostname") or "" if spec.get("subdomain") == service["metadata"]["name"] else ""


def target(pod: Tree) -> Tree:
    """An ObjectReference to the pod."""
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def ports_of(service: Tree, pod: Tree) -> tuple[Port, ...]:
    """The Service's ports on this pod; without those that no container of the pod has by that name."""
    found = []
    for port in (service.get("spec") or {}).get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _number(port, protocol, pod)
        if number is not None:
            found.append((port.get("name") or "", protocol, number, port.get("appProtocol") or ""))
    return tuple(found)


def _number(port: Tree, protocol: str, pod: Tree) -> int | None:
    wanted = port.get("targetPort") or port["port"]
    if isinstance(wanted, int):
        return wanted
    spec = pod.get("spec") or {}
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        for one in container.get("ports") or ():
            if one.get("name") == wanted and (one.get("protocol") or "TCP") == protocol:
                return int(one["containerPort"])
    return int(wanted) if wanted.isdigit() else None


# --- what should be ---------------------------------------------------------------------------------------------------


def families(service: Tree) -> tuple[str, ...]:
    """The address types of the Service."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return ()
    named = tuple(spec.get("ipFamilies") or ())
    given = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return named or tuple(address_type(one) for one in given if one and one != "None") or ("IPv4",)


def wanted(service: Tree, pods: Iterable[Tree]) -> dict[Group, list[Tree]]:
    """The endpoints of a Service among these pods, which it selects, by what goes into one slice."""
    found: dict[Group, list[Tree]] = {}
    own = families(service)
    for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"])):
        if has_ended(pod):
            continue
        for address in pod_addresses(pod):
            if address_type(address) in own:
                found.setdefault((address_type(address), ports_of(service, pod)), []).append(
                    _endpoint(service, pod, address)
                )
    for family in own:
        if not any(kind == family for kind, _ in found):
            found[family, ()] = []
    return found


def _endpoint(service: Tree, pod: Tree, address: str) -> Tree:
    serving, terminating = is_ready(pod), is_terminating(pod)
    published = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    made: Tree = {
        "addresses": [address],
        "conditions": {
            "ready": published or (serving and not terminating),
            "serving": serving or published,
            "terminating": terminating,
        },
        "targetRef": target(pod),
    }
    if node := (pod.get("spec") or {}).get("nodeName"):
        made["nodeName"] = node
    if own := hostname(service, pod):
        made["hostname"] = own
    return made


# --- from those that are ----------------------------------------------------------------------------------------------


def plan(service: Tree, groups: Mapping[Group, list[Tree]], existing: Iterable[Tree]) -> Writes:
    """The writes that make the Service's slices (`existing`, all of this controller) hold these endpoints."""
    standing: dict[Group, list[Tree]] = {}
    for one in sorted(existing, key=lambda tree: str(tree["metadata"]["name"])):
        standing.setdefault(_group(one), []).append(one)
    created: list[Tree] = []
    updated: list[Tree] = []
    deleted = [one for group, own in standing.items() if group not in groups for one in own]
    for group, endpoints in groups.items():
        own = standing.get(group, [])
        shares = _distribute([_endpoints(one) for one in own], endpoints)
        for held, tree in zip(shares, own, strict=False):
            if not held and (endpoints or tree is not own[0]):
                deleted.append(tree)
            elif (changed := _changed(service, tree, held)) != tree:
                updated.append(changed)
        created += [_new(service, group, held) for held in shares[len(own) :]]
    return _reused(created, updated, deleted)


def _reused(created: list[Tree], updated: list[Tree], deleted: list[Tree]) -> Writes:
    """A slice that goes becomes one that comes: one write, and no moment in which endpoints are in neither."""
    made = []
    for new in created:
        old = next((one for one in deleted if one["addressType"] == new["addressType"]), None)
        if old is None:
            made.append(new)
            continue
        deleted.remove(old)
        metadata = {**old["metadata"], **{key: new["metadata"][key] for key in ("labels", "ownerReferences")}}
        updated.append({**old, "metadata": metadata, "endpoints": new["endpoints"], "ports": new["ports"]})
    return Writes(tuple(made), tuple(updated), tuple(deleted))


def _distribute(slices: list[list[Tree]], endpoints: list[Tree]) -> list[list[Tree]]:
    """The endpoints of each slice, and of those that are new.

    What is there stays in its place. What comes goes first into slices that change anyhow, then into new ones that it
    fills, and the rest into the fullest slice that has room for all of it.
    """
    left = {_identity(one): one for one in endpoints}
    found = [[left.pop(key) for one in own if (key := _identity(one)) in left] for own in slices]
    coming = list(left.values())
    for own, before in zip(found, slices, strict=True):
        if own != before:
            room = max(MOST_ENDPOINTS - len(own), 0)
            own += coming[:room]
            coming = coming[room:]
    while len(coming) >= MOST_ENDPOINTS:
        found.append(coming[:MOST_ENDPOINTS])
        coming = coming[MOST_ENDPOINTS:]
    if coming or not found:
        roomy = [own for own in found if len(own) + len(coming) <= MOST_ENDPOINTS]
        if roomy:
            max(roomy, key=len).extend(coming)
        else:
            found.append(coming)
    return found


def _identity(endpoint: Tree) -> tuple[Any, ...]:
    reference = endpoint.get("targetRef") or {}
    return (*endpoint["addresses"], reference.get("uid"))


def _endpoints(tree: Tree) -> list[Tree]:
    return list(tree.get("endpoints") or ())


def _group(tree: Tree) -> Group:
    ports = tree.get("ports") or ()
    return tree["addressType"], tuple(
        (one.get("name") or "", one.get("protocol") or "TCP", one.get("port") or 0, one.get("appProtocol") or "")
        for one in ports
    )


def labels(service: Tree) -> dict[str, str]:
    """The labels of the Service's slices: its own, and those by which slices are found."""
    own = {key: one for key, one in (service["metadata"].get("labels") or {}).items() if key not in _RESERVED}
    own |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: CONTROLLER}
    return own | ({HEADLESS: ""} if is_headless(service) else {})


def is_headless(service: Tree) -> bool:
    """Whether the Service has no address of its own on purpose."""
    return (service.get("spec") or {}).get("clusterIP") == "None"


def _changed(service: Tree, tree: Tree, endpoints: list[Tree]) -> Tree:
    metadata = {**tree["metadata"], "labels": labels(service), "ownerReferences": [_owner(service)]}
    return {**tree, "metadata": metadata, "endpoints": endpoints}


def _new(service: Tree, group: Group, endpoints: list[Tree]) -> Tree:
    metadata = service["metadata"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": labels(service),
            "ownerReferences": [_owner(service)],
        },
        "addressType": group[0],
        "endpoints": endpoints,
        "ports": list(_port_trees(group[1])),
    }


def _port_trees(ports: tuple[Port, ...]) -> Iterator[Tree]:
    for name, protocol, number, application in ports:
        yield {"name": name, "protocol": protocol, "port": number} | (
            {"appProtocol": application} if application else {}
        )


def _owner(service: Tree) -> Tree:
    metadata = service["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
