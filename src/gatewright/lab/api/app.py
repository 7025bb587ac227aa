"""The front door: from a request to the verb it means, and from what came of it to an answer.

A method of this class answers one kind of path. Refusals are raised as `Failure` wherever they are found and become a
Status in `answer`, which is the only place that catches them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from gatewright.kubeapi import failure
from gatewright.kubeapi.decoding import decode, parse
from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.protobuf import MEDIA_TYPE as PROTOBUF
from gatewright.kubeapi.protobuf import from_protobuf
from gatewright.kubeapi.status import StatusDetails
from gatewright.lab.api import discovery, forms, options, reviews, routes
from gatewright.lab.api.exchange import TEXT, Request, Response, refusal
from gatewright.lab.api.lifecycle import DELETED_WHOLE
from gatewright.lab.api.node import Node, NoSuchLog
from gatewright.lab.api.openapi import Documents
from gatewright.lab.api.options import Chosen, chosen
from gatewright.lab.api.resources import Tree
from gatewright.lab.api.routes import Route
from gatewright.lab.api.store import Entry
from gatewright.lab.api.streams import Streams
from gatewright.lab.api.subresources import Subresources, status_body
from gatewright.lab.api.verbs import APPLY_PATCH, PATCHES, Target, Verbs, Written
from gatewright.lab.api.watching import Watch
from gatewright.objects.decode import Fault

MOST_WATCHES = 1_000
PLAIN = "text/plain"
_HEALTH = frozenset(("healthz", "livez", "readyz"))


class App:
    """Answers requests that have shown the token."""

    def __init__(self, verbs: Verbs, node: Node | None = None) -> None:
        self.verbs = verbs
        self.documents = Documents(verbs.types)
        self.subresources = Subresources(verbs)
        self.streams = Streams(verbs, node)
        self.watches: set[Watch] = set()

    async def answer(self, request: Request) -> Response:
        """The answer; a refusal is one too."""
        try:
            found = routes.route(request.parts)
            if found is None:
                return Response(404, b"404 page not found\n", TEXT)
            return await self._answer(found, request)
        except Failure as refused:
            return refusal(refused.status)

    async def _answer(self, found: Route, request: Request) -> Response:
        if found.target is not None:
            return await self._resource(found, found.target, request)
        if found.what == "review":
            return self._review(found, request)
        if request.method not in ("GET", "HEAD"):
            raise failure.not_allowed()
        if found.what == "unknown":
            raise failure.no_such_resource()
        return self._document(found, request)

    def end_watches(self) -> None:
        """End all watches: their clients go on elsewhere, or here after a restart."""
        for watch in self.watches:
            watch.close()

    # What describes the API.

    def _document(self, found: Route, request: Request) -> Response:
        if found.what in ("api", "apis") and not found.rest:
            return _discovery(found.what == "api", request)
        if found.what in ("group", "resources"):
            document = discovery.group(found.group)
            if found.what == "resources":
                document = discovery.resources(found.group, found.version)
            if document is None:
                return Response(404, b"404 page not found\n", TEXT)
            return _json(document)
        if found.what in _HEALTH and len(found.rest) <= 1:
            return Response(200, b"ok", TEXT)
        if found.what == "version" and not found.rest:
            return _json(self.documents.version())
        if found.what == "openapi":
            return self.documents.answer(found.rest, request)
        if found.what == "":
            return _json(
                {
                    "paths": [
                        "/api",
                        "/api/v1",
                        "/apis",
                        "/healthz",
                        "/livez",
                        "/openapi/v2",
                        "/openapi/v3",
                        "/readyz",
                        "/version",
                    ]
                }
            )
        return Response(404, b"404 page not found\n", TEXT)

    def _review(self, found: Route, request: Request) -> Response:
        if request.method != "POST":
            raise failure.not_allowed()
        kind = dict(discovery.REVIEWS[found.group, found.version])[found.rest[0]]
        tree, _ = self._body(request, kind)
        name = f"{found.group.partition('.')[0]}.{found.version}.{kind}"
        asked = decode(tree, self.verbs.types[name], kind, found.version).tree
        return _json(reviews.answer(kind, f"{found.group}/{found.version}", asked), 201)

    # Resources.

    async def _resource(self, found: Route, target: Target, request: Request) -> Response:
        if found.what == "collection":
            return await self._collection(target, request)
        if target.resource.kind == "Pod" and target.subresource == "log":
            return await self._logs(target, request)
        if target.resource.kind == "Pod" and target.subresource in ("exec", "portforward"):
            raise self.streams.refuse(target)
        if target.subresource not in ("", "status") or (target.subresource == "status" and not target.resource.status):
            body, code = await self.subresources.answer(target, request, lambda kind: self._body(request, kind)[0])
            return Response(code, body)
        return await self._object(target, request)

    async def _collection(self, target: Target, request: Request) -> Response:
        resource = target.resource
        if request.method == "POST" and (target.namespace or not resource.namespaced):
            tree, duplicates = self._body(request, resource.kind)
            asked = options.write_options(request.query, request.agent)
            return self._written(target, await self.verbs.create(target, tree, asked, duplicates), request)
        if request.method == "DELETE" and (target.namespace or not resource.namespaced):
            what = chosen(resource, target.namespace, request.query)
            gone = await self.verbs.delete_all(what, options.delete_options(request.query, self._options_body(request)))
            metadata = {"resourceVersion": str(self.verbs.store.revision)}
            head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata}
            return _json({**head, "items": gone})
        if request.method not in ("GET", "HEAD"):
            raise failure.not_allowed()
        what = chosen(resource, target.namespace, request.query)
        return self._listed(what, request)

    def _listed(self, what: Chosen, request: Request) -> Response:
        form = _form(request)
        if request.method == "GET" and options.flag(request.query, "watch"):
            return self._watch(what, request)
        listed = self.verbs.page(what, options.list_options(request.query))
        return Response(200, forms.many(what.resource, listed, form))

    def _watch(self, what: Chosen, request: Request) -> Response:
        form = _form(request)
        asked = options.watch_options(request.query)
        if len(self.watches) >= MOST_WATCHES:
            raise failure.fail(429, f"there are {MOST_WATCHES} watches already: end some", "TooManyRequests")
        try:
            watch = Watch(self.verbs, what, asked, form)
        except Failure as refused:
            body = forms.line("ERROR", refusal(refused.status).body.rstrip())
            return Response(200, stream=_once(body))
        return Response(200, stream=self._stream(watch))

    async def _stream(self, watch: Watch) -> AsyncIterator[bytes]:
        self.watches.add(watch)
        try:
            async for piece in watch.lines():
                yield piece
        finally:
            watch.close()
            self.watches.discard(watch)

    async def _logs(self, target: Target, request: Request) -> Response:
        if request.method != "GET":
            raise failure.not_allowed()
        pieces = self.streams.logs(target, request.query)
        if pieces is None:
            return Response(204, content_type="")
        try:
            first = await anext(pieces, b"")
        except NoSuchLog as error:
            raise failure.bad_request(str(error)) from error
        return Response(200, content_type=PLAIN, stream=_resumed(first, pieces))

    async def _object(self, target: Target, request: Request) -> Response:
        method, resource = request.method, target.resource
        if method in ("GET", "HEAD"):
            if request.method == "GET" and options.flag(request.query, "watch"):
                query = {**request.query, "fieldSelector": f"metadata.name={target.name}"}
                return self._watch(chosen(resource, target.namespace, query), request)
            return Response(200, forms.one(resource, self.verbs.get(target), _form(request)))
        if method == "PUT":
            tree, duplicates = self._body(request, resource.kind)
            asked = options.write_options(request.query, request.agent, "UpdateOptions")
            return self._written(target, await self.verbs.update(target, tree, asked, duplicates), request)
        if method == "PATCH":
            return await self._patch(target, request)
        if method == "DELETE" and not target.subresource:
            asked_to = options.delete_options(request.query, self._options_body(request))
            tree, gone = await self.verbs.delete(target, asked_to)
            return _deleted(target, tree, gone)
        raise failure.not_allowed()

    async def _patch(self, target: Target, request: Request) -> Response:
        how = request.content_type
        if how not in PATCHES:
            raise failure.fail(415, "415: Unsupported Media Type", details=StatusDetails())
        if how == APPLY_PATCH and not request.query.get("fieldManager"):
            fault = Fault(("fieldManager",), "Required value: is required for apply patch")
            raise failure.invalid("PatchOptions", "meta.k8s.io", "", [fault])
        if how != APPLY_PATCH and "force" in request.query:
            fault = Fault(("force",), "Forbidden: may not be specified for non-apply patch")
            raise failure.invalid("PatchOptions", "meta.k8s.io", "", [fault])
        kind = target.resource.kind
        patch, duplicates = parse(request.body, APPLY_PATCH if how == APPLY_PATCH else "application/json", kind)
        asked = options.write_options(request.query, request.agent, "PatchOptions")
        return self._written(target, await self.verbs.patch(target, patch, how, asked, duplicates), request)

    def _body(self, request: Request, kind: str) -> tuple[Any, list[str]]:
        if request.content_type == PROTOBUF:
            return from_protobuf(request.body, self.verbs.types), []
        return parse(request.body, request.content_type, kind)

    def _options_body(self, request: Request) -> Tree:
        if not request.body:
            return {}
        tree, _ = self._body(request, "DeleteOptions")
        return decode(tree, self.verbs.types["meta.v1.DeleteOptions"], "DeleteOptions", "v1").tree

    def _written(self, target: Target, written: Written, request: Request) -> Response:
        resource = target.resource
        revision = int(written.tree["metadata"].get("resourceVersion") or 0)
        entry = Entry(target.key, revision, msgspec.json.encode(written.tree), {}, {})
        response = Response(201 if written.created else 200, forms.one(resource, entry, _form(request)))
        if written.warnings:
            response.headers["Warning"] = ", ".join(f"299 - {_quoted(one)}" for one in written.warnings[:20])
        return response


def _form(request: Request) -> forms.Form:
    form = forms.negotiate(request.headers.get("accept", ""))
    included = request.query.get("includeObject", "Metadata")
    if included not in ("None", "Metadata", "Object"):
        raise failure.bad_request(f"unrecognized includeObject value: {included!r}")
    return forms.Form(form.view, form.version, included)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if " " <= c <= "~" else "?" for c in escaped) + '"'


async def _resumed(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _json(tree: Any, code: int = 200) -> Response:
    return Response(code, msgspec.json.encode(tree))


def _discovery(core: bool, request: Request) -> Response:
    form = forms.negotiate(request.headers.get("accept", ""), ("APIGroupDiscoveryList",))
    if not form.view:
        return _json(discovery.core_versions() if core else discovery.groups())
    body, tag = discovery.aggregated(core)
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public"}
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", "", headers)
    return Response(200, body, f"{forms.JSON};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", headers)


def _deleted(target: Target, tree: Tree, gone: bool) -> Response:
    resource = target.resource
    if gone and resource.kind not in DELETED_WHOLE:
        return Response(200, status_body(target, tree["metadata"]["uid"]))
    return Response(200, forms.with_kind(resource, msgspec.json.encode(tree)))
