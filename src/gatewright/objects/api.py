"""Objects as an API server gives them: lists in pages, decoded straight into structs.

What a server holds it has validated itself, perhaps by the rules of a newer version. So unlike in a manifest an unknown
field is no fault here, but it must not change the meaning silently: the part of a policy that holds it is read as
matching nothing (a newer kind of peer, a newer restriction of a port), and a warning says so. A policy may then seem
tighter than it is, never looser.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gatewright.errors import Problem
from gatewright.objects.closed import UNKNOWN, without_unknown
from gatewright.objects.decode import Fault
from gatewright.objects.kinds import Kind, scoped
from gatewright.objects.meta import Object
from gatewright.objects.origin import Path, format_path
from gatewright.objects.validation import faults_of


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
        item, faults, unknown = read_item(raw, kind)
        label = f"{name} {_label(raw)}"
        if item is None:
            problems += [Problem(where, f"{label}: {fault_text(fault)}") for fault in faults]
            continue
        warnings += [Problem(where, f"{label}: {unknown_text(path)}") for path in unknown]
        objects.append(msgspec.structs.replace(scoped(item, kind), kind=name, api_version=api_version))
    return Page(tuple(objects), tuple(problems), tuple(warnings), page.metadata.continue_ or "")


def read_item(raw: bytes | msgspec.Raw, kind: Kind) -> tuple[Object | None, list[Fault], list[Path]]:
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
        item, faults, unknown = without_unknown(tree, kind)
        if item is None:
            return None, faults, []
    faults = faults_of(item)
    return (None, faults, []) if faults else (item, [], unknown)


def _label(raw: msgspec.Raw) -> str:
    """`namespace/name` of an item, however little of it can be read."""
    try:
        metadata = msgspec.json.decode(raw).get("metadata", {})
        names = [metadata.get(field) for field in ("namespace", "name")]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return "(unnamed)"
    return "/".join(name for name in names if isinstance(name, str) and name) or "(unnamed)"


def fault_text(fault: Fault) -> str:
    """A fault in one phrase, with its path where the words do not name it."""
    if fault.what.startswith(("json: ", UNKNOWN)) or not fault.path:
        return fault.what
    return f"{format_path(fault.path)}: {fault.what}"


def unknown_text(path: Path) -> str:
    """What is said of a field that only a newer version knows."""
    return (
        f"{format_path(path)} is newer than this version of gatewright: what it stands in is read as matching nothing"
    )
