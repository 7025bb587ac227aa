"""In which form an answer is wanted (Accept), and objects and lists in that form: plain, Table, metadata alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gatewright.kubeapi.failure import fail
from gatewright.lab.api import tables
from gatewright.lab.api.resources import Resource
from gatewright.lab.api.store import Entry
from gatewright.lab.api.verbs import Listed

JSON = "application/json"
YAML = "application/yaml"
_MOST_CHOICES = 32


@dataclass(frozen=True, slots=True)
class Form:
    """Plain (`view` empty), `Table`, `PartialObjectMetadata` or `APIGroupDiscoveryList`; `version` of that view.

    `included` says which part of its object a table's row carries.
    """

    view: str = ""
    version: str = ""
    included: str = "Metadata"


def negotiate(accept: str, views: Sequence[str] = ("Table", "PartialObjectMetadata")) -> Form:
    """The first form that the client accepts and this endpoint has. Raises Failure (406)."""
    for choice in (accept or "*/*").split(",")[:_MOST_CHOICES]:
        media, *options = (part.strip() for part in choice.split(";"))
        if media not in (JSON, "*/*", "application/*"):
            continue
        given = {name: value for name, _, value in (option.partition("=") for option in options)}
        view = given.get("as", "").removesuffix("List") if given.get("as") != "APIGroupDiscoveryList" else given["as"]
        if not view:
            return Form()
        group = "apidiscovery.k8s.io" if view == "APIGroupDiscoveryList" else "meta.k8s.io"
        version = given.get("v", "")
        known = ("v2",) if view == "APIGroupDiscoveryList" else ("v1", "v1beta1")
        if view in views and given.get("g") == group and version in known:
            return Form(view, version)
    raise fail(406, f"only the following media types are accepted: {JSON}", "NotAcceptable")


def with_kind(resource: Resource, body: bytes) -> bytes:
    """The JSON of an object with its kind and apiVersion in front."""
    return b'{"kind":"%b","apiVersion":"%b",' % (resource.kind.encode(), resource.api_version.encode()) + body[1:]


def one(resource: Resource, entry: Entry, form: Form) -> bytes:
    """An object in a form."""
    if form.view == "Table":
        return msgspec.json.encode(_table(resource, [entry], form, {"resourceVersion": str(entry.revision)}))
    if form.view:
        return msgspec.json.encode(_metadata(entry, form))
    return with_kind(resource, entry.body)


def many(resource: Resource, listed: Listed, form: Form) -> bytes:
    """A list in a form."""
    metadata: dict[str, Any] = {"resourceVersion": str(listed.revision)}
    if listed.following:
        metadata["continue"] = listed.following
        if listed.remaining is not None:
            metadata["remainingItemCount"] = listed.remaining
    if form.view == "Table":
        return msgspec.json.encode(_table(resource, listed.entries, form, metadata))
    if form.view:
        items = [_metadata(entry, form) for entry in listed.entries]
        about = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.version}"}
        return msgspec.json.encode({**about, "metadata": metadata, "items": items})
    head: dict[str, Any] = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata}
    bodies = (
        [with_kind(resource, e.body) for e in listed.entries] if resource.custom else [e.body for e in listed.entries]
    )
    return msgspec.json.encode(head)[:-1] + b',"items":[' + b",".join(bodies) + b"]}"


def event(resource: Resource, kind: str, entry: Entry, form: Form, first: bool) -> bytes:
    """The line of a watch. Of a table, only the first line has the columns' definitions."""
    body = one(resource, entry, form) if form.view != "Table" else b""
    if form.view == "Table":
        table = _table(resource, [entry], form, {"resourceVersion": str(entry.revision)})
        if not first:
            table["columnDefinitions"] = None
        body = msgspec.json.encode(table)
    return line(kind, body)


def line(kind: str, body: bytes) -> bytes:
    """A line of a watch around an object's JSON."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)


def bookmark(resource: Resource, revision: int, form: Form, *, initial_end: bool) -> bytes:
    """The line that says how far a watch has come, and with `initial_end` that the initial objects are complete."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    kind, version = resource.kind, resource.api_version
    if form.view == "PartialObjectMetadata":
        kind, version = "PartialObjectMetadata", f"meta.k8s.io/{form.version}"
    tree: dict[str, Any] = {"kind": kind, "apiVersion": version, "metadata": metadata}
    if form.view == "Table":
        row = {"cells": [], "object": {**_meta_head(form), "metadata": metadata}}
        head = {"kind": "Table", "apiVersion": f"meta.k8s.io/{form.version}", "columnDefinitions": None}
        tree = {**head, "metadata": metadata, "rows": [row]}
    return line("BOOKMARK", msgspec.json.encode(tree))


def _meta_head(form: Form) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{form.version}"}


def _metadata(entry: Entry, form: Form) -> dict[str, Any]:
    return {**_meta_head(form), "metadata": entry.tree()["metadata"]}


def _table(resource: Resource, entries: list[Entry], form: Form, metadata: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for entry in entries:
        tree = entry.tree()
        row: dict[str, Any] = {"cells": tables.cells(resource.kind, tree)}
        if form.included == "Object":
            row["object"] = {"kind": resource.kind, "apiVersion": resource.api_version, **tree}
        elif form.included == "Metadata":
            row["object"] = {**_meta_head(form), "metadata": tree["metadata"]}
        rows.append(row)
    definitions = tables.definitions(resource.kind)
    head = {"kind": "Table", "apiVersion": f"meta.k8s.io/{form.version}", "metadata": metadata}
    return {**head, "columnDefinitions": definitions, "rows": rows}
