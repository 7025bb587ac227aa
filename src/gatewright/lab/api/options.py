"""What a query asks for besides the path: meta/v1 CreateOptions, ListOptions and their like. Wrong values are a 400."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from gatewright.kubeapi.failure import Failure, bad_request, invalid
from gatewright.kubeapi.selectors import FieldQuery, LabelQuery, parse_fields, parse_labels
from gatewright.lab.api.resources import Resource
from gatewright.objects.decode import Fault

_TRUE = frozenset(("true", "1", "t", "T", "TRUE", "True"))
_FALSE = frozenset(("false", "0", "f", "F", "FALSE", "False", ""))
LONGEST_MANAGER = 128


def pairs(query: bytes, most: int = 100) -> list[tuple[str, str]]:
    """The parameters of a query in order, as often as they stand there. Raises Failure (400)."""
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=most)
    except ValueError as error:
        raise bad_request(f"the query cannot be read: {error}") from error


def parameters(query: bytes) -> dict[str, str]:
    """The parameters of a query; of one that stands twice the first counts, as in Go."""
    return dict(reversed(pairs(query)))


def flag(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false."""
    value = query.get(name, "")
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise bad_request(f'strconv.ParseBool: parsing "{value}": invalid syntax')


def number(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a whole number of at least 0; None where it is not given."""
    value = query.get(name, "")
    if not value:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise bad_request(f'{name}: Invalid value: "{value}": must be a whole number of at least 0')
    return int(value)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to write: for show (`dry_run`), under whose name, and what to think of unknown fields."""

    dry_run: bool
    manager: str
    validation: str
    force: bool = False


def write_options(query: Mapping[str, str], agent: str, kind: str = "CreateOptions") -> WriteOptions:
    """The options of a create, update or patch. Without a manager it is named after the client program."""
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise _option(kind, "dryRun", f'Unsupported value: "{dry_run}": supported values: "All"')
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        what = f'Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'
        raise _option(kind, "fieldValidation", what)
    manager = query.get("fieldManager", "")
    if len(manager) > LONGEST_MANAGER:
        raise _option(kind, "fieldManager", f"Too long: may not be more than {LONGEST_MANAGER} bytes")
    if not manager.isprintable():
        raise _option(
            kind, "fieldManager", f"Invalid value: {json.dumps(manager)}: should only contain printable characters"
        )
    named = manager or agent.partition("/")[0][:LONGEST_MANAGER]
    return WriteOptions(
        dry_run == "All", named if named.isprintable() and named else "unknown", validation, flag(query, "force")
    )


def _option(kind: str, field: str, what: str) -> Failure:
    return invalid(kind, "meta.k8s.io", "", [Fault((field,), what)])


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which objects of a resource: in a namespace (empty: all), by labels and by fields."""

    resource: Resource
    namespace: str = ""
    labels: LabelQuery = ()
    fields: FieldQuery = ()

    @property
    def selective(self) -> bool:
        """Whether it may leave objects out."""
        return bool(self.labels or self.fields)


def chosen(resource: Resource, namespace: str, query: Mapping[str, str]) -> Chosen:
    """What a list, a watch or a deletecollection is about."""
    fields = parse_fields(query.get("fieldSelector", ""))
    for one in fields:
        if not resource.knows_field(one.field):
            raise bad_request(f"field label not supported: {one.field}")
    return Chosen(resource, namespace, parse_labels(query.get("labelSelector", "")), fields)


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How to list: from which revision on (`match` says how exactly), how many, from which object on."""

    revision: int | None
    match: str
    limit: int | None
    start: tuple[int, str] | None


def list_options(query: Mapping[str, str]) -> ListOptions:
    """The options of a list. Raises Failure (400, 422)."""
    revision, match = number(query, "resourceVersion"), query.get("resourceVersionMatch", "")
    if match not in ("", "Exact", "NotOlderThan"):
        supported = '"Exact", "NotOlderThan"'
        raise _option(
            "ListOptions", "resourceVersionMatch", f'Unsupported value: "{match}": supported values: {supported}'
        )
    if match and revision is None:
        what = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise _option("ListOptions", "resourceVersionMatch", what)
    if match == "Exact" and revision == 0:
        what = 'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
        raise _option("ListOptions", "resourceVersionMatch", what)
    start = _token(query["continue"]) if query.get("continue") else None
    if start and revision:
        raise bad_request("specifying resource version is not allowed when using continue")
    return ListOptions(revision, match, number(query, "limit") or None, start)


def _token(text: str) -> tuple[int, str]:
    """(revision, key behind which to go on) of a continue token."""
    try:
        read = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        version, revision, start = read["v"], read["rv"], read["start"]
    except (ValueError, binascii.Error, KeyError, TypeError, RecursionError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    if version != "meta.k8s.io/v1" or not isinstance(revision, int) or not isinstance(start, str) or revision <= 0:
        raise bad_request("invalid continue token: continue key is not valid: incorrect encoded start resourceVersion")
    return revision, start


def token(revision: int, start: str) -> str:
    """The continue token for what follows behind a key."""
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start + "\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch: from where (None: from now, with what is there first), for how long, with which marks.

    `initial`: the current objects come first and a bookmark says where they end (a streaming list).
    """

    revision: int | None
    timeout: int | None
    bookmarks: bool
    initial: bool


def watch_options(query: Mapping[str, str]) -> WatchOptions:
    """The options of a watch. Raises Failure (400, 422)."""
    initial = flag(query, "sendInitialEvents")
    match = query.get("resourceVersionMatch", "")
    if initial and match != "NotOlderThan":
        what = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _option("ListOptions", "resourceVersionMatch", what)
    if match and not initial and "sendInitialEvents" not in query:
        what = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise _option("ListOptions", "resourceVersionMatch", what)
    timeout = number(query, "timeoutSeconds")
    return WatchOptions(number(query, "resourceVersion"), timeout, flag(query, "allowWatchBookmarks"), initial)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete: in how many seconds, what becomes of dependents, and of which object alone."""

    dry_run: bool
    grace: int | None
    propagation: str
    uid: str | None
    revision: str | None


_PROPAGATIONS = ("Background", "Foreground", "Orphan")


def delete_options(query: Mapping[str, str], body: Mapping[str, object]) -> DeleteOptions:
    """The options of a deletion, from the body and the query. Raises Failure (400, 422)."""
    grace = body.get("gracePeriodSeconds")
    if not isinstance(grace, int):
        grace = number(query, "gracePeriodSeconds")
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy", "")
    if propagation not in ("", *_PROPAGATIONS):
        supported = '"Foreground", "Background", "Orphan", "nil"'
        what = f"Invalid value: {json.dumps(propagation)}: supported values: {supported}"
        raise invalid("DeleteOptions", "", "", [Fault(("propagationPolicy",), what)])
    if body.get("orphanDependents") is True or flag(query, "orphanDependents"):
        propagation = "Orphan"
    if isinstance(grace, int) and grace < 0:
        grace = 1
    dry_run = body.get("dryRun") == ["All"] or query.get("dryRun") == "All"
    conditions = body.get("preconditions")
    conditions = conditions if isinstance(conditions, dict) else {}
    return DeleteOptions(dry_run, grace, str(propagation), conditions.get("uid"), conditions.get("resourceVersion"))
