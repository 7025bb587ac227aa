"""Writes `src/gatewright/kubeapi/types.json`, the fields of every type that the lab's API serves.

    go mod download k8s.io/api@v0.36.0 k8s.io/apimachinery@v0.36.0
    python -m scripts.gen_api_types "$(go env GOMODCACHE)/k8s.io" v0.36.0

What is read are facts that stand in the Go structs' tags and markers: a field's JSON name, type and protobuf number,
how a list merges, whether an empty value is written. Which fields OpenAPI calls required is asked of
`lightkube-models`, which is made from the published OpenAPI document. No description is taken.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

OUTPUT = Path(__file__).parent.parent / "src/gatewright/kubeapi/types.json"
PACKAGES = {
    "core.v1": ("api", "core/v1"),
    "apps.v1": ("api", "apps/v1"),
    "batch.v1": ("api", "batch/v1"),
    "networking.v1": ("api", "networking/v1"),
    "discovery.v1": ("api", "discovery/v1"),
    "coordination.v1": ("api", "coordination/v1"),
    "autoscaling.v1": ("api", "autoscaling/v1"),
    "authorization.v1": ("api", "authorization/v1"),
    "authentication.v1": ("api", "authentication/v1"),
    "events.v1": ("api", "events/v1"),
    "policy.v1": ("api", "policy/v1"),
    "meta.v1": ("apimachinery", "pkg/apis/meta/v1"),
}
ROOTS = (
    *("core.v1.Namespace", "core.v1.Node", "core.v1.Pod", "core.v1.Service", "core.v1.Endpoints", "core.v1.ConfigMap"),
    *("core.v1.Secret", "core.v1.ServiceAccount", "core.v1.Event", "core.v1.ReplicationController", "core.v1.Binding"),
    *("apps.v1.Deployment", "apps.v1.ReplicaSet", "apps.v1.StatefulSet", "apps.v1.DaemonSet"),
    *("apps.v1.ControllerRevision", "batch.v1.Job", "batch.v1.CronJob"),
    *("networking.v1.Ingress", "networking.v1.NetworkPolicy", "discovery.v1.EndpointSlice"),
    *("coordination.v1.Lease", "autoscaling.v1.Scale", "policy.v1.Eviction", "meta.v1.DeleteOptions", "meta.v1.Status"),
    *("authorization.v1.SelfSubjectAccessReview", "authorization.v1.SubjectAccessReview"),
    *("authorization.v1.SelfSubjectRulesReview", "authentication.v1.SelfSubjectReview", "events.v1.Event"),
)
SCALARS = {
    "string": "string", "bool": "boolean", "int32": "int32", "int64": "int64", "int": "int64", "float64": "number",
    "[]byte": "bytes", "resource.Quantity": "quantity", "intstr.IntOrString": "intOrString",
    "meta.v1.Time": "time", "meta.v1.MicroTime": "microTime", "meta.v1.FieldsV1": "raw", "runtime.RawExtension": "raw",
    "types.UID": "string", "types.NodeName": "string", "types.NamespacedName": "string", "meta.v1.Duration": "string",
}  # fmt: skip
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.M | re.S)
_ATOMIC = re.compile(r"^// \+structType=atomic\n(?://.*\n)*type (\w+) struct", re.M)
_ALIAS = re.compile(r"^type (\w+) ([\[\]\w.]+)$", re.M)
_ALIAS_MAP = re.compile(r"^type (\w+) (map\[\w+\][\w.]+)$", re.M)
_FIELD = re.compile(r"^\s*(?:(\w+)\s+)?([*\[\]\w.]+)\s+`(.*)`")
_TAG = re.compile(r'(\w+):"([^"]*)"')
_MARKER = re.compile(r"^\s*//\s*\+(\w+)(?:=(.*))?$")


@dataclasses.dataclass
class GoField:
    """A field as the Go source has it."""

    go_type: str
    tags: dict[str, str]
    markers: dict[str, list[str]]


class Source:
    """The Go structs and aliases of all packages, by `package.version.Name`."""

    def __init__(self, modules: Path, version: str) -> None:
        self.structs: dict[str, list[GoField]] = {}
        self.aliases: dict[str, str] = {}
        self.atomic: set[str] = set()
        for package, (module, folder) in PACKAGES.items():
            for path in sorted((modules / f"{module}@{version}" / folder).glob("*types*.go")):
                self._read(package, path.read_text())

    def _read(self, package: str, text: str) -> None:
        for name, body in _STRUCT.findall(text):
            self.structs[f"{package}.{name}"] = list(self._fields(package, body))
        self.atomic |= {f"{package}.{name}" for name in _ATOMIC.findall(text)}
        for pattern in (_ALIAS, _ALIAS_MAP):
            for name, target in pattern.findall(text):
                if target != "struct":
                    self.aliases[f"{package}.{name}"] = self.qualified(package, target)

    def _fields(self, package: str, body: str) -> Iterator[GoField]:
        markers: dict[str, list[str]] = {}
        for line in body.splitlines():
            if marker := _MARKER.match(line):
                markers.setdefault(marker[1], []).append(marker[2] or "")
            elif field := _FIELD.match(line):
                yield GoField(self.qualified(package, field[2]), dict(_TAG.findall(field[3])), markers)
                markers = {}

    def qualified(self, package: str, go_type: str) -> str:
        """The type with its package written out; prefixes (`*`, `[]`, `map[...]`) stay."""
        prefix, name = re.fullmatch(r"((?:\*|\[\]|map\[[\w.]+\])*)(.+)", go_type).groups()  # type: ignore[union-attr]
        if name in ("string", "bool", "int32", "int64", "int", "float64", "byte"):
            return go_type
        if "." in name:
            alias, _, short = name.partition(".")
            known = {"metav1": "meta.v1", "v1": "core.v1" if package != "meta.v1" else "meta.v1", "corev1": "core.v1"}
            return f"{prefix}{known.get(alias, alias)}.{short}"
        return f"{prefix}{package}.{name}"

    def resolved(self, go_type: str) -> str:
        """The type in this project's notation: a scalar, `#reference`, `[]item` or `{}value`."""
        go_type = go_type.removeprefix("*")
        if go_type in SCALARS:
            return SCALARS[go_type]
        if go_type in self.aliases:
            return self.resolved(self.aliases[go_type])
        if go_type.startswith("[]"):
            return "[]" + self.resolved(go_type[2:])
        if go_type.startswith("map["):
            return "{}" + self.resolved(go_type.partition("]")[2])
        return f"#{go_type}"


def _required(name: str) -> frozenset[str]:
    package, version, short = name.rsplit(".", 2)
    try:
        model = getattr(importlib.import_module(f"lightkube.models.{package}_{version}"), short)
    except (ImportError, AttributeError):
        return frozenset()
    if not issubclass(model, msgspec.Struct):
        return frozenset()
    return frozenset(field.encode_name for field in msgspec.structs.fields(model) if field.required)


def _row(source: Source, field: GoField, required: frozenset[str]) -> list[Any] | None:
    name, *options = field.tags.get("json", "").split(",")
    number = int(field.tags["protobuf"].split(",")[1]) if "protobuf" in field.tags else 0
    kind = source.resolved(field.go_type)
    if name == "-":
        return None
    details: dict[str, Any] = {}
    if "inline" in options or not name:
        return [None, number, kind, details]
    if name in required:
        details["required"] = 1
    if "omitempty" not in options or (kind.startswith("#") and not field.go_type.startswith("*")):
        details["present"] = 1  # the encoder writes it even where it is empty
    if field.go_type.startswith("*") and not kind.startswith("#"):
        details["pointer"] = 1  # a zero is a value, and not the absence of one
    if strategy := field.tags.get("patchStrategy"):
        details["patch"] = strategy
        if key := field.tags.get("patchMergeKey"):
            details["patchKey"] = key
    listed = field.markers.get("listType", field.markers.get("structType", field.markers.get("mapType", [])))
    if listed == ["atomic"]:
        details["atomic"] = 1
    elif listed == ["set"]:
        details["set"] = 1
    elif listed == ["map"]:
        details["keys"] = field.markers["listMapKey"]
    return [name, number, kind, details]


def main(arguments: list[str]) -> None:
    """Write the table."""
    source = Source(Path(arguments[0]), arguments[1])
    types: dict[str, list[list[Any]]] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in types:
            continue
        required = _required(name)
        rows = [row for field in source.structs[name] if (row := _row(source, field, required))]
        types[name] = rows
        waiting += [match[1] for row in rows if (match := re.search(r"#(.+)", row[2]))]
    atomic = sorted(source.atomic & types.keys())
    lines = [f" {json.dumps(name)}: {json.dumps(types[name], separators=(',', ':'))}" for name in sorted(types)]
    header = f'"version": {json.dumps(arguments[1])}, "atomic": {json.dumps(atomic)}'
    OUTPUT.write_text("{" + header + ', "types": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
