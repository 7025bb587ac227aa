"""Subresources other than status: scale, binding, eviction, finalize; and a clear refusal of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gatewright.kubeapi import failure
from gatewright.kubeapi.decoding import decode, parse
from gatewright.kubeapi.patch.json_patch import PatchError, apply_json_patch
from gatewright.kubeapi.patch.merge import apply_merge_patch
from gatewright.kubeapi.status import Status, StatusDetails, encode
from gatewright.lab.api import lifecycle, options
from gatewright.lab.api.exchange import Request
from gatewright.lab.api.resources import Tree
from gatewright.lab.api.tables import selector_text
from gatewright.lab.api.verbs import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Target, Verbs
from gatewright.objects.decode import Fault

Answer = tuple[bytes, int]
_ABSENT = frozenset(("attach", "proxy", "ephemeralcontainers", "resize"))


class Subresources:
    """Answers requests for subresources."""

    def __init__(self, verbs: Verbs) -> None:
        self.verbs = verbs

    async def answer(self, target: Target, request: Request, body: Callable[[str], Any]) -> Answer:
        """(body, code). `body` reads the request's body as an object of a kind."""
        kind, name = target.resource.kind, target.subresource
        if name == "scale" and target.resource.scale:
            return await self._scale(target, request, body)
        if kind == "Pod" and name == "binding":
            return await self._binding(target, request, body)
        if kind == "Pod" and name == "eviction":
            return await self._eviction(target, request, body)
        if kind == "Namespace" and name == "finalize":
            return await self._finalize(target, request, body)
        if kind == "Pod" and name in _ABSENT:
            self.verbs.get(target)
            raise failure.not_implemented(f"the subresource {name} of pods")
        raise failure.no_such_resource()

    async def _scale(self, target: Target, request: Request, body: Callable[[str], Any]) -> Answer:
        owner = Target(target.resource, target.namespace, target.name)
        if request.method == "GET":
            return msgspec.json.encode(_scale_of(self.verbs.get(owner).tree())), 200
        if request.method not in ("PUT", "PATCH"):
            raise failure.not_allowed()
        present = _scale_of(self.verbs.get(owner).tree())
        tree = body("Scale") if request.method == "PUT" else _patched(present, request)
        scale = decode(tree, self.verbs.types["autoscaling.v1.Scale"], "Scale", "v1").tree
        metadata = scale.get("metadata") or {}
        if metadata.get("name", target.name) != target.name:
            raise failure.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
            )
        replicas = (scale.get("spec") or {}).get("replicas", 0)
        if replicas < 0:
            what = f"Invalid value: {replicas}: must be greater than or equal to 0"
            raise failure.invalid("Scale", "autoscaling", target.name, [Fault(("spec", "replicas"), what)])
        asked = options.write_options(request.query, request.agent, "UpdateOptions")
        revision = metadata.get("resourceVersion") if request.method == "PUT" else None
        return msgspec.json.encode(_scale_of(await self.verbs.scale(owner, replicas, asked, revision))), 200

    async def _binding(self, target: Target, request: Request, body: Callable[[str], Any]) -> Answer:
        _only_post(request)
        binding = decode(body("Binding"), self.verbs.types["core.v1.Binding"], "Binding", "v1").tree
        node = (binding.get("target") or {}).get("name", "")
        if not node:
            raise failure.invalid("Binding", "", target.name, [Fault(("target", "name"), "Required value")])
        pod = Target(target.resource, target.namespace, target.name)

        def bind(tree: Tree) -> None:
            bound = tree["spec"].get("nodeName")
            if bound:
                why = f"pod {target.name} is already assigned to node {json_text(bound)}"
                raise failure.conflict("pods/binding", "", target.name, why)
            tree["spec"]["nodeName"] = node
            conditions = tree.setdefault("status", {}).setdefault("conditions", [])
            conditions[:] = [one for one in conditions if one.get("type") != "PodScheduled"]
            conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": lifecycle.now()})

        manager = options.write_options(request.query, request.agent).manager
        await self.verbs.mutate(pod, bind, manager)
        return encode(Status(status="Success", code=201)), 201

    async def _eviction(self, target: Target, request: Request, body: Callable[[str], Any]) -> Answer:
        _only_post(request)
        eviction = decode(body("Eviction"), self.verbs.types["policy.v1.Eviction"], "Eviction", "v1").tree
        asked = options.delete_options(request.query, eviction.get("deleteOptions") or {})
        await self.verbs.delete(Target(target.resource, target.namespace, target.name), asked)
        return encode(Status(status="Success", code=201)), 201

    async def _finalize(self, target: Target, request: Request, body: Callable[[str], Any]) -> Answer:
        if request.method != "PUT":
            raise failure.not_allowed()
        wanted = decode(body("Namespace"), self.verbs.types["core.v1.Namespace"], "Namespace", "v1").tree

        def set_finalizers(tree: Tree) -> None:
            tree["spec"] = wanted.get("spec") or {}

        namespace = Target(target.resource, "", target.name)
        tree = await self.verbs.mutate(
            namespace, set_finalizers, options.write_options(request.query, request.agent).manager
        )
        return msgspec.json.encode({"kind": "Namespace", "apiVersion": "v1", **tree}), 200


def json_text(value: Any) -> str:
    """A value as JSON."""
    return msgspec.json.encode(value).decode()


def _only_post(request: Request) -> None:
    if request.method != "POST":
        raise failure.not_allowed()


def _scale_of(tree: Tree) -> Tree:
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {name: tree["metadata"][name] for name in names if name in tree["metadata"]}
    selector = selector_text(tree["spec"].get("selector"))
    status = {"replicas": (tree.get("status") or {}).get("replicas", 0), "selector": selector}
    head = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata}
    return {**head, "spec": {"replicas": tree["spec"].get("replicas", 0)}, "status": status}


def _patched(scale: Tree, request: Request) -> Any:
    patch, _ = parse(request.body, "application/json", "Scale")
    try:
        if request.content_type == JSON_PATCH:
            return apply_json_patch(scale, patch)
        if request.content_type in (MERGE_PATCH, STRATEGIC_PATCH):
            return apply_merge_patch(scale, patch)
    except PatchError as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise failure.fail(422, message, details=StatusDetails()) from error
    raise failure.fail(415, "415: Unsupported Media Type", details=StatusDetails())


def status_body(target: Target, uid: str) -> bytes:
    """The Status that answers a deletion."""
    resource = target.resource
    details = StatusDetails(name=target.name, group=resource.group, kind=resource.plural, uid=uid)
    return encode(Status(status="Success", details=details))
