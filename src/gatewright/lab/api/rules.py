"""What the endpoint refuses an object for.

The objects room validates what the product knows: policies completely, in the API server's words. Here stand the rules
that every kind shares (names, annotations, owners), those that hold between an object and what it was before
(immutable fields), and the few of kinds whose other fields the product does not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from gatewright.lab.api.resources import Resource, Tree
from gatewright.objects import names
from gatewright.objects.decode import Fault, convert
from gatewright.objects.kinds import KINDS
from gatewright.objects.origin import Path
from gatewright.objects.schema import structural_faults
from gatewright.objects.validation import faults_of

LARGEST_ANNOTATIONS = 256 * 1024
_WORKLOADS = frozenset(("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"))
_IMMUTABLE = "Invalid value: {}: field is immutable"
_BLOCKING = ("Required value", "Unsupported value", "Too long", "Too many")
"""Faults of a custom resource after which its definition's rules are not asked."""
_UNCHECKED = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation"
)
_POD_RULE = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_STATEFUL_SET_RULE = (
    "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy',"
    " 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)

Faults = Iterator[Fault]


def faults(resource: Resource, tree: Tree) -> list[Fault]:
    """Everything that is wrong with an object by itself."""
    found = [*_metadata(resource, tree["metadata"])]
    kind = KINDS.get((resource.group, resource.kind))
    if kind is not None:
        own = {**tree, "kind": resource.kind, "apiVersion": resource.api_version}
        if kind.spec_schema is not None:
            found += structural_faults(kind.spec_schema, tree.get("spec", {}), ("spec",))
            if any(fault.what.startswith(_BLOCKING) for fault in found):
                found.append(Fault(("<nil>",), _UNCHECKED))
        if not found:
            item, unreadable = convert(own, kind.struct)
            found += unreadable if item is None else [one for one in faults_of(item) if one.path[:1] != ("metadata",)]
    if check := _CHECKS.get(resource.kind):
        found += check(tree)
    return found


def _metadata(resource: Resource, metadata: Tree) -> Faults:
    path = ("metadata",)
    name = metadata.get("name", "")
    rule = names.dns_label_faults if resource.kind in ("Namespace", "Service") else names.subdomain_faults
    if not name:
        yield Fault((*path, "name"), "Required value: name or generateName is required")
    else:
        yield from _invalid((*path, "name"), name, rule(name))
    yield from _labels(metadata.get("labels") or {}, (*path, "labels"))
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from _invalid((*path, "annotations"), key, list(names.label_key_faults(key.lower())))
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > LARGEST_ANNOTATIONS:
        yield Fault((*path, "annotations"), f"Too long: may not be more than {LARGEST_ANNOTATIONS} bytes")
    for place, finalizer in enumerate(metadata.get("finalizers") or ()):
        yield from _invalid((*path, "finalizers", place), finalizer, list(names.label_key_faults(finalizer)))
    for place, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield Fault((*path, "ownerReferences", place, field), "Required value: must not be empty")
    controllers = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    if len(controllers) > 1:
        what = "Only one reference can have Controller set to true"
        yield Fault((*path, "ownerReferences"), f"Invalid value: {_shown(controllers)}: {what}")


def _labels(labels: dict[str, str], path: Path) -> Faults:
    for key, value in labels.items():
        yield from _invalid(path, key, list(names.label_key_faults(key)))
        yield from _invalid(path, value, list(names.label_value_faults(value)))


def _invalid(path: Path, value: object, whats: list[str]) -> Faults:
    for what in whats:
        yield Fault(path, f"Invalid value: {_shown(value)}: {what}")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _workload(tree: Tree) -> Faults:
    spec = tree["spec"]
    selector = spec.get("selector")
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not selector:
        yield Fault(("spec", "selector"), "Required value")
        what = "empty selector is invalid for workloads"
        yield Fault(("spec", "selector"), f"Invalid value: {_shown(selector or {})}: {what}")
    elif not _selects(selector, labels):
        what = "`selector` does not match template `labels`"
        yield Fault(("spec", "template", "metadata", "labels"), f"Invalid value: {_shown(labels)}: {what}")
    if (spec.get("replicas") or 0) < 0:
        what = "must be greater than or equal to 0"
        yield Fault(("spec", "replicas"), f"Invalid value: {spec['replicas']}: {what}")
    if spec["template"]["spec"].get("restartPolicy") != "Always":
        policy = _shown(spec["template"]["spec"].get("restartPolicy"))
        where = ("spec", "template", "spec", "restartPolicy")
        yield Fault(where, f'Unsupported value: {policy}: supported values: "Always"')


def _selects(selector: Tree, labels: dict[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions") or ():
        has, value = one.get("key") in labels, labels.get(one.get("key", ""))
        values = one.get("values") or []
        holds = {"In": has and value in values, "NotIn": not has or value not in values, "Exists": has}
        if not holds.get(one.get("operator", ""), not has):
            return False
    return True


def _job(tree: Tree) -> Faults:
    policy = tree["spec"]["template"]["spec"].get("restartPolicy")
    if policy not in ("OnFailure", "Never"):
        where = ("spec", "template", "spec", "restartPolicy")
        yield Fault(where, 'Required value: valid values: "OnFailure", "Never"')


def _cron_job(tree: Tree) -> Faults:
    schedule = tree["spec"].get("schedule", "")
    if not schedule:
        yield Fault(("spec", "schedule"), "Required value")
    elif len(schedule.split()) not in (5, 6) and not schedule.startswith("@"):
        what = f"expected exactly 5 fields, found {len(schedule.split())}: {schedule}"
        yield Fault(("spec", "schedule"), f"Invalid value: {_shown(schedule)}: {what}")


def _data(tree: Tree) -> Faults:
    for field in ("data", "binaryData", "stringData"):
        for key in tree.get(field) or {}:
            if (
                not key
                or len(key) > 253
                or key in (".", "..")
                or not all((c.isalnum() and c.isascii()) or c in "-_." for c in key)
            ):
                rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                yield Fault((field,), f"Invalid value: {_shown(key)}: {rule}")


def _endpoint_slice(tree: Tree) -> Faults:
    families = ("FQDN", "IPv4", "IPv6")
    family = tree.get("addressType")
    if not family:
        yield Fault(("addressType",), "Required value")
    elif family not in families:
        listed = ", ".join(_shown(one) for one in families)
        yield Fault(("addressType",), f"Unsupported value: {_shown(family)}: supported values: {listed}")


def _event(tree: Tree) -> Faults:
    about = (tree.get("involvedObject") or {}).get("namespace", "")
    if (about or "default") != tree["metadata"].get("namespace"):
        yield Fault(("involvedObject", "namespace"), f"Invalid value: {_shown(about)}: does not match event.namespace")


_CHECKS: dict[str, Callable[[Tree], Faults]] = {
    **dict.fromkeys(_WORKLOADS, _workload),
    "Job": _job,
    "CronJob": _cron_job,
    "ConfigMap": _data,
    "Secret": _data,
    "EndpointSlice": _endpoint_slice,
    "Event": _event,
}


def change_faults(resource: Resource, old: Tree, new: Tree) -> list[Fault]:
    """What may not change from the old object to the new one."""
    found: list[Fault] = []
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if resource.kind in _WORKLOADS - {"StatefulSet"} and before.get("selector") != after.get("selector"):
        found.append(Fault(("spec", "selector"), _IMMUTABLE.format(_shown(after.get("selector")))))
    if resource.kind == "StatefulSet":
        free = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds")
        if _without(before, *free, "persistentVolumeClaimRetentionPolicy") != _without(
            after, *free, "persistentVolumeClaimRetentionPolicy"
        ):
            found.append(Fault(("spec",), _STATEFUL_SET_RULE))
    if resource.kind == "Job":
        found += [
            Fault(("spec", field), _IMMUTABLE.format(_shown(after.get(field))))
            for field in ("selector", "template", "completionMode")
            if before.get(field) != after.get(field)
        ]
    if resource.kind == "Pod" and _fixed(before) != _fixed(after):
        found.append(Fault(("spec",), _POD_RULE))
    if resource.kind == "Service":
        found += _service_change(before, after)
    if resource.kind in ("ConfigMap", "Secret") and old.get("immutable"):
        for field in ("data", "binaryData"):
            if old.get(field) != new.get(field):
                found.append(Fault((field,), "Forbidden: field is immutable when `immutable` is set"))
    if resource.kind == "Secret" and old.get("type") != new.get("type"):
        found.append(Fault(("type",), _IMMUTABLE.format(_shown(new.get("type")))))
    if resource.kind == "EndpointSlice" and old.get("addressType") != new.get("addressType"):
        found.append(Fault(("addressType",), _IMMUTABLE.format(_shown(new.get("addressType")))))
    return found


def _service_change(before: Tree, after: Tree) -> list[Fault]:
    kept = "ExternalName" not in (before.get("type"), after.get("type"))
    had = before.get("clusterIPs") or []
    has = after.get("clusterIPs") or ([after["clusterIP"]] if after.get("clusterIP") else [])
    if kept and had and has and had[0] != has[0]:
        return [Fault(("spec", "clusterIPs", 0), f"Invalid value: {_shown(has)}: may not change once set")]
    return []


def _without(spec: Tree, *fields: str) -> Tree:
    return {name: value for name, value in spec.items() if name not in fields}


def _fixed(spec: Tree) -> Any:
    """The parts of a pod's spec that no update may change."""
    rest = _without(spec, "activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates")
    for field in ("containers", "initContainers"):
        rest[field] = [_without(container, "image", "resources") for container in spec.get(field) or ()]
    return rest
