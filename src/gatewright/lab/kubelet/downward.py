"""The downward API: what a pod is told about itself, in its environment and in its volumes. Pure.

Field paths are those of core/v1 ObjectFieldSelector and ResourceFieldSelector.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gatewright.lab.api.resources import Tree
from gatewright.lab.errors import LabError

_MAP_ENTRY = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([a-zA-Z]{0,2}))")
_SUFFIXES = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15),
    "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
    "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip


class Unresolved(LabError):
    """A reference in a pod that leads nowhere; the text is that of a kubelet."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a pod may ask about itself: the object, and the addresses that it and its node have."""

    pod: Tree
    pod_addresses: Sequence[str]
    node_addresses: Sequence[str]
    allocatable: Tree
    """What the node has to give (core/v1 ResourceList): what a container without limits may use."""


def field_value(facts: Facts, path: str) -> str:
    """What a fieldRef is. Raises Unresolved."""
    metadata, spec = facts.pod["metadata"], facts.pod["spec"]
    if entry := _MAP_ENTRY.fullmatch(path):
        return str((metadata.get(entry[1]) or {}).get(entry[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return _lines(metadata.get(path.partition(".")[2]) or {})
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": next(iter(facts.node_addresses), ""),
        "status.hostIPs": ",".join(facts.node_addresses),
        "status.podIP": next(iter(facts.pod_addresses), ""),
        "status.podIPs": ",".join(facts.pod_addresses),
    }
    if path not in values:
        raise Unresolved(f"unsupported fieldPath: {path}")
    return str(values[path])


def resource_value(facts: Facts, container: Tree, reference: Tree) -> str:
    """What a resourceFieldRef is: rounded up to whole divisors. Raises Unresolved."""
    if (named := reference.get("containerName")) and named != container["name"]:
        container = _container(facts.pod, named)
    which, _, resource = str(reference.get("resource", "")).partition(".")
    if which not in ("limits", "requests") or not resource:
        raise Unresolved(f"unsupported container resource : {reference.get('resource')}")
    given = container.get("resources") or {}
    amount = (given.get(which) or {}).get(resource)
    if amount is None and which == "limits":
        amount = facts.allocatable.get(resource)
    divisor = quantity(str(reference.get("divisor") or "1")) or Fraction(1)
    return str(math.ceil(quantity(str(amount or "0")) / divisor))


def quantity(text: str) -> Fraction:
    """A resource.Quantity as a number. Raises Unresolved."""
    found = _QUANTITY.fullmatch(text)
    if found is None or (found[3] or "") not in _SUFFIXES:
        raise Unresolved(f'"{text}" is no quantity')
    try:
        return Fraction(found[1] + (found[2] or "")) * _SUFFIXES[found[3] or ""]
    except ValueError as error:
        raise Unresolved(f'"{text}" is no quantity') from error


def _container(pod: Tree, name: str) -> Tree:
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if container["name"] == name:
            found: Tree = container
            return found
    raise Unresolved(f"container {name} not found")


def _lines(values: Tree) -> str:
    return "\n".join(f"{key}={json.dumps(str(values[key]), ensure_ascii=False)}" for key in sorted(values))
