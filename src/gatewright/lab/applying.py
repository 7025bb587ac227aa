"""Objects of manifests into a cluster's API, as `kubectl apply -f` and `kubectl delete -f` do it; all of them or none.

What was applied last is kept where kubectl keeps it (an annotation), so that both may be used on one object and a field
that a manifest no longer has is taken away. Before anything is changed, the server is asked about every object (a dry
run).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gatewright.errors import InvalidInput, Problem
from gatewright.lab.api.resources import NAMESPACES, RESOURCES, Resource, Tree
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.objects.read import Parsed

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_BY_KIND = {(one.api_version, one.kind): one for one in RESOURCES}
_LOOK = 0.02


@dataclass(frozen=True, slots=True)
class Given:
    """One object of a manifest; `where` is its file and line."""

    resource: Resource
    tree: Tree
    where: str

    @property
    def namespace(self) -> str:
        """Its namespace; empty for what is cluster-wide."""
        return str(self.tree["metadata"].get("namespace") or "default") if self.resource.namespaced else ""

    @property
    def name(self) -> str:
        """Its name; empty where the server is to make one (generateName)."""
        return str(self.tree["metadata"].get("name") or "")

    def __str__(self) -> str:
        kind = self.resource.kind.lower() + (f".{self.resource.group}" if self.resource.group else "")
        return f"{kind}/{self.name}"


def given(parsed: Parsed) -> tuple[list[Given], list[str]]:
    """The objects that the API serves, Namespaces first, and a line about each that it does not.

    `parsed` was read with whole trees. Raises InvalidInput with everything that is wrong with the manifests.
    """
    trees: list[tuple[Any, str]] = []
    for item in parsed.require():
        assert item.origin is not None
        trees.append((item.origin.tree, str(item.origin)))
    trees += [(one.tree, str(one.origin)) for one in parsed.others]
    found, warnings = [], []
    for tree, where in trees:
        resource = _BY_KIND.get((tree["apiVersion"], tree["kind"]))
        if resource is None:
            warnings.append(f"{where}: {tree['kind']} ({tree['apiVersion']}) is not served by the lab; left out")
        else:
            found.append(Given(resource, tree, where))
    return sorted(found, key=lambda one: one.resource is not NAMESPACES), warnings


def apply(writer: Writer, objects: Iterable[Given]) -> list[str]:
    """Create or change objects; a line for each, as kubectl prints it.

    Raises InvalidInput with every object that the server refuses; nothing is changed then.
    """
    wanted = list(objects)
    namespaces = [one for one in wanted if one.resource is NAMESPACES]
    _try(writer, namespaces)
    made = [one for one in namespaces if _apply(writer, one).endswith("created")]
    lines = [f"{one} {'created' if one in made else 'unchanged'}" for one in namespaces]
    rest = [one for one in wanted if one.resource is not NAMESPACES]
    try:
        _try(writer, rest)
    except InvalidInput:
        for one in made:
            with contextlib.suppress(Refused):
                writer.delete(one.resource, "", one.name)
        raise
    return lines + [_apply(writer, one) for one in rest]


def delete(writer: Writer, objects: Iterable[Given], timeout: float) -> tuple[list[str], list[str]]:
    """Delete objects and wait until they are gone; a line for each that was there, and for each that was not."""
    lines, missing, leaving = [], [], []
    for one in objects:
        kind = str(one).partition("/")[0]
        try:
            writer.delete(one.resource, one.namespace, one.name, propagation="Background")
        except Refused as refused:
            if refused.reason != "NotFound":
                raise
            missing.append(f'{kind} "{one.name}" not found')
            continue
        lines.append(f'{kind} "{one.name}" deleted' + (f" from {one.namespace} namespace" if one.namespace else ""))
        leaving.append(one)
    deadline = time.monotonic() + timeout
    while leaving and time.monotonic() < deadline:
        leaving = [one for one in leaving if _is_there(writer, one)]
        if leaving:
            time.sleep(_LOOK)
    return lines, missing


def _is_there(writer: Writer, one: Given) -> bool:
    try:
        writer.get(one.resource, one.namespace, one.name)
    except Refused as refused:
        return refused.reason != "NotFound"
    return True


def _try(writer: Writer, objects: Iterable[Given]) -> None:
    problems = [problem for one in objects for problem in _problems(writer, one)]
    if problems:
        raise InvalidInput(problems)


def _problems(writer: Writer, one: Given) -> Iterator[Problem]:
    try:
        _apply(writer, one, dry_run=True)
    except Refused as refused:
        yield Problem(one.where, refused.status.message)


def _apply(writer: Writer, one: Given, *, dry_run: bool = False) -> str:
    new = _annotated(one)
    before = _known(writer, one)
    if before is None:
        writer.create(one.resource, one.namespace, new, dry_run=dry_run)
        return f"{one} created"
    patch = difference(_last(before), new, before)
    if not patch:
        return f"{one} unchanged"
    writer.patch(one.resource, one.namespace, one.name, patch, dry_run=dry_run)
    return f"{one} configured"


def _known(writer: Writer, one: Given) -> Tree | None:
    if not one.name:
        return None
    try:
        return writer.get(one.resource, one.namespace, one.name)
    except Refused as refused:
        if refused.reason == "NotFound":
            return None
        raise


def _annotated(one: Given) -> Tree:
    metadata = dict(one.tree["metadata"])
    if one.resource.namespaced:
        metadata["namespace"] = one.namespace
    tree = {**one.tree, "metadata": metadata}
    tree.pop("status", None)
    text = msgspec.json.encode(tree).decode() + "\n"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), LAST_APPLIED: text}
    return tree


def _last(before: Tree) -> Tree:
    text = (before["metadata"].get("annotations") or {}).get(LAST_APPLIED, "{}")
    try:
        last: Tree = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return last


def difference(last: Any, new: Tree, now: Tree) -> Tree:
    """The merge patch (RFC 7386) that brings `now` to `new`, and takes away what `last` had and `new` has not."""
    patch: Tree = {}
    for key, value in new.items():
        current = now.get(key)
        if isinstance(value, dict) and isinstance(current, dict):
            before = last.get(key) if isinstance(last, dict) else None
            if inner := difference(before or {}, value, current):
                patch[key] = inner
        elif not _covers(current, value):
            patch[key] = value
    gone = [key for key in last if key not in new and key in now] if isinstance(last, dict) else []
    return patch | dict.fromkeys(gone)


def _covers(current: Any, value: Any) -> bool:
    """Whether a value says nothing that the server does not hold; what it adds by default does not count."""
    if isinstance(value, dict):
        return isinstance(current, dict) and all(key in current and _covers(current[key], value[key]) for key in value)
    if isinstance(value, list):
        return (
            isinstance(current, list)
            and len(current) == len(value)
            and all(_covers(*pair) for pair in zip(current, value, strict=True))
        )
    return bool(current == value)
