"""Writing objects: one request, one answer, and what a refusal says as an error that can be asked for its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatewright.errors import GatewrightError
from gatewright.kubeapi.status import Status, said
from gatewright.lab.api.resources import BY_PLURAL, Resource, Tree
from gatewright.lab.apiclient.following import Follower
from gatewright.sources.connection import extensions, told
from gatewright.sources.kubeconfig import Where
from gatewright.sources.session import KeptClient, Session

if TYPE_CHECKING:
    import httpx2 as httpx

PODS = BY_PLURAL["", "pods"]
TIMEOUT = 10.0
"""Seconds without an answer."""
_DRY_RUN = {"dryRun": "All"}
_PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


class Refused(GatewrightError):
    """The server says no; `status` says why."""

    def __init__(self, what: str, status: Status) -> None:
        super().__init__(f"{what}: {status.message or status.reason} ({status.code})")
        self.status = status

    @property
    def reason(self) -> str:
        """`NotFound`, `AlreadyExists`, `Conflict`, `Invalid` ..."""
        return self.status.reason


class Writer:
    """Writes with one connection that is kept; for one thread. What is written a follower knows at once.

    Every method raises Refused, and ClusterUnavailable for all that goes wrong on the way.
    """

    def __init__(self, where: Where, follower: Follower | None = None, manager: str = "gatewright-lab") -> None:
        """`manager` is the field manager, as managedFields name it."""
        self._session = Session(where)
        self._client = KeptClient(TIMEOUT)
        self._follower = follower
        self._manager = {"fieldManager": manager}

    def close(self) -> None:
        """Leave nothing open."""
        self._client.close()

    def get(self, resource: Resource, namespace: str, name: str) -> Tree:
        """One object as it is."""
        return self._ask("GET", _path(resource, namespace, name))

    def list(self, resource: Resource, namespace: str = "", **query: str) -> list[Tree]:
        """All objects: in one namespace or everywhere; `query` may have labelSelector and fieldSelector."""
        items: list[Tree] = self._ask("GET", _path(resource, namespace), query=query)["items"] or []
        named = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [named | one for one in items]

    def log(self, namespace: str, pod: str, **query: str) -> str:
        """What a container printed; `query` as the API has it: container, tailLines, previous ..."""
        answer = self._answer("GET", _path(PODS, namespace, pod, "log"), None, query, "")
        return answer.content.decode("utf-8", "replace")

    def read(self, path: str) -> Tree:
        """What stands at a path of the API: discovery, for example."""
        return self._ask("GET", path)

    def create(self, resource: Resource, namespace: str, tree: Tree, *, dry_run: bool = False) -> Tree:
        """Make an object; `dry_run`: only say whether it could be made."""
        query = self._manager | (_DRY_RUN if dry_run else {})
        answer = self._ask("POST", _path(resource, namespace), tree, query)
        return answer if dry_run else self._put(resource, answer)

    def update(self, resource: Resource, tree: Tree, subresource: str = "") -> Tree:
        """Put an object in the place of the one of its name; where it has a resourceVersion, only of that state."""
        metadata = tree["metadata"]
        path = _path(resource, metadata.get("namespace", ""), metadata["name"], subresource)
        return self._put(resource, self._ask("PUT", path, tree, self._manager))

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Any,
        subresource: str = "",
        *,
        kind: str = "merge",
        dry_run: bool = False,
    ) -> Tree:
        """Change some of an object; `kind` is merge, strategic or json; `dry_run`: only say whether it could be."""
        query = self._manager | (_DRY_RUN if dry_run else {})
        answer = self._ask("PATCH", _path(resource, namespace, name, subresource), patch, query, _PATCHES[kind])
        return answer if dry_run else self._put(resource, answer)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        """Begin to delete an object, or end it at once (`grace` 0). With `uid` only that very one."""
        options: Tree = {"apiVersion": "v1", "kind": "DeleteOptions"}
        options |= {"preconditions": {"uid": uid}} if uid else {}
        options |= {"gracePeriodSeconds": grace} if grace is not None else {}
        options |= {"propagationPolicy": propagation} if propagation else {}
        answer = self._ask("DELETE", _path(resource, namespace, name), options)
        if self._follower is None:
            return
        known = self._follower.get(resource, namespace, name) if self._follows(resource) else None
        if answer.get("kind") != "Status" and (_leaving(answer) and grace != 0):
            self._follower.put(resource, answer)
        elif known is not None and (not uid or known["metadata"].get("uid") == uid):
            self._follower.drop(resource, known)

    def delete_collection(self, resource: Resource, namespace: str, **query: str) -> None:
        """Begin to delete the objects of a namespace that `query` (labelSelector, fieldSelector) finds."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions"}
        self._ask("DELETE", _path(resource, namespace), options, query)

    def post(self, resource: Resource, namespace: str, name: str, subresource: str, body: Tree) -> Tree:
        """Ask something of an object: its binding, its eviction."""
        return self._ask("POST", _path(resource, namespace, name, subresource), body, self._manager)

    def _follows(self, resource: Resource) -> bool:
        return self._follower is not None and self._follower.follows(resource)

    def _put(self, resource: Resource, tree: Tree) -> Tree:
        if self._follower is not None:
            self._follower.put(resource, tree)
        return tree

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Tree:
        tree: Tree = msgspec.json.decode(self._answer(method, path, body, query, content_type).content)
        return tree

    def _answer(
        self, method: str, path: str, body: Any, query: dict[str, str] | None, content_type: str
    ) -> httpx.Response:
        access = self._session.access()
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = content_type
        with told(access.config, TIMEOUT):
            answer = self._client.of(access).request(
                method,
                path,
                params=query or {},
                content=None if body is None else msgspec.json.encode(body),
                headers=headers,
                extensions=extensions(access.config),
            )
        if answer.status_code == 401:
            self._session.refused(access)
        if answer.status_code >= 300:
            raise Refused(f"{method} {path}", said(answer.content, answer.status_code))
        return answer


def _leaving(tree: Tree) -> bool:
    """Whether an object is still there, on its way out."""
    return bool(tree.get("metadata", {}).get("deletionTimestamp"))


def _path(resource: Resource, namespace: str, name: str = "", subresource: str = "") -> str:
    parts = [resource.prefix]
    if namespace and resource.namespaced:
        parts += ["namespaces", namespace]
    return "/".join([*parts, resource.plural, *filter(None, (name, subresource))])
