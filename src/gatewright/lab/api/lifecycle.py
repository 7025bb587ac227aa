"""What the endpoint does to an object between the client and the store: on create, on update, on deletion.

All of it is pure: trees in, trees out. Who may write which part (spec or status), what the server sets itself, and when
an object is deleted at once or waits (finalizers, graceful deletion) is decided here.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from datetime import UTC, datetime, timedelta

import msgspec

from gatewright.kubeapi.failure import bad_request
from gatewright.lab.api.defaults import admit, apply_defaults
from gatewright.lab.api.resources import Resource, Tree

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits of generated names: none that spell words (apimachinery, util/rand)."""
_SERVER_FIELDS = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
DELETED_WHOLE = frozenset(("Pod", "Service", "ServiceAccount"))
"""Kinds whose deletion is answered with the object; the others answer with a Status."""
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


def now() -> str:
    """The time as objects carry it."""
    return stamp(datetime.now(UTC))


def stamp(time: datetime) -> str:
    """A time in seconds, as objects carry it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def copied(tree: Tree) -> Tree:
    """An object that may be changed without the first one; by way of JSON, which is several times as fast as `copy`."""
    again: Tree = msgspec.json.decode(msgspec.json.encode(tree))
    return again


def generated(prefix: str) -> str:
    """A name with this prefix, at most 63 characters as in a cluster."""
    return prefix[:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))


def born(resource: Resource, tree: Tree, namespace: str) -> Tree:
    """A new object: named, dated, defaulted; what the server adds is left to `admit`. Raises Failure (400)."""
    metadata = tree.setdefault("metadata", {})
    if metadata.get("resourceVersion") not in (None, ""):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for name in (*_SERVER_FIELDS, "selfLink", "managedFields", "generation"):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generated(metadata["generateName"])
    tree["metadata"] = _ordered(
        metadata,
        namespace=namespace if resource.namespaced else None,
        uid=str(uuid.uuid4()),
        resourceVersion="",
        generation=1 if resource.generation else None,
        creationTimestamp=now(),
    )
    if resource.status and resource.kind != "Node":
        tree.pop("status", None)
    _fill(resource, tree)
    return tree


def _fill(resource: Resource, tree: Tree) -> None:
    if resource.kind == "Secret" and tree.get("stringData"):
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in tree.pop("stringData").items()}
        tree["data"] = {**(tree.get("data") or {}), **encoded}
    apply_defaults(resource.kind, tree)


_ORDER = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")


def _ordered(metadata: Tree, **values: object) -> Tree:
    """Metadata with these values, in the order of a server. None takes a field away."""
    together = {**metadata, **values}
    names = (*_ORDER, *(name for name in together if name not in _ORDER))
    return {name: together[name] for name in names if together.get(name) is not None}


def updated(resource: Resource, old: Tree, tree: Tree, subresource: str = "") -> Tree:
    """What an update of the main resource or of its status leads to; owners of fields are left to the caller."""
    metadata = tree.setdefault("metadata", {})
    kept = {name: old["metadata"].get(name) for name in (*_SERVER_FIELDS, "namespace", "generation", "name")}
    kept["generateName"] = old["metadata"].get("generateName")
    tree["metadata"] = _ordered(metadata, **kept, managedFields=old["metadata"].get("managedFields"), selfLink=None)
    if subresource == "status":
        status = tree.get("status")
        tree = {**old, "metadata": tree["metadata"]}
        tree.pop("status", None)
        if status is not None:
            tree["status"] = status
    elif resource.status:
        tree.pop("status", None)
        if "status" in old:
            tree["status"] = old["status"]
    if resource.kind == "Namespace" and subresource != "finalize":
        tree["spec"] = old.get("spec", {})
    if resource.kind == "Service":
        _keep_addresses(old["spec"], tree.setdefault("spec", {}))
    if resource.kind == "Pod" and subresource == "":
        _keep_pod(old["spec"], tree.setdefault("spec", {}))
    _fill(resource, tree)
    admit(resource.kind, tree)
    if resource.generation and subresource != "status" and _counted(resource, old) != _counted(resource, tree):
        tree["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    return tree


def _counted(resource: Resource, tree: Tree) -> Tree:
    """What the generation counts changes of: everything but metadata and status; of Deployments also annotations."""
    counted = {name: value for name, value in tree.items() if name not in ("metadata", "status", "kind", "apiVersion")}
    if resource.kind == "Deployment":
        counted["annotations"] = tree["metadata"].get("annotations") or {}
    return counted


def _keep_addresses(before: Tree, after: Tree) -> None:
    """A Service keeps what it was given when an update does not say otherwise."""
    if "ExternalName" in (before.get("type"), after.get("type")):
        return
    if not after.get("clusterIP") and not after.get("clusterIPs"):
        for name in ("clusterIP", "clusterIPs"):
            if name in before:
                after[name] = before[name]
    elif after.get("clusterIP") != before.get("clusterIP") and after.get("clusterIPs") == before.get("clusterIPs"):
        after["clusterIPs"] = [after["clusterIP"]] if after.get("clusterIP") else []
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if name not in after and name in before:
            after[name] = before[name]
    given = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in before.get("ports") or ()}
    if after.get("type") in ("NodePort", "LoadBalancer"):
        for port in after.get("ports") or ():
            known = given.get((port.get("protocol", "TCP"), port.get("port")))
            if known and not port.get("nodePort"):
                port["nodePort"] = known


def _keep_pod(before: Tree, after: Tree) -> None:
    """What the server added to a pod stays when an update leaves it out."""
    for name in ("nodeName", "priority", "enableServiceLinks", "preemptionPolicy", "tolerations", "serviceAccount"):
        if name in before and name not in after:
            after[name] = before[name]


def same(old: Tree, new: Tree) -> bool:
    """Whether an update changes nothing: then nothing is written, and the revision stays."""
    return _bare(old) == _bare(new)


def _bare(tree: Tree) -> Tree:
    metadata = {
        name: value for name, value in tree["metadata"].items() if name not in ("resourceVersion", "managedFields")
    }
    managed = [
        {name: value for name, value in entry.items() if name != "time"}
        for entry in tree["metadata"].get("managedFields") or ()
    ]
    return {**tree, "metadata": {**metadata, "managedFields": managed}}


def finished(tree: Tree) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = tree["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if (tree.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def condemned(resource: Resource, old: Tree, grace: int | None, propagation: str) -> Tree | None:
    """The object on its way out; None where it goes at once."""
    tree = copied(old)
    metadata = tree["metadata"]
    finalizers = [one for one in metadata.get("finalizers") or () if one not in (FOREGROUND, ORPHAN)]
    finalizers += {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(propagation, [])
    seconds = _grace(resource, old, grace)
    first = not metadata.get("deletionTimestamp")
    if seconds == 0 and not finalizers and not (tree.get("spec") or {}).get("finalizers"):
        return None
    if (
        not first
        and metadata.get("deletionGracePeriodSeconds", 0) <= seconds
        and metadata.get("finalizers") == finalizers
    ):
        return old
    if first or seconds < metadata.get("deletionGracePeriodSeconds", 0):
        metadata["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=seconds))
        if resource.kind != "Namespace":
            metadata["deletionGracePeriodSeconds"] = seconds
        if resource.kind == "Pod" and first:
            metadata["generation"] = metadata.get("generation", 0) + 1
    if finalizers:
        metadata["finalizers"] = finalizers
    if resource.kind == "Namespace":
        tree.setdefault("status", {})["phase"] = "Terminating"
    return tree


def ended(old: Tree) -> Tree:
    """A pod whose time is over, as its watchers see it before it is gone."""
    tree = copied(old)
    metadata = tree["metadata"]
    if not metadata.get("deletionTimestamp"):
        metadata["generation"] = metadata.get("generation", 0) + 1
    metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"] = now(), 0
    return tree


def _grace(resource: Resource, tree: Tree, asked: int | None) -> int:
    """Seconds a pod on a node has to end; everything else goes at once."""
    if resource.kind != "Pod" or not tree["spec"].get("nodeName"):
        return 0
    if (tree.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    default = tree["spec"].get("terminationGracePeriodSeconds", 30)
    return max(0, min(default if asked is None else asked, 10**9))
