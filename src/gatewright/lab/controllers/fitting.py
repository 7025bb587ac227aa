"""Whether a node suits a pod by itself: taints, node selectors and node affinity. Pure.

The scheduler and the DaemonSet controller ask the same questions, and so get the same answers
(k8s.io/component-helpers, scheduling/corev1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from gatewright.lab.api.resources import Tree
from gatewright.lab.controllers.objects import is_true, labels_of, selected

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
KEPT_OUT = ("NoSchedule", "NoExecute")
"""Effects of taints that keep a new pod from a node."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def tolerates(toleration: Tree, taint: Tree) -> bool:
    """Whether a toleration covers a taint. Empty effect and empty key (with Exists) cover all."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(spec: Tree, taints: Iterable[Tree], effects: Sequence[str] = KEPT_OUT) -> Tree | None:
    """The first taint of these effects that a pod does not tolerate."""
    tolerations = spec.get("tolerations") or ()
    for taint in taints:
        if taint["effect"] in effects and not any(tolerates(one, taint) for one in tolerations):
            return taint
    return None


def taints_of(node: Tree) -> list[Tree]:
    """A node's taints, with the one that says that it is not ready, also before the node's taints were brought up."""
    taints = list((node.get("spec") or {}).get("taints") or ())
    known = {one["key"] for one in taints}
    if not is_true(node, "Ready") and not known & {NOT_READY, UNREACHABLE}:
        taints.append({"key": NOT_READY, "effect": "NoSchedule"})
    return taints


def cordoned(spec: Tree, node: Tree) -> bool:
    """Whether a node takes no new pods, and this pod does not overlook that."""
    taint = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    return bool((node.get("spec") or {}).get("unschedulable")) and untolerated(spec, [taint]) is not None


def suits(spec: Tree, node: Tree) -> bool:
    """Whether a node meets a pod's nodeSelector and required node affinity."""
    labels = labels_of(node)
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term(one, node) for one in required.get("nodeSelectorTerms") or ())


def preference(spec: Tree, node: Tree) -> int:
    """The weights of the preferred node affinity terms that a node meets."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(one.get("weight", 0) for one in preferred if _term(one.get("preference") or {}, node))


def _term(term: Tree, node: Tree) -> bool:
    """A term's requirements hold together; a term without any matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    named = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(one, labels_of(node)) for one in expressions) and all(_holds(one, named) for one in fields)


def _holds(requirement: Tree, labels: Mapping[str, str]) -> bool:
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or ()
    if operator not in ("Gt", "Lt"):
        return selected(((key, operator, tuple(values)),), labels)
    numbers = [labels.get(key, ""), *values]
    if len(numbers) != 2 or not all(_NUMBER.fullmatch(one) for one in numbers):
        return False
    has, bound = map(int, numbers)
    return has > bound if operator == "Gt" else has < bound
