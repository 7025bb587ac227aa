"""The case that is about the API alone: every operation on NetworkPolicy that a client may count on, watch among them.

Discovery; create, get, list in one namespace and in all; a watch that tells each change in order; patch, update, delete
and delete of a collection. Nothing is measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from gatewright.lab.api.resources import BY_PLURAL
from gatewright.lab.apiclient.following import Change, Follower
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.probe.conformance.model import Tree
from gatewright.sources.kubeconfig import Where

POLICIES = BY_PLURAL["networking.k8s.io", "networkpolicies"]
SPACE, OTHER = "x", "y"
_TOLD_WITHIN = 10.0
_LABEL = {"special": "conformance"}
_SELECTOR = "special=conformance"


class _Heard:
    """What a watch has told of the objects of a label, in order: `ADDED a`, `MODIFIED a`, `DELETED a`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def hear(self, changes: list[Change]) -> None:
        with self._changed:
            for one in changes:
                if (one.tree["metadata"].get("labels") or {}).items() >= _LABEL.items():
                    what = "ADDED" if one.before is None else "DELETED" if one.after is None else "MODIFIED"
                    self.lines.append(f"{what} {one.tree['metadata']['name']}")
            self._changed.notify_all()

    def wait(self, expected: list[str]) -> bool:
        """Wait until exactly this has been told since the last time; forget it then."""
        until = time.monotonic() + _TOLD_WITHIN
        with self._changed:
            while self.lines != expected and time.monotonic() < until:
                self._changed.wait(until - time.monotonic())
            found, self.lines = self.lines, []
        return found == expected


def policy(name: str, namespace: str = SPACE) -> Tree:
    """A NetworkPolicy of the case, which selects nobody."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(_LABEL)},
        "spec": {"podSelector": {"matchLabels": {"pod": "nobody"}}, "policyTypes": ["Ingress"]},
    }


def api_operations(where: Where) -> list[str]:
    """Do everything; what is wrong, a line each. Raises GatewrightError where the API cannot be asked."""
    heard = _Heard()
    follower = Follower(where, [POLICIES], heard.hear)
    writer = Writer(where, manager="gatewright-conformance")
    follower.start()
    try:
        if not follower.wait(_TOLD_WITHIN):
            return ["a list and watch of NetworkPolicies does not begin"]
        return [*_discovery(writer), *_writes(writer, heard)]
    finally:
        follower.stop()
        writer.close()


def _discovery(writer: Writer) -> Iterator[str]:
    groups = writer.read("/apis")["groups"]
    versions = [one["groupVersion"] for group in groups if group["name"] == POLICIES.group for one in group["versions"]]
    if POLICIES.api_version not in versions:
        yield f"/apis does not name {POLICIES.api_version}"
    group = writer.read(f"/apis/{POLICIES.group}")
    if POLICIES.api_version not in [one["groupVersion"] for one in group["versions"]]:
        yield f"/apis/{POLICIES.group} does not name {POLICIES.api_version}"
    resources = {one["name"]: one for one in writer.read(f"/apis/{POLICIES.api_version}")["resources"]}
    verbs = set(resources.get(POLICIES.plural, {}).get("verbs", ()))
    wanted = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    if missing := wanted - verbs:
        yield f"{POLICIES.plural} lack the verbs {', '.join(sorted(missing))}"


def _writes(writer: Writer, heard: _Heard) -> Iterator[str]:
    def check(what: str, holds: bool) -> Iterator[str]:
        if not holds:
            yield what

    made = writer.create(POLICIES, SPACE, policy("first"))
    yield from check("a created object has no uid, resourceVersion or creationTimestamp", _is_stamped(made))
    yield from check("the watch does not tell a creation", heard.wait(["ADDED first"]))
    got = writer.get(POLICIES, SPACE, "first")
    yield from check("get gives another object than create", got["metadata"]["uid"] == made["metadata"]["uid"])
    yield from check(
        "a second creation of the name is not refused",
        _refusal(lambda: writer.create(POLICIES, SPACE, policy("first"))) == "AlreadyExists",
    )
    writer.create(POLICIES, OTHER, policy("elsewhere", OTHER))
    yield from check("the watch does not tell a creation elsewhere", heard.wait(["ADDED elsewhere"]))
    yield from check("a list in one namespace is wrong", _names(writer, SPACE) == ["first"])
    yield from check("a list of all namespaces is wrong", _names(writer, "") == ["elsewhere", "first"])

    patched = writer.patch(POLICIES, SPACE, "first", {"metadata": {"annotations": {"patched": "true"}}})
    yield from check("a patch does not change", patched["metadata"]["annotations"].get("patched") == "true")
    yield from check("the watch does not tell a patch", heard.wait(["MODIFIED first"]))
    strategic = {"metadata": {"annotations": {"again": "true"}}}
    patched = writer.patch(POLICIES, SPACE, "first", strategic, kind="strategic")
    yield from check("a strategic patch loses", set(patched["metadata"]["annotations"]) == {"patched", "again"})
    yield from check("the watch does not tell a strategic patch", heard.wait(["MODIFIED first"]))

    changed = {**patched, "spec": {**patched["spec"], "policyTypes": ["Ingress", "Egress"]}}
    updated = writer.update(POLICIES, changed)
    yield from check("an update does not change", updated["spec"]["policyTypes"] == ["Ingress", "Egress"])
    yield from check("an update of the spec does not count as a generation", _generation(updated) > _generation(made))
    yield from check("the watch does not tell an update", heard.wait(["MODIFIED first"]))
    yield from check(
        "an update of an old version is not refused", _refusal(lambda: writer.update(POLICIES, changed)) == "Conflict"
    )

    writer.delete(POLICIES, SPACE, "first")
    yield from check("the watch does not tell a deletion", heard.wait(["DELETED first"]))
    yield from check(
        "what is deleted is still found", _refusal(lambda: writer.get(POLICIES, SPACE, "first")) == "NotFound"
    )
    for name in ("second", "third"):
        writer.create(POLICIES, SPACE, policy(name))
    yield from check("the watch does not tell two creations", heard.wait(["ADDED second", "ADDED third"]))
    writer.delete_collection(POLICIES, SPACE, labelSelector=_SELECTOR)
    yield from check(
        "the watch does not tell a deletion of a collection", heard.wait(["DELETED second", "DELETED third"])
    )
    yield from check("a collection is not deleted, or too much is", _names(writer, "") == ["elsewhere"])
    writer.delete(POLICIES, OTHER, "elsewhere")


def _names(writer: Writer, namespace: str) -> list[str]:
    return sorted(one["metadata"]["name"] for one in writer.list(POLICIES, namespace, labelSelector=_SELECTOR))


def _refusal(action: Callable[[], object]) -> str:
    try:
        action()
    except Refused as refused:
        return refused.reason
    return ""


def _is_stamped(tree: Tree) -> bool:
    return all(tree["metadata"].get(field) for field in ("uid", "resourceVersion", "creationTimestamp"))


def _generation(tree: Tree) -> int:
    return int(tree["metadata"].get("generation", 0))
