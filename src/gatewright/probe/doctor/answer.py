"""What `gatewright doctor` answers: structs whose JSON is the command's output."""

from __future__ import annotations

from typing import Any

import msgspec

from gatewright.probe.doctor.evidence import Seen
from gatewright.probe.doctor.solutions import Capability, Role, State

SCHEMA = "gatewright/doctor/v1"
"""The form of the documents: docs/schemas/doctor-v1.schema.json."""


class PartAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of the policies: enforced or not; where it depends on the node, `note` says so."""

    state: State
    note: str = ""
    issue: str = ""


class NodeAnswer(msgspec.Struct, frozen=True):
    """Whether policies are enforced for the pods of one node, and why."""

    node: str
    enforced: State
    why: str


class Found(msgspec.Struct, frozen=True, rename="camel"):
    """A solution that is there: its id, its variants on the nodes, the images that its version is read from."""

    id: str
    where: str
    role: Role
    variants: tuple[str, ...]
    versions: tuple[str, ...]
    knowledge_of: str


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """A known deviation, and where upstream says so."""

    solution: str
    what: str
    issue: str = ""


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """The whole answer. `changes` is what would change it, `missing` the rights that were missing."""

    cluster: str
    enforced: State
    why: str
    found: tuple[Found, ...]
    nodes: tuple[NodeAnswer, ...]
    parts: dict[Capability, PartAnswer]
    deviations: tuple[Told, ...]
    evidence: tuple[Seen, ...]
    missing: tuple[str, ...]
    changes: tuple[str, ...]


def document(answer: Answer, measured: msgspec.Struct | None = None) -> dict[str, Any]:
    """The answer as plain values, with what packets said beside it."""
    found: dict[str, Any] = {"schema": SCHEMA, **msgspec.to_builtins(answer)}
    return found if measured is None else {**found, "measured": msgspec.to_builtins(measured)}
