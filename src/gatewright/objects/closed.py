"""What is left of a policy that cannot be read whole: never more open than what was written.

A newer API server knows fields that this version does not, and a broken one may give what fits no type. The smallest
part that holds such a thing is taken away so that less is allowed: a peer, a port, a rule, all rules.
"""

from __future__ import annotations

import copy
from typing import Any

from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.core import Pod
from gatewright.objects.decode import Fault, convert
from gatewright.objects.kinds import Kind
from gatewright.objects.meta import Object
from gatewright.objects.origin import Path
from gatewright.objects.policy import NetworkPolicy
from gatewright.objects.validation import faults_of

UNKNOWN = "unknown field "
_RULES = {"ingress": "from", "egress": "to"}
_TYPES = ("Ingress", "Egress")
_OF_POD = ("nodeName", "hostNetwork")
_PARTS = ("from", "to", "protocols", "ports")


def without_unknown(tree: Any, kind: Kind) -> tuple[Object | None, list[Fault], list[Path]]:
    """The object without the parts that hold unknown fields."""
    item, faults = convert(tree, kind.struct)
    unknown = [fault.path for fault in faults if fault.what.startswith(UNKNOWN)]
    if item is not None or len(unknown) < len(faults):
        return item, faults, []
    if issubclass(kind.struct, NetworkPolicy):
        closed = _closed_network_policy(tree, unknown)
    elif all(_rule_of(path) for path in unknown):
        closed = _closed_cluster_policy(tree, unknown)
    else:
        return None, [Fault(fault.path, f"{fault.what}: whom it selects is not clear") for fault in faults], []
    item, faults = convert(closed, kind.struct)
    return item, faults, unknown


def _rule_of(path: Path) -> tuple[str, int] | None:
    """(direction, number) of the rule that a path leads into."""
    if len(path) > 3 and path[0] == "spec" and path[1] in _RULES and isinstance(path[2], int):
        return str(path[1]), path[2]
    return None


def _closed_network_policy(tree: Any, unknown: list[Path]) -> Any:
    """A NetworkPolicy, which can only accept, without the ports, peers and rules that hold unknown fields.

    Where the field stands outside of rules no rule is left, and the pods it selects are isolated.
    """
    outside = [path for path in unknown if _rule_of(path) is None]
    tree = _without(tree, outside)
    spec = dict(tree.get("spec") or {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction, side in _RULES.items():
        rules = enumerate([] if outside else spec.get(direction) or [])
        inside = [
            (number, rule, [p[3:] for p in unknown if _rule_of(p) == (direction, number)]) for number, rule in rules
        ]
        kept = [_closed_rule(rule, side, paths) for _, rule, paths in inside]
        spec[direction] = [rule for rule in kept if rule is not None]
    return {**tree, "spec": spec}


def _closed_rule(rule: Any, side: str, unknown: list[Path]) -> Any:
    """The rule without the peers and ports that hold unknown fields; None where it has no known one left."""
    if not unknown:
        return rule
    if any(len(path) < 3 for path in unknown):
        return None
    gone = {path[:2] for path in unknown}
    kept = {
        part: [one for number, one in enumerate(rule[part]) if (part, number) not in gone]
        for part in (side, "ports")
        if rule.get(part)
    }
    return {**rule, **kept} if all(kept.values()) else None


def _closed_cluster_policy(tree: Any, unknown: list[Path]) -> Any:
    """A cluster-wide policy whose peers with unknown fields are empty: the engine lets their rules fail closed."""
    tree = copy.deepcopy(tree)
    for path in unknown:
        holder = tree
        for step in path[:4]:
            holder = holder[step]
        holder[path[4]] = {}
    return tree


def _without(tree: Any, paths: list[Path]) -> Any:
    """The tree without some fields."""
    tree = copy.deepcopy(tree)
    for path in paths:
        holder = tree
        for step in path[:-1]:
            holder = holder[step]
        del holder[path[-1]]
    return tree


def fail_closed(tree: Any, kind: Kind) -> Object | None:
    """What stands for an object that cannot be read and of which no good version is known; None where nothing can.

    The pods that a NetworkPolicy selects are isolated and nothing is allowed to them. Peers and ports of a cluster-wide
    policy that cannot be read become such as nobody knows, which the engine lets fail closed by the rule's action. A
    pod is left without ports, so that no name of a port leads to it.
    """
    if not isinstance(tree, dict) or not isinstance(tree.get("spec"), dict):
        return None
    if kind.struct is Pod:
        return convert({**tree, "spec": {key: tree["spec"].get(key) for key in _OF_POD}}, Pod)[0]
    if issubclass(kind.struct, NetworkPolicy):
        closed: Any = _isolating(tree)
    elif issubclass(kind.struct, ClusterPolicy):
        closed = _unknown_parts(tree, kind)
    else:
        return None
    item, _, _ = without_unknown(closed, kind) if closed is not None else (None, [], [])
    return None if item is None or faults_of(item) else item


def _isolating(tree: dict[str, Any]) -> Any:
    """A NetworkPolicy with the same name and subject that isolates and allows nothing."""
    spec = tree["spec"]
    types = spec.get("policyTypes")
    if types is None:
        types = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    elif not isinstance(types, list) or not types or any(one not in _TYPES for one in types):
        types = list(_TYPES)
    metadata = tree.get("metadata")
    kept = {key: metadata.get(key) for key in ("name", "namespace")} if isinstance(metadata, dict) else {}
    return {"metadata": kept, "spec": {"podSelector": spec.get("podSelector"), "policyTypes": types}}


def _unknown_parts(tree: dict[str, Any], kind: Kind) -> Any:
    """A cluster-wide policy whose unreadable peers and ports are empty; None where more than those is unreadable."""
    _, faults = convert(tree, kind.struct)
    paths = [fault.path for fault in faults if not fault.what.startswith(UNKNOWN)]
    if any(_rule_of(path) is None or len(path) < 5 or path[3] not in _PARTS for path in paths):
        return None
    return _closed_cluster_policy(tree, paths)
