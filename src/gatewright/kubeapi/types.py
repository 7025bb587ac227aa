"""The fields of every type that the API serves: names, types, how lists merge, protobuf numbers.

The engine's structs hold the fields that decide something. An API server keeps, checks and merges all of them, so it
needs this table of all. It comes from the Kubernetes sources by `scripts/gen_api_types.py` (built-in types) and from
the schemas of custom resources (`objects.crd`). Field validation, defaults of lists, patches, server-side apply,
protobuf and OpenAPI all read it, so that none of them can disagree about what a field is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

from gatewright.objects import crd
from gatewright.objects.schema import Schema

POLICY_PACKAGE = "policy.networking.k8s.io"


@dataclass(eq=False, slots=True)
class Type:
    """One type. `kind` is struct, list, map, any or the name of a scalar (`string`, `int32`, `quantity`, `time`...).

    `item` is what lists and maps hold. Of lists, `keys` name the fields that tell items apart, `unique` says that it is
    a set; of lists, maps and structs, `atomic` says that it has one owner and is replaced as a whole. `schema` is what
    a custom resource's definition says of it.
    """

    kind: str
    name: str = ""
    fields: dict[str, Field] = field(default_factory=dict)
    inlined: dict[int, Type] = field(default_factory=dict)
    item: Type | None = None
    keys: tuple[str, ...] = ()
    unique: bool = False
    atomic: bool = False
    schema: Schema | None = None

    @property
    def short(self) -> str:
        """The name without its package: `PodSpec`."""
        return self.name.rpartition(".")[2]

    def numbers(self) -> dict[int, tuple[str, Field]]:
        """A struct's own fields by their protobuf number; those of inlined structs are in `inlined`."""
        below = {name for one in self.inlined.values() for name in one.fields}
        return {one.number: (name, one) for name, one in self.fields.items() if one.number and name not in below}


@dataclass(eq=False, slots=True)
class Field:
    """A struct's field. `present`: an encoder writes it even where it is empty. `patch_key` merges a strategic patch.

    `pointer`: a scalar, list or map whose zero differs from its absence.
    `number` is its number in protobuf (0: it has none), `merges` whether strategic patches merge the list, `retains`
    whether they may name the keys to keep.
    """

    type: Type
    number: int = 0
    required: bool = False
    present: bool = False
    pointer: bool = False
    merges: bool = False
    retains: bool = False
    patch_key: str = ""

    @property
    def kept_empty(self) -> bool:
        """Whether an object that has an empty value here keeps it.

        Go leaves out empty lists, empty maps and scalars that are zero (`omitempty`), not those behind a pointer.
        """
        return self.present or self.pointer or self.type.kind in ("struct", "raw") or self.type.schema is not None


class _Table(msgspec.Struct):
    version: str
    atomic: list[str]
    types: dict[str, list[tuple[str | None, int, str, dict[str, Any]]]]


class TypeTable:
    """All types by name (`core.v1.PodSpec`), made when they are asked for."""

    def __init__(self) -> None:
        data = resources.files("gatewright.kubeapi").joinpath("types.json").read_bytes()
        self._table = msgspec.json.decode(data, type=_Table)
        self._atomic = frozenset(self._table.atomic)
        self._made: dict[str, Type] = {}

    @property
    def version(self) -> str:
        """The Kubernetes release that the table was made from, as `1.36`."""
        return "1." + self._table.version.split(".")[1]

    def has(self, name: str) -> bool:
        """Whether there is a built-in type of this name."""
        return name in self._table.types

    def __getitem__(self, name: str) -> Type:
        if name not in self._made:
            if name.startswith(POLICY_PACKAGE):
                self._made[name] = self._custom(name)
            else:
                made = self._made[name] = Type("struct", name, atomic=name in self._atomic)
                self._fill(made)
        return self._made[name]

    def _fill(self, made: Type) -> None:
        for name, number, kind, details in self._table.types[made.name]:
            below = self._parsed(kind, details)
            if name is None:
                made.fields.update(below.fields)
                if number:
                    made.inlined[number] = below
                continue
            strategy = str(details.get("patch", "")).split(",")
            made.fields[name] = Field(
                below,
                number,
                required="required" in details,
                present="present" in details,
                pointer="pointer" in details,
                merges="merge" in strategy,
                retains="retainKeys" in strategy,
                patch_key=details.get("patchKey", ""),
            )

    def _parsed(self, kind: str, details: dict[str, Any]) -> Type:
        if kind.startswith("#"):
            found = self[kind[1:]]
            if "atomic" in details and not found.atomic:
                return Type("struct", found.name, found.fields, found.inlined, atomic=True)
            return found
        if kind.startswith("{}"):
            return Type("map", item=self._parsed(kind[2:], {}), atomic="atomic" in details)
        if kind.startswith("[]"):
            keys, unique = tuple(details.get("keys", ())), "set" in details
            return Type(
                "list", "", item=self._parsed(kind[2:], {}), keys=keys, unique=unique, atomic=not (keys or unique)
            )
        return _SCALARS.setdefault(kind, Type(kind))

    def _custom(self, name: str) -> Type:
        meta = self["meta.v1.ObjectMeta"]
        spec = of_schema(_CUSTOM[name.rpartition(".")[2]], f"{name}Spec")
        status = Type("struct", f"{name}Status", {"conditions": Field(self._conditions())})
        text = _SCALARS.setdefault("string", Type("string"))
        fields = {"apiVersion": Field(text), "kind": Field(text), "metadata": Field(meta, required=True, present=True)}
        return Type("struct", name, {**fields, "spec": Field(spec, required=True), "status": Field(status)})

    def _conditions(self) -> Type:
        return Type("list", item=self["meta.v1.Condition"], keys=("type",))


_SCALARS: dict[str, Type] = {}
_CUSTOM = {
    "ClusterNetworkPolicy": crd.CLUSTER_NETWORK_POLICY,
    "AdminNetworkPolicy": crd.ADMIN_NETWORK_POLICY,
    "BaselineAdminNetworkPolicy": crd.BASELINE_ADMIN_NETWORK_POLICY,
}


def of_schema(schema: Schema, name: str) -> Type:
    """The type of a custom resource's schema. Lists are atomic, as in definitions that say nothing of them."""
    if schema.type == "array":
        return Type("list", item=of_schema(schema.items or Schema("object"), name), atomic=True, schema=schema)
    if schema.type == "object":
        if schema.values is not None:
            return Type("map", item=of_schema(schema.values, name), schema=schema)
        fields = {
            key: Field(of_schema(below, f"{name}.{key}"), required=key in schema.required)
            for key, below in schema.properties.items()
        }
        return Type("struct", name, fields, schema=schema)
    return Type("int32" if schema.type == "integer" else "string", schema=schema)


@lru_cache(maxsize=1)
def type_table() -> TypeTable:
    """The one table; reading it takes some milliseconds, and only a server needs it."""
    return TypeTable()
