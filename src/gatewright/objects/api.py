"""Objects as an API server gives them: lists in pages, decoded straight into structs.

What a server holds it has validated itself, perhaps by the rules of a newer version. So unlike in a manifest an unknown
field is no fault here, but it must not change the meaning silently: the part of a policy that holds it is read as
matching nothing (a newer kind of peer, a newer restriction of a port), and a warning says so. A policy may then seem
tighter than it is, never looser.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import msgspec

from gatewright.errors import Problem
from gatewright.objects.decode import Fault, convert
from gatewright.objects.kinds import Kind, scoped
from gatewright.objects.meta import Object
from gatewright.objects.origin import Path, format_path
from gatewright.objects.policy import NetworkPolicy
from gatewright.objects.validation import faults_of

_UNKNOWN = "unknown field "
_RULES = {"ingress": "from", "egress": "to"}


class NotAList(ValueError):
    """An answer that is not the JSON of a Kubernetes list. The text says why."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: what could be read, what could not, what is worth a warning, and the token of the next."""

    objects: tuple[Object, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    following: str


class _ListMeta(msgspec.Struct, frozen=True):
    continue_: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] | None
    metadata: _ListMeta = _ListMeta()


def read_page(data: bytes, name: str, kind: Kind, api_version: str, where: str = "") -> Page:
    """The objects of one page of a list of a kind. `where` is how problems call the cluster. Raises NotAList."""
    try:
        page = msgspec.json.decode(data, type=_List)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAList(f"not a list as API servers give it: {error}") from error
    objects: list[Object] = []
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for raw in page.items or ():
        item, faults, unknown = _item(raw, kind)
        label = f"{name} {_label(raw)}"
        if item is None:
            problems += [Problem(where, f"{label}: {_phrase(fault)}") for fault in faults]
            continue
        warnings += [Problem(where, f"{label}: {_unknown_field(path)}") for path in unknown]
        objects.append(msgspec.structs.replace(scoped(item, kind), kind=name, api_version=api_version))
    return Page(tuple(objects), tuple(problems), tuple(warnings), page.metadata.continue_ or "")


def _item(raw: msgspec.Raw, kind: Kind) -> tuple[Object | None, list[Fault], list[Path]]:
    """(object, faults, unknown fields): no object where there are faults."""
    unknown: list[Path] = []
    item: Object | None
    try:
        item = msgspec.json.decode(raw, type=kind.struct)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            tree = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return None, [Fault((), f"not JSON that can be read: {error}")], []
        item, faults, unknown = _closed(tree, kind)
        if item is None:
            return None, faults, []
    faults = faults_of(item)
    return (None, faults, []) if faults else (item, [], unknown)


def _closed(tree: Any, kind: Kind) -> tuple[Object | None, list[Fault], list[Path]]:
    """The object without the parts that hold unknown fields."""
    item, faults = convert(tree, kind.struct)
    unknown = [fault.path for fault in faults if fault.what.startswith(_UNKNOWN)]
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


def _label(raw: msgspec.Raw) -> str:
    """`namespace/name` of an item, however little of it can be read."""
    try:
        metadata = msgspec.json.decode(raw).get("metadata", {})
        names = [metadata.get(field) for field in ("namespace", "name")]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return "(unnamed)"
    return "/".join(name for name in names if isinstance(name, str) and name) or "(unnamed)"


def _phrase(fault: Fault) -> str:
    if fault.what.startswith(("json: ", _UNKNOWN)) or not fault.path:
        return fault.what
    return f"{format_path(fault.path)}: {fault.what}"


def _unknown_field(path: Path) -> str:
    return (
        f"{format_path(path)} is newer than this version of gatewright: what it stands in is read as matching nothing"
    )
