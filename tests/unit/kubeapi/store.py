"""One kind as an API server holds it: objects, versions, the changes since, and what it answers. No sockets.

It says what a real server said when it was asked: pages are of the version of the first, tokens and versions expire
with compaction, a watch from a version tells every change after it, and a streaming list ends with a bookmark.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]

REFUSED = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
DISABLED = (
    "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled"
)


def status(code: int, reason: str, message: str, **details: Any) -> Json:
    made = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return {**made, "reason": reason, **({"details": details} if details else {}), "code": code}


EXPIRED = status(410, "Expired", "The resourceVersion for the provided watch is too old.")


def too_large(wanted: int, current: int) -> Json:
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return status(504, "Timeout", message, causes=causes, retryAfterSeconds=1)


def line(kind: str, item: Json) -> bytes:
    return json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode() + b"\n"


def bookmark(version: int, *, end: bool = False) -> bytes:
    annotations = {"annotations": {"k8s.io/initial-events-end": "true"}} if end else {}
    return line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version), **annotations}})


@dataclass
class Store:
    """The objects of one kind. `streams` is how it takes streaming lists: yes, refused, disabled or ignored."""

    version: int = 10
    objects: dict[Key, Json] = field(default_factory=dict)
    events: list[tuple[int, str, Json]] = field(default_factory=list)
    compacted: int = 0
    streams: str = "yes"
    past: dict[int, list[Json]] = field(default_factory=dict)
    versions: tuple[str, ...] = ("v1",)

    def put(self, name: str, namespace: str = "shop", **fields: Any) -> Json:
        """Create or replace an object. What is held from then on."""
        self.version += 1
        key = (namespace, name)
        kind = "MODIFIED" if key in self.objects else "ADDED"
        metadata = {"name": name, "namespace": namespace, "labels": {"app": name}, **fields.pop("metadata", {})}
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("creationTimestamp", "2026-11-23T04:49:10Z")
        self.objects[key] = {"metadata": metadata, **pod_fields(), **fields}
        self.events.append((self.version, kind, self.objects[key]))
        return self.objects[key]

    def delete(self, name: str, namespace: str = "shop") -> None:
        """Delete an object; the event has the version of the deletion."""
        gone = self.objects.pop((namespace, name), None)
        if gone is not None:
            self.version += 1
            metadata = {**gone["metadata"], "resourceVersion": str(self.version)}
            self.events.append((self.version, "DELETED", {**gone, "metadata": metadata}))

    def compact(self) -> None:
        """Forget the changes up to now; versions and tokens before are expired."""
        self.compacted, self.events, self.past = self.version, [], {}

    @property
    def state(self) -> dict[Key, str]:
        """The version of every object."""
        return {key: item["metadata"]["resourceVersion"] for key, item in self.objects.items()}

    def group(self) -> Json:
        """What is said of the group of the kind."""
        return {"kind": "APIGroup", "versions": [{"groupVersion": f"g/{one}", "version": one} for one in self.versions]}

    def page(self, query: dict[str, str]) -> tuple[int, Json]:
        """(status, body) of a list."""
        version, begin = self.version, 0
        if "continue" in query:
            version, begin = map(int, base64.b64decode(query["continue"]).split())
            if version < self.compacted:
                return 410, status(410, "Expired", "The provided continue parameter is too old")
        items = self.past.setdefault(version, list(self.objects.values()))
        end = begin + int(query["limit"]) if "limit" in query else len(items)
        metadata = {"resourceVersion": str(version)}
        if end < len(items):
            metadata["continue"] = base64.b64encode(f"{version} {end}".encode()).decode()
        return 200, {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items[begin:end]}

    def watch(self, query: dict[str, str]) -> tuple[int, list[bytes], int]:
        """(status, the lines that are due at once or the one body of a refusal, the version they come to)."""
        streaming = "sendInitialEvents" in query
        if streaming and self.streams == "refused":
            return 422, [json.dumps(status(422, "Invalid", REFUSED)).encode()], 0
        if streaming and self.streams == "disabled":
            return 200, [line("ERROR", status(500, "InternalError", DISABLED))], 0
        if streaming or "resourceVersion" not in query:
            lines = [line("ADDED", item) for item in self.objects.values()]
            end = [bookmark(self.version, end=True)] if streaming and self.streams == "yes" else []
            return 200, lines + end, self.version
        since = int(query["resourceVersion"])
        if since < self.compacted:
            return 200, [line("ERROR", EXPIRED)], 0
        if since > self.version:
            return 200, [line("ERROR", too_large(since, self.version))], 0
        return 200, [line(kind, item) for version, kind, item in self.events if version > since], self.version


def pod_fields() -> Json:
    return {
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "http"}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    }
