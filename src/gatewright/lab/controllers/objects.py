"""What all controllers ask of objects: owners, selectors, whether a pod is ready, available or over; times, conditions.

Pure. Trees come from a follower and are shared: nothing here changes one. The rules are those of Kubernetes
(k8s.io/kubernetes, pkg/api/v1/pod, pkg/controller/controller_utils.go).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gatewright.engine.selectors import requirement_holds
from gatewright.lab.api.lifecycle import stamp as stamp_of
from gatewright.lab.api.resources import Resource, Tree

Key = tuple[str, str]
"""Namespace (empty where there is none) and name."""
Canonical = tuple[tuple[str, str, tuple[str, ...]], ...]
"""The requirements of a label selector, sorted: equal selectors are equal however they are written."""
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of hashes in names: no vowels, so no words (apimachinery, util/rand)."""


def key_of(tree: Tree) -> Key:
    """Under what an object is known to its controller."""
    return tree["metadata"].get("namespace", ""), tree["metadata"]["name"]


def uid_of(tree: Tree) -> str:
    """What tells this object from an earlier one of its name."""
    uid: str = tree["metadata"].get("uid", "")
    return uid


def labels_of(tree: Tree) -> Mapping[str, str]:
    """An object's labels."""
    return tree["metadata"].get("labels") or {}


def annotations_of(tree: Tree) -> Mapping[str, str]:
    """An object's annotations."""
    return tree["metadata"].get("annotations") or {}


def deleting(tree: Tree) -> bool:
    """Whether its deletion has begun."""
    return bool(tree["metadata"].get("deletionTimestamp"))


def status_of(tree: Tree) -> Tree:
    """An object's status; empty where it has none."""
    return tree.get("status") or {}


# Selectors.


def canonical(selector: Tree | None) -> Canonical:
    """A label selector's requirements; an empty one has none and matches everything."""
    selector = selector or {}
    found = [(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    found += [
        (one["key"], one["operator"], tuple(sorted(set(one.get("values") or ()))))
        for one in selector.get("matchExpressions") or ()
    ]
    return tuple(sorted(set(found)))


def selected(requirements: Canonical, labels: Mapping[str, str]) -> bool:
    """Whether labels meet all requirements. What has an operator that does not exist selects nothing."""
    try:
        return all(requirement_holds(one, labels) for one in requirements)
    except ValueError:
        return False


# Owners.


def controller_of(tree: Tree) -> Tree | None:
    """The reference to the object that controls this one."""
    for owner in tree["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            found: Tree = owner
            return found
    return None


def controller_uid(tree: Tree) -> str:
    """The uid of the object that controls this one; empty where none does."""
    owner = controller_of(tree)
    return owner["uid"] if owner else ""


def reference_to(resource: Resource, owner: Tree) -> Tree:
    """The owner reference by which a controller's object holds what is made for it."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


# Time.


def seconds_of(text: Any) -> float | None:
    """Seconds since 1970 of a time in an object; None where there is none."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else None
    except (AttributeError, ValueError):
        return None


def stamp(now: float) -> str:
    """A time as objects carry it, in whole seconds."""
    return stamp_of(datetime.fromtimestamp(now, UTC))


def created(tree: Tree) -> float:
    """When an object was made, in seconds since 1970."""
    return seconds_of(tree["metadata"].get("creationTimestamp")) or 0.0


# Conditions.


def condition(tree: Tree, kind: str) -> Tree | None:
    """An object's condition of a type."""
    for one in status_of(tree).get("conditions") or ():
        if one.get("type") == kind:
            found: Tree = one
            return found
    return None


def is_true(tree: Tree, kind: str) -> bool:
    """Whether an object's condition holds."""
    found = condition(tree, kind)
    return found is not None and found.get("status") == "True"


def with_condition(conditions: Iterable[Tree], new: Tree, now: str) -> list[Tree]:
    """The conditions with this one in its type's place; `lastTransitionTime` moves only when the status does."""
    kept = list(conditions)
    for place, one in enumerate(kept):
        if one.get("type") == new["type"]:
            same = one.get("status") == new["status"]
            kept[place] = {**new, "lastTransitionTime": one.get("lastTransitionTime", now) if same else now}
            return kept
    return [*kept, {**new, "lastTransitionTime": now}]


# Pods.


def phase(pod: Tree) -> str:
    """A pod's phase."""
    return status_of(pod).get("phase") or "Pending"


def over(pod: Tree) -> bool:
    """Whether a pod has run to its end, well or not."""
    return phase(pod) in ("Succeeded", "Failed")


def active(pod: Tree) -> bool:
    """Whether a pod counts as one that its workload has: neither over nor on its way out."""
    return not over(pod) and not deleting(pod)


def ready(pod: Tree) -> bool:
    """Whether a pod says that it is ready."""
    return is_true(pod, "Ready")


def ready_since(pod: Tree) -> float:
    """When a ready pod became so."""
    return seconds_of((condition(pod, "Ready") or {}).get("lastTransitionTime")) or 0.0


def available_in(pod: Tree, least: float, now: float) -> float | None:
    """Seconds until a pod has been ready for as long as asked: 0 it is available, None it is not ready at all."""
    if not ready(pod):
        return None
    return max(0.0, ready_since(pod) + least - now) if least else 0.0


def soonest(times: Iterable[float | None]) -> float | None:
    """The least of some times; None where there is none."""
    return min((one for one in times if one is not None), default=None)


def victims_first(pod: Tree, crowd: int, now: float) -> tuple[Any, ...]:
    """The order in which a workload gives up pods: what has done least goes first.

    That is, in turn: not on a node, pending before running, not ready, lower deletion cost, more pods of the workload
    on its node (`crowd`), ready for a shorter time, more restarts, younger (controller_utils.go, ActivePodsWithRanks).
    Times are compared by their logarithm, as there, so that a second does not matter among hours.
    """
    restarts = max((one.get("restartCount", 0) for one in status_of(pod).get("containerStatuses") or ()), default=0)
    return (
        bool((pod.get("spec") or {}).get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
        ready(pod),
        _cost(pod),
        -crowd,
        _magnitude(now - ready_since(pod)) if ready(pod) else 0,
        -restarts,
        _magnitude(now - created(pod)),
        uid_of(pod),
    )


def _cost(pod: Tree) -> int:
    try:
        return int(annotations_of(pod).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    except ValueError:
        return 0


def _magnitude(seconds: float) -> int:
    return int(math.log2(seconds)) + 1 if seconds >= 1 else 0


# Numbers and names.


def share(value: Any, total: int, *, up: bool) -> int:
    """A number, or a percentage of a total as `25%` (apimachinery, util/intstr); 0 for what is neither."""
    if isinstance(value, str):
        number = value.removesuffix("%")
        part = int(number) * total / 100 if number.isascii() and number.isdigit() else 0
        return math.ceil(part) if up else math.floor(part)
    return int(value or 0)


def bare(value: Any) -> Any:
    """A value without what says nothing: nulls and empty maps and lists, which some clients write and others do not."""
    if isinstance(value, dict):
        return {key: short for key, one in value.items() if (short := bare(one)) not in (None, {}, [])}
    if isinstance(value, list):
        return [bare(one) for one in value]
    return value


def hash_of(*parts: Any) -> str:
    """Ten letters that stand for content, for names and labels."""
    number = int.from_bytes(hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).digest()[:16], "big")
    letters = ""
    for _ in range(10):
        number, rest = divmod(number, len(_LETTERS))
        letters += _LETTERS[rest]
    return letters
