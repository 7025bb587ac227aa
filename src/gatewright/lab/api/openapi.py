"""The API described: OpenAPI v3 (an index, and a document a group version) and v2 (all types in one document).

Made from the type table when they are asked for, which `kubectl explain`, `create`, `apply` and `diff` do. They hold
every field with its type, what is required, the extensions that say how lists merge, and descriptions where there are
any (`descriptions`).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import msgspec

from gatewright.kubeapi import failure, openapi_protobuf
from gatewright.kubeapi.types import Field, Type, TypeTable
from gatewright.lab.api.descriptions import Descriptions
from gatewright.lab.api.exchange import JSON, TEXT, Request, Response
from gatewright.lab.api.resources import GROUP_VERSIONS, RESOURCES, Resource
from gatewright.objects.schema import Schema

Tree = dict[str, Any]
SECOND = "v2 of OpenAPI"
"""Stands for the one document of all types where others are of a group version."""
_SCALARS: dict[str, Tree] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "microTime": {"type": "string", "format": "date-time"},
    "raw": {"type": "object"},
}
_NAMED = {
    "quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "intOrString": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}
_QUANTITY: Tree = {"oneOf": [{"type": "string"}, {"type": "number"}]}
_INT_OR_STRING: Tree = {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}


class Documents:
    """All documents of one type table."""

    def __init__(self, types: TypeTable) -> None:
        self._types = types
        self._document = lru_cache(maxsize=len(GROUP_VERSIONS) + 1)(self._made)
        self._index = lru_cache(maxsize=1)(self._indexed)
        self._in_protobuf = lru_cache(maxsize=1)(self._made_in_protobuf)

    def version(self) -> Tree:
        """`/version`: the release whose API this is, and who serves it."""
        major, minor = self._types.version.split(".")
        release = f"v{self._types.version}.0+gatewright"
        about = {"gitVersion": release, "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z"}
        return {"major": major, "minor": minor, **about, "goVersion": "", "compiler": "", "platform": "linux/amd64"}

    def answer(self, rest: tuple[str, ...], request: Request) -> Response:
        """`/openapi/v2`, `/openapi/v3` and what is below."""
        if rest == ("v3",):
            return _tagged(self._index(), request, TEXT)
        if rest == ("v2",):
            return self._second(request)
        if rest[:1] == ("v3",):
            group_version = _group_version(rest[1:])
            if group_version in GROUP_VERSIONS:
                return _tagged(self._document(*group_version), request, JSON)
        raise failure.no_such_resource()

    def _second(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if any(one in accept for one in openapi_protobuf.ACCEPTED):
            return _tagged(self._in_protobuf(), request, openapi_protobuf.MEDIA_TYPE)
        if accept and not any(one in accept for one in (JSON, "*/*", "application/*")):
            types = f"{JSON}, {openapi_protobuf.MEDIA_TYPE}"
            raise failure.fail(406, f"only the following media types are accepted: {types}", "NotAcceptable")
        return _tagged(self._document("", SECOND), request, JSON)

    def _made_in_protobuf(self) -> bytes:
        """The definitions alone: with them kubectl checks the objects of a List, and paths are for nobody."""
        tree = msgspec.json.decode(self._document("", SECOND))
        return openapi_protobuf.document({**tree, "paths": {}})

    def _indexed(self) -> bytes:
        paths = {}
        for group, version in GROUP_VERSIONS:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            tag = hashlib.sha512(self._document(group, version)).hexdigest().upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={tag}"}
        return msgspec.json.encode({"paths": paths})

    def _made(self, group: str, version: str) -> bytes:
        second = version not in ("v1", "v1alpha1", "v1alpha2")
        chosen = [one for one in RESOURCES if second or (one.group, one.version) == (group, version)]
        writer = _Writer(self._types, "#/definitions/" if second else "#/components/schemas/", flat=second)
        for resource in chosen:
            writer.resource(resource)
        info = {"title": "Kubernetes", "version": self._types.version}
        paths = {path: item for resource in chosen for path, item in _paths(resource, writer, second).items()}
        if second:
            return msgspec.json.encode({"swagger": "2.0", "info": info, "paths": paths, "definitions": writer.schemas})
        return msgspec.json.encode(
            {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": writer.schemas}}
        )


def _group_version(rest: tuple[str, ...]) -> tuple[str, str]:
    if rest[:1] == ("api",) and len(rest) == 2:
        return "", rest[1]
    if rest[:1] == ("apis",) and len(rest) == 3:
        return rest[1], rest[2]
    return "", ""


def _tagged(body: bytes, request: Request, content_type: str) -> Response:
    tag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
    headers = {"ETag": tag, "Vary": "Accept"}
    if "hash" in request.query:
        headers["Cache-Control"] = "public, immutable"
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", "", headers)
    return Response(200, body, content_type, headers)


def _paths(resource: Resource, writer: _Writer, second: bool) -> dict[str, Tree]:
    """The paths of a resource, as far as clients look for them: verbs, their kind and their parameters."""
    many = (
        f"{resource.prefix}/namespaces/{{namespace}}/{resource.plural}"
        if resource.namespaced
        else f"{resource.prefix}/{resource.plural}"
    )
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    reference = {"$ref": writer.reference(writer.name(resource.type))}

    def operation(action: str, parameters: tuple[str, ...]) -> Tree:
        ok: Tree = {"description": "OK"}
        ok |= {"schema": reference} if second else {"content": {JSON: {"schema": reference}}}
        listed = [_parameter(name, second) for name in parameters]
        extensions = {"x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind}
        return {"responses": {"200": ok}, "parameters": listed, **extensions}

    writes = ("dryRun", "fieldManager", "fieldValidation")
    reads = ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch", "timeoutSeconds")
    return {
        many: {"get": operation("list", reads), "post": operation("post", writes)},
        f"{many}/{{name}}": {
            "get": operation("get", ()),
            "put": operation("put", writes),
            "patch": operation("patch", (*writes, "force")),
            "delete": operation("delete", ("dryRun", "gracePeriodSeconds", "propagationPolicy")),
        },
    }


def _parameter(name: str, second: bool) -> Tree:
    kinds = {
        "limit": "integer",
        "timeoutSeconds": "integer",
        "watch": "boolean",
        "force": "boolean",
        "gracePeriodSeconds": "integer",
    }
    kind = {"type": kinds.get(name, "string"), "uniqueItems": True}
    head = {"name": name, "in": "query"}
    return {**head, **kind} if second else {**head, "schema": kind}


class _Writer:
    """Writes the schemas that a document needs, each once."""

    def __init__(self, types: TypeTable, prefix: str, *, flat: bool) -> None:
        self._types, self._prefix, self._flat = types, prefix, flat
        self._descriptions = Descriptions()
        self.schemas: dict[str, Tree] = {}

    def reference(self, name: str) -> str:
        """A `$ref`."""
        return self._prefix + name

    def name(self, type_name: str) -> str:
        """The name that OpenAPI gives a type."""
        package, version, short = type_name.rsplit(".", 2)
        if package == "meta":
            return f"io.k8s.apimachinery.pkg.apis.meta.{version}.{short}"
        if "." in package:
            return f"{'.'.join(reversed(package.split('.')))}.{version}.{short}"
        return f"io.k8s.api.{package}.{version}.{short}"

    def resource(self, resource: Resource) -> None:
        """The schemas of a kind and its list."""
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        own = self._named(self._types[resource.type])
        self.schemas[own]["x-kubernetes-group-version-kind"] = [kind]
        items = {"type": "array", "items": {"$ref": self.reference(own)}}
        metadata = {"$ref": self.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta")}
        properties = {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata,
            "items": items,
        }
        listed: Tree = {"type": "object", "required": ["items"], "properties": properties}
        self.schemas[f"{own}List"] = {
            **listed,
            "x-kubernetes-group-version-kind": [{**kind, "kind": f"{resource.kind}List"}],
        }
        text = {"type": "string"}
        counts = {"remainingItemCount": {"type": "integer", "format": "int64"}}
        meta = {"continue": text, "resourceVersion": text, "selfLink": text, **counts}
        self.schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"] = {"type": "object", "properties": meta}

    def _named(self, wanted: Type) -> str:
        name = self.name(wanted.name)
        if name not in self.schemas:
            schema = self.schemas[name] = {"type": "object"}
            schema |= self._members(wanted)
            about, fields = self._descriptions.of(wanted.name)
            if about:
                schema["description"] = about
            for key, text in fields.items():
                if key in wanted.fields:
                    schema["properties"][key]["description"] = text
        return name

    def _members(self, wanted: Type) -> Tree:
        found: Tree = {}
        if wanted.fields:
            found["properties"] = {key: self._field(one) for key, one in wanted.fields.items()}
        if required := sorted(key for key, one in wanted.fields.items() if one.required):
            found["required"] = required
        if wanted.atomic:
            found["x-kubernetes-map-type"] = "atomic"
        return found

    def _field(self, field: Field) -> Tree:
        schema = self._schema(field.type)
        if field.merges:
            schema["x-kubernetes-patch-strategy"] = "merge,retainKeys" if field.retains else "merge"
        if field.patch_key:
            schema["x-kubernetes-patch-merge-key"] = field.patch_key
        return schema

    def _schema(self, wanted: Type) -> Tree:
        if wanted.kind == "struct" and wanted.schema is None and self._types.has(wanted.name):
            reference = {"$ref": self.reference(self._named(wanted))}
            return reference if self._flat else {"allOf": [reference]}
        if wanted.kind == "struct":
            return {"type": "object", **self._members(wanted), **_bounds(wanted.schema)}
        if wanted.kind == "map" and wanted.item:
            schema: Tree = {"type": "object", "additionalProperties": self._schema(wanted.item)}
            return schema | ({"x-kubernetes-map-type": "atomic"} if wanted.atomic else {})
        if wanted.kind == "list" and wanted.item:
            listed = {"type": "array", "items": self._schema(wanted.item), **_bounds(wanted.schema)}
            if wanted.keys:
                return {**listed, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(wanted.keys)}
            return {**listed, "x-kubernetes-list-type": "set" if wanted.unique else "atomic"}
        return self._scalar(wanted)

    def _scalar(self, wanted: Type) -> Tree:
        if wanted.kind in _NAMED:
            plain = _QUANTITY if wanted.kind == "quantity" else _INT_OR_STRING
            flat = {"type": "string"} | ({"format": "int-or-string"} if wanted.kind == "intOrString" else {})
            self.schemas.setdefault(_NAMED[wanted.kind], flat if self._flat else plain)
            reference = {"$ref": self.reference(_NAMED[wanted.kind])}
            return reference if self._flat else {"allOf": [reference]}
        return {**_SCALARS[wanted.kind], **_bounds(wanted.schema)}


_BOUNDS = {
    "integer": ("minimum", "maximum"),
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


def _bounds(schema: Schema | None) -> Tree:
    """What a custom resource's definition says besides the types."""
    if schema is None:
        return {}
    least, most = _BOUNDS[schema.type]
    found: Tree = {least: schema.at_least, most: schema.at_most, "pattern": schema.pattern or None}
    found["enum"] = list(schema.enum) or None
    return {name: value for name, value in found.items() if value is not None}
