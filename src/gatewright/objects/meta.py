"""What every Kubernetes object has, and label selectors (meta/v1)."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.objects.origin import Origin


class Strict(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, gc=False):
    """A part of an object in which an unknown field is an error (policies: an ignored field would change meaning)."""


class Lenient(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A part of an object of which the product reads some fields and passes over the others.

    What is decoded is a tree, so the garbage collector need not know of it: a large cluster is a million such parts.
    """


class OwnerReference(Lenient, frozen=True):
    """meta/v1 OwnerReference."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(Lenient, frozen=True):
    """meta/v1 ObjectMeta, the fields that decide something here."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    deletion_timestamp: str | None = None


class LabelSelectorRequirement(Strict, frozen=True):
    """meta/v1 LabelSelectorRequirement: operator In, NotIn, Exists or DoesNotExist."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Strict, frozen=True):
    """meta/v1 LabelSelector: all of `match_labels` and `match_expressions` must hold; empty selects everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


Key = tuple[str, str, str]
"""(kind, namespace, name): what makes an object one and the same."""


class Object(Lenient, frozen=True):
    """Base of every object: what kind it is, its metadata, and where it was written (None: it came from an API)."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    origin: Origin | None = msgspec.field(default=None, name="(origin)")

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """metadata.namespace; empty for cluster-wide kinds."""
        return self.metadata.namespace

    @property
    def labels(self) -> dict[str, str]:
        """metadata.labels."""
        return self.metadata.labels

    @property
    def key(self) -> Key:
        """Its kind, namespace and name."""
        return (self.kind, self.metadata.namespace, self.metadata.name)

    def __str__(self) -> str:
        place = f"{self.metadata.namespace}/{self.metadata.name}" if self.metadata.namespace else self.metadata.name
        return f"{self.kind} {place}"


IntOrString = int | str
"""util/intstr IntOrString: a number, or a name."""

Json = dict[str, Any]
"""An object as it stands in JSON."""
