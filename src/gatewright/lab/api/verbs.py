"""What the endpoint does for each verb, between decoded requests and the store. Raises Failure for every refusal.

Every method decides without waiting, on the newest state, and waits only for the disk: two requests never race.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gatewright.kubeapi import failure
from gatewright.kubeapi.decoding import decode, too_deep
from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.patch.json_patch import PatchError, apply_json_patch
from gatewright.kubeapi.patch.managed import Manager, after_update, apply_configuration
from gatewright.kubeapi.patch.merge import apply_merge_patch
from gatewright.kubeapi.patch.strategic import apply_strategic_patch
from gatewright.kubeapi.selectors import fields_match, matches
from gatewright.kubeapi.status import StatusCause, StatusDetails
from gatewright.kubeapi.types import Type, TypeTable
from gatewright.lab.api import lifecycle, rules
from gatewright.lab.api.allocation import Ranges, allocate
from gatewright.lab.api.defaults import admit
from gatewright.lab.api.journal import Key
from gatewright.lab.api.lifecycle import copied
from gatewright.lab.api.options import Chosen, DeleteOptions, ListOptions, WriteOptions, token
from gatewright.lab.api.resources import NAMESPACES, Resource, Tree
from gatewright.lab.api.store import Entry, Store, key_of
from gatewright.objects.decode import Fault

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: a resource in a namespace, an object of it, a part of that object."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        """The object's key."""
        return key_of(self.resource, self.namespace, self.name)


@dataclass(slots=True)
class Written:
    """An object as it is after a write; `warnings` are for the client's user."""

    tree: Tree
    created: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Listed:
    """Objects of a list, at a revision; `following` is the token for the rest, `remaining` how many it has."""

    entries: list[Entry]
    revision: int
    following: str = ""
    remaining: int | None = None


class Verbs:
    """The verbs, over a store."""

    def __init__(self, store: Store, types: TypeTable, ranges: Ranges | None = None) -> None:
        self.store = store
        self.types = types
        self.ranges = ranges or Ranges()

    # Reading.

    def get(self, target: Target) -> Entry:
        """The object. Raises Failure (404)."""
        entry = self.store.get(target.key)
        if entry is None:
            raise self._missing(target)
        return entry

    def page(self, what: Chosen, options: ListOptions) -> Listed:
        """The objects of a list, or a page of them."""
        revision, limit = self.store.revision, options.limit
        at: int | None = None
        if options.start:
            at = revision = options.start[0]
        elif options.match == "Exact" and options.revision:
            at = revision = options.revision
        elif options.revision:
            self._reached(options.revision)
        elif options.revision == 0:
            limit = None
        try:
            entries = self.store.objects(what.resource, what.namespace, at)
        except Failure as refused:
            if options.start and refused.status.code == 410:
                raise failure.expired(_PAGE_TOO_OLD) from refused
            raise
        if options.start:
            entries = _behind(entries, options.start[1], namespaced=what.resource.namespaced and not what.namespace)
        if what.selective:
            entries = [one for one in entries if selects(what, one)]
        if limit is None or len(entries) <= limit:
            return Listed(entries, revision)
        last = entries[limit - 1].key
        place = f"{last[1]}/{last[2]}" if what.resource.namespaced and not what.namespace else last[2]
        remaining = None if what.selective else len(entries) - limit
        return Listed(entries[:limit], revision, token(revision, place), remaining)

    def _reached(self, revision: int) -> None:
        if revision > self.store.revision:
            raise failure.too_large(revision, self.store.revision)

    # Writing.

    async def create(self, target: Target, tree: Any, options: WriteOptions, duplicates: list[str]) -> Written:
        """Make an object."""
        clean, warnings = self._decoded(target.resource, tree, options, duplicates)
        self._place(target, clean)
        self._require_namespace(target, clean)
        new = lifecycle.born(target.resource, clean, target.namespace)
        target = Target(target.resource, target.namespace, new["metadata"].get("name", ""))
        manager = Manager(options.manager, "Update", target.resource.api_version)
        return await self._create(
            target, new, options, lambda made: self._owners(target, None, made, manager), warnings
        )

    async def _create(
        self,
        target: Target,
        new: Tree,
        options: WriteOptions,
        owners: Callable[[Tree], list[Tree]],
        warnings: list[str],
    ) -> Written:
        resource = target.resource
        managed = owners(new)
        admit(resource.kind, new)
        self._check(target, rules.faults(resource, new))
        if self.store.newest(target.key) is not None:
            raise failure.already_exists(resource.plural, resource.group, target.name)
        if resource.kind == "Service":
            others = [entry.tree() for entry in self.store.newest_all(resource)]
            allocate(new, others, self.ranges)
        if managed:
            new["metadata"]["managedFields"] = managed
        if options.dry_run:
            del new["metadata"]["resourceVersion"]
        else:
            await self.store.stage(target.key, new)
        return Written(new, True, warnings)

    async def update(self, target: Target, tree: Any, options: WriteOptions, duplicates: list[str]) -> Written:
        """Replace an object, or its status."""
        clean, warnings = self._decoded(target.resource, tree, options, duplicates)
        self._place(target, clean)
        old = self._newest(target)
        name = (clean.get("metadata") or {}).get("name", "")
        if name and name != target.name:
            what = f"the name of the object ({name}) does not match the name on the URL ({target.name})"
            raise failure.bad_request(what)
        if target.resource.custom and not (clean.get("metadata") or {}).get("resourceVersion"):
            what = "Invalid value: 0: must be specified for an update"
            self._check(target, [Fault(("metadata", "resourceVersion"), what)])
        return await self._update(target, old, clean, options, warnings)

    async def _update(
        self, target: Target, old: Tree, clean: Tree, options: WriteOptions, warnings: list[str], owners: Any = None
    ) -> Written:
        metadata = clean.get("metadata") or {}
        self._same_object(target, old, metadata.get("uid"), metadata.get("resourceVersion"))
        forgotten = metadata.get("managedFields") == []
        before = copied(old)
        if forgotten:
            before["metadata"].pop("managedFields", None)
        new = lifecycle.updated(target.resource, before, clean, target.subresource)
        found = rules.faults(target.resource, new) + rules.change_faults(target.resource, old, new)
        self._check(target, found)
        if target.resource.kind == "Service" and target.subresource == "":
            others = [one.tree() for one in self.store.newest_all(target.resource) if one.key != target.key]
            allocate(new, others, self.ranges)
        manager = Manager(options.manager, "Update", target.resource.api_version, target.subresource)
        new["metadata"]["managedFields"] = owners or self._owners(target, before, new, manager)
        return await self._replace(target, old, new, options, warnings)

    async def _replace(
        self, target: Target, old: Tree, new: Tree, options: WriteOptions, warnings: list[str]
    ) -> Written:
        if not new["metadata"].get("managedFields"):
            new["metadata"].pop("managedFields", None)
        if lifecycle.same(old, new):
            return Written(old, False, warnings)
        if options.dry_run:
            return Written(new, False, warnings)
        if lifecycle.finished(new):
            await self.store.stage(target.key, None)
        else:
            await self.store.stage(target.key, new)
        return Written(new, False, warnings)

    async def patch(
        self, target: Target, patch: Any, how: str, options: WriteOptions, duplicates: list[str]
    ) -> Written:
        """Change an object by a patch; a server-side apply makes it where there is none."""
        if how == APPLY_PATCH:
            return await self._apply(target, patch, options, duplicates)
        old = self._newest(target)
        wanted = self.types[target.resource.type]
        try:
            tree = self._patched(old, patch, how, target.resource, wanted)
            if too_deep(tree):
                raise PatchError("what it makes is nested too deeply")
        except PatchError as error:
            raise _rejected(str(error)) from error
        clean, warnings = self._decoded(target.resource, tree, options, duplicates)
        if (clean.get("metadata") or {}).get("name") != target.name:
            faults = [Fault(("metadata", "name"), "Invalid value: field is immutable")]
            raise failure.invalid(target.resource.kind, target.resource.group, target.name, faults)
        self._place(target, clean)
        return await self._update(target, old, clean, options, warnings)

    def _patched(self, old: Tree, patch: Any, how: str, resource: Resource, wanted: Type) -> Any:
        whole = {"kind": resource.kind, "apiVersion": resource.api_version, **old}
        if how == JSON_PATCH:
            return apply_json_patch(whole, patch)
        if not isinstance(patch, dict):
            raise failure.bad_request("json: cannot unmarshal the patch: it must be an object")
        if how == MERGE_PATCH:
            return apply_merge_patch(whole, patch)
        if resource.custom:
            supported = ", ".join(one for one in PATCHES if one != STRATEGIC_PATCH)
            what = f"the body of the request was in an unknown format - accepted media types include: {supported}"
            raise failure.fail(415, what)
        return apply_strategic_patch(whole, patch, wanted)

    async def _apply(self, target: Target, tree: Any, options: WriteOptions, duplicates: list[str]) -> Written:
        resource = target.resource
        clean, warnings = self._decoded(resource, tree, options, duplicates)
        self._place(target, clean)
        metadata = clean.setdefault("metadata", {})
        if metadata.get("managedFields"):
            raise failure.bad_request("metadata.managedFields must be nil")
        if metadata.setdefault("name", target.name) != target.name:
            what = f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
            raise failure.bad_request(what)
        manager = Manager(options.manager, "Apply", resource.api_version, target.subresource)
        wanted, now = self.types[resource.type], lifecycle.now()
        entry = self.store.newest(target.key)
        if entry is None:
            if target.subresource or metadata.get("uid"):
                raise self._missing(target)
            self._require_namespace(target, clean)
            made = apply_configuration(wanted, None, clean, manager, now, options.force)
            owners = made["metadata"]["managedFields"]
            new = lifecycle.born(resource, made, target.namespace)
            return await self._create(target, new, options, lambda _: owners, warnings)
        old = entry.tree()
        self._same_object(target, old, metadata.get("uid"), metadata.pop("resourceVersion", None))
        live = {"apiVersion": resource.api_version, "kind": resource.kind, **copied(old)}
        made = apply_configuration(wanted, live, clean, manager, now, options.force)
        owners = made["metadata"].pop("managedFields")
        made["metadata"].pop("resourceVersion", None)
        return await self._update(target, old, _bare(made), options, warnings, owners)

    async def scale(self, target: Target, replicas: int, options: WriteOptions, revision: str | None) -> Tree:
        """Set how many replicas a workload wants."""
        old = self._newest(target)
        self._same_object(target, old, None, revision)
        tree = copied(old)
        tree["spec"]["replicas"] = replicas
        tree["metadata"].pop("resourceVersion", None)
        owner = Target(target.resource, target.namespace, target.name)
        new = lifecycle.updated(target.resource, copied(old), tree)
        self._check(owner, rules.faults(target.resource, new))
        manager = Manager(options.manager, "Update", target.resource.api_version, "scale")
        new["metadata"]["managedFields"] = self._owners(owner, old, new, manager)
        return (await self._replace(owner, old, new, options, [])).tree

    async def mutate(self, target: Target, change: Callable[[Tree], None], manager: str) -> Tree:
        """Change an object from within, as a controller of a cluster does."""
        old = self._newest(target)
        new = copied(old)
        change(new)
        owner = Manager(manager, "Update", target.resource.api_version, target.subresource)
        new["metadata"]["managedFields"] = self._owners(target, old, new, owner)
        return (await self._replace(target, old, new, WriteOptions(False, manager, "Ignore"), [])).tree

    # Deleting.

    async def delete(self, target: Target, options: DeleteOptions) -> tuple[Tree, bool]:
        """(the object, whether it is gone): begin or finish its deletion."""
        old = self._newest(target)
        self._preconditions(target, old, options)
        if target.resource.kind == "Namespace" and target.name in SYSTEM_NAMESPACES:
            raise _forbidden(target, "this namespace may not be deleted")
        new = lifecycle.condemned(target.resource, old, options.grace, options.propagation)
        if new is None:
            gone = lifecycle.ended(old) if target.resource.kind == "Pod" else old
            if not options.dry_run:
                if gone is not old:  # watchers of pods see the end begin
                    self.store.stage(target.key, gone)
                await self.store.stage(target.key, None)
            return gone, True
        if new is not old and not options.dry_run:
            await self.store.stage(target.key, new)
        return new, False

    async def delete_all(self, what: Chosen, options: DeleteOptions) -> list[Tree]:
        """Delete everything that is chosen; what others delete meanwhile is no fault."""
        found = [entry for entry in self.store.newest_all(what.resource, what.namespace) if selects(what, entry)]
        deleted = []
        for entry in found:
            target = Target(what.resource, entry.key[1], entry.key[2])
            try:
                await self.delete(target, options)
                deleted.append(entry.tree())
            except Failure as refused:
                if refused.status.code != 404:
                    raise
        return deleted

    # Checks.

    def _decoded(
        self, resource: Resource, tree: Any, options: WriteOptions, duplicates: list[str]
    ) -> tuple[Tree, list[str]]:
        """(clean tree without kind and apiVersion, warnings)."""
        if not isinstance(tree, dict):
            raise failure.bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
        given = (tree.get("apiVersion", resource.api_version), tree.get("kind", resource.kind))
        if given != (resource.api_version, resource.kind):
            version = resource.api_version
            what = f"the API version in the data ({given[0]}) does not match the expected API version ({version})"
            if given[0] == version:
                what = f'{given[1]} in version "{resource.version}" cannot be handled as a {resource.kind}'
            raise failure.bad_request(what)
        read = decode(tree, self.types[resource.type], resource.kind, resource.version)
        objections = duplicates + read.objections
        if objections and options.validation == "Strict":
            said = ", ".join(objections)
            kind = resource.kind
            what = (
                f'{kind} in version "{resource.version}" cannot be handled as a {kind}: strict decoding error: {said}'
            )
            raise failure.bad_request(what)
        return _bare(read.tree), objections if options.validation == "Warn" else []

    def _place(self, target: Target, clean: Tree) -> None:
        namespace = (clean.get("metadata") or {}).get("namespace", "")
        if namespace and namespace != target.namespace:
            what = "the namespace of the provided object does not match the namespace sent on the request"
            raise failure.bad_request(what)

    def _require_namespace(self, target: Target, clean: Tree) -> None:
        if not target.resource.namespaced:
            return
        entry = self.store.newest(key_of(NAMESPACES, "", target.namespace))
        if entry is None:
            raise failure.not_found("namespaces", "", target.namespace)
        if entry.tree()["metadata"].get("deletionTimestamp"):
            raise _terminating(target, (clean.get("metadata") or {}).get("name", ""))

    def _newest(self, target: Target) -> Tree:
        entry = self.store.newest(target.key)
        if entry is None:
            raise self._missing(target)
        return entry.tree()

    def _missing(self, target: Target) -> Failure:
        return failure.not_found(target.resource.plural, target.resource.group, target.name)

    def _same_object(self, target: Target, old: Tree, uid: str | None, revision: str | None) -> None:
        resource, metadata = target.resource, old["metadata"]
        if uid and uid != metadata["uid"]:
            place = "/".join(part for part in ("/registry", resource.plural, target.namespace, target.name) if part)
            what = (
                f"StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
            )
            raise failure.conflict(resource.plural, resource.group, target.name, what)
        if revision not in (None, "", "0", metadata["resourceVersion"]):
            raise failure.conflict(resource.plural, resource.group, target.name, failure.MODIFIED)

    def _preconditions(self, target: Target, old: Tree, options: DeleteOptions) -> None:
        resource = target.resource
        for name, field_, asked in (
            ("UID", "uid", options.uid),
            ("ResourceVersion", "resourceVersion", options.revision),
        ):
            has = old["metadata"][field_]
            if asked is not None and asked != has:
                why = (
                    f"the {name} in the precondition ({asked}) does not match the {name} in record ({has}). "
                    "The object might have been deleted and then recreated"
                )
                raise failure.conflict(resource.kind, resource.group, target.name, why)

    def _check(self, target: Target, faults: list[Fault]) -> None:
        resource = target.resource
        unreadable = next((one for one in faults if one.what.startswith("json: ")), None)
        if unreadable:
            kind = resource.kind
            what = f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {unreadable.what}'
            raise failure.bad_request(what)
        if faults:
            raise failure.invalid(resource.kind, resource.group, target.name, faults)

    def _owners(self, target: Target, old: Tree | None, new: Tree, manager: Manager) -> list[Tree]:
        return after_update(self.types[target.resource.type], old, new, manager, lifecycle.now())


_PAGE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You must start a new list without "
    "the continue parameter."
)


def selects(what: Chosen, entry: Entry) -> bool:
    """Whether an object is chosen."""
    if what.namespace and entry.key[1] != what.namespace:
        return False
    return matches(what.labels, entry.labels) and fields_match(what.fields, entry.fields)


def _behind(entries: list[Entry], start: str, namespaced: bool) -> list[Entry]:
    start = start.rstrip("\0")
    if namespaced:
        namespace, _, name = start.partition("/")
        return [entry for entry in entries if entry.key[1:] > (namespace, name)]
    return [entry for entry in entries if entry.key[2] > start]


def _bare(tree: Tree) -> Tree:
    return {name: value for name, value in tree.items() if name not in ("kind", "apiVersion")}


def _rejected(why: str) -> Failure:
    """A patch that does not fit: a real server says no more than this, so the reason is added behind it."""
    message = f"the server rejected our request due to an error in our request: {why}"
    return failure.fail(422, message, details=StatusDetails())


def _forbidden(target: Target, why: str) -> Failure:
    label = failure.resource_label(target.resource.plural, target.resource.group)
    details = StatusDetails(name=target.name, group=target.resource.group, kind=target.resource.plural)
    return failure.fail(403, f'{label} "{target.name}" is forbidden: {why}', details=details)


def _terminating(target: Target, name: str) -> Failure:
    namespace, resource = target.namespace, target.resource
    message = f"namespace {namespace} is being terminated"
    cause = StatusCause(reason="NamespaceTerminating", message=message, field="metadata.namespace")
    label = failure.resource_label(resource.plural, resource.group)
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    details = StatusDetails(name=name, group=resource.group, kind=resource.plural, causes=(cause,))
    return failure.fail(403, f'{label} "{name}" is forbidden: {why}', details=details)
