"""Who owns which field (metadata.managedFields), kept through updates, and server-side apply with its conflicts.

Owners are entries of (manager, operation, apiVersion, subresource). An update takes what it changes away from everybody
else; an apply asks first, and is refused with a conflict for what another owner has set to another value (KEP-555).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gatewright.kubeapi.failure import Failure, fail
from gatewright.kubeapi.patch.field_sets import (
    Fields,
    changed,
    difference,
    intersection,
    merged,
    owned,
    paths,
    removed,
    union,
    without,
)
from gatewright.kubeapi.status import StatusCause, StatusDetails
from gatewright.kubeapi.types import Type

Tree = dict[str, Any]
_UNOWNED = (
    *("f:apiVersion", "f:kind", "f:metadata.f:name", "f:metadata.f:namespace", "f:metadata.f:uid"),
    *("f:metadata.f:creationTimestamp", "f:metadata.f:resourceVersion", "f:metadata.f:generation"),
    *("f:metadata.f:managedFields", "f:metadata.f:selfLink", "f:metadata.f:deletionTimestamp"),
    *("f:metadata.f:deletionGracePeriodSeconds",),
)
"""Fields that nobody owns: the server sets them, or they are the object's name."""
_MOST_UPDATERS = 10
"""Managers of updates that are told apart; older ones beyond are put together."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Who changes an object, by what operation (Apply, Update), through which subresource, in which version."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


def _strip(fields: Fields) -> Fields:
    """Without what nobody owns."""
    result = {key: node for key, node in fields.items() if key not in _UNOWNED}
    metadata = {key: node for key, node in result.get("f:metadata", {}).items() if f"f:metadata.{key}" not in _UNOWNED}
    metadata.pop(".", None)
    if metadata:
        result["f:metadata"] = metadata
    else:
        result.pop("f:metadata", None)
    return result


def _entries(tree: Tree | None) -> list[Tree]:
    entries = ((tree or {}).get("metadata") or {}).get("managedFields") or []
    return [entry for entry in entries if isinstance(entry.get("fieldsV1"), dict)]


def _is(entry: Tree, manager: Manager) -> bool:
    return (entry.get("manager"), entry.get("operation"), entry.get("apiVersion"), entry.get("subresource", "")) == (
        manager.name,
        manager.operation,
        manager.api_version,
        manager.subresource,
    )


def _made(manager: Manager, fields: Fields, now: str) -> Tree:
    """An entry. One of the scale subresource has no time, as in a cluster."""
    entry: Tree = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
    if manager.subresource != "scale":
        entry["time"] = now
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    return entry | ({"subresource": manager.subresource} if manager.subresource else {})


def _sorted(entries: Iterable[Tree]) -> list[Tree]:
    """In the order of a server: applies first, then by time and name."""
    return sorted(entries, key=lambda one: (one["operation"] != "Apply", one.get("time", ""), one["manager"]))


def _bounded(entries: list[Tree]) -> list[Tree]:
    """With the oldest updaters of the main resource put together where there are too many."""
    updaters = [entry for entry in entries if entry["operation"] == "Update" and not entry.get("subresource")]
    surplus = len(updaters) - _MOST_UPDATERS
    if surplus <= 0:
        return entries
    old = updaters[: surplus + 1]
    together: Fields = {}
    for entry in old:
        together = union(together, entry["fieldsV1"])
    manager = Manager("ancient-changes", "Update", old[-1]["apiVersion"])
    rest = [entry for entry in entries if entry not in old]
    return _sorted([*rest, _made(manager, together, old[-1].get("time", ""))])


def after_update(wanted: Type, old: Tree | None, new: Tree, manager: Manager, now: str) -> list[Tree]:
    """ManagedFields of an object that an update changes (or makes, where there is no old one)."""
    took = _strip(changed(wanted, old, new))
    lost = _strip(removed(wanted, old, new)) if old else {}
    entries = []
    own: Tree | None = None
    for entry in _entries(old if old is not None else None):
        if _is(entry, manager):
            own = entry
            continue
        kept = difference(difference(entry["fieldsV1"], took), lost)
        if kept:
            entries.append(entry if kept == entry["fieldsV1"] else {**entry, "fieldsV1": kept})
    before: Fields = own["fieldsV1"] if own else {}
    mine = difference(union(before, took), lost)
    if mine:
        same = own is not None and mine == before and not took
        entries.append(own if same and own else _made(manager, mine, now))
    return _bounded(_sorted(entries))


def apply_configuration(
    wanted: Type, live: Tree | None, configuration: Tree, manager: Manager, now: str, force: bool
) -> Tree:
    """The object after an apply, with its managedFields. Raises Failure (409) naming every conflict.

    Where nothing changes, the times of the owners stay as they were, so that the object equals the live one.
    """
    fields = _strip(owned(wanted, configuration))
    start = live if live is not None else {}
    result = merged(wanted, start, configuration)
    entries = _entries(live)
    others = [entry for entry in entries if not _is(entry, manager)]
    own = next((entry for entry in entries if _is(entry, manager)), None)
    took = _strip(changed(wanted, start, result))
    if live is not None and not force:
        _refuse_conflicts(others, took, fields)
    dropped = difference(own["fieldsV1"], fields) if own else {}
    for entry in others:
        dropped = difference(dropped, entry["fieldsV1"])
    result = without(wanted, result, _owned_nodes(dropped))
    kept = []
    for entry in others:
        left = difference(entry["fieldsV1"], intersection(took, fields))
        if left:
            kept.append(entry if left == entry["fieldsV1"] else {**entry, "fieldsV1": left})
    mine = own if own and own["fieldsV1"] == fields and not took else _made(manager, fields, now)
    result["metadata"] = {**result.get("metadata", {}), "managedFields": _sorted([*kept, mine])}
    return dict(result)


def _owned_nodes(fields: Fields) -> Fields:
    """A set to delete: what is owned as a whole goes as a whole."""
    result: Fields = {}
    for element, node in fields.items():
        if element != ".":
            result[element] = _owned_nodes(node) | ({".": {}} if "." in node else {})
    return result


def _refuse_conflicts(others: list[Tree], took: Fields, fields: Fields) -> None:
    causes = [
        StatusCause(reason="FieldManagerConflict", message=f"conflict with {_named(entry)}", field=path)
        for entry in others
        for path in paths(intersection(intersection(took, fields), entry["fieldsV1"]))
    ]
    if causes:
        raise _conflict(causes)


def _named(entry: Tree) -> str:
    """An owner as conflicts name it."""
    said = json.dumps(entry["manager"])
    if entry.get("subresource"):
        said += f" with subresource {json.dumps(entry['subresource'])}"
    if entry["operation"] == "Update":
        said += f" using {entry['apiVersion']}"
    return said


def _conflict(causes: list[StatusCause]) -> Failure:
    groups: dict[str, list[str]] = {}
    for cause in causes:
        groups.setdefault(cause.message, []).append(cause.field)
    said = []
    for message, fields in groups.items():
        said.append(
            f"{message}: {fields[0]}" if len(fields) == 1 else f"{message}:\n" + "\n".join(f"- {one}" for one in fields)
        )
    plural = "conflict" if len(causes) == 1 else "conflicts"
    text = f"Apply failed with {len(causes)} {plural}: " + "\n".join(said)
    return fail(409, text, details=StatusDetails(causes=tuple(causes)))
