"""Who answers the questions of the case tables and properties: the product's engine, and the reference beside it.

Both are asked in the same words (decoded manifests as plain dicts, ends as tuples), so that one table judges both.
"""

from __future__ import annotations

import ipaddress
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import DomainName, Outcome, Party, verdict
from gatewright.objects.meta import Object
from gatewright.objects.read import decode
from tests.reference.evaluator import End, Reference

Json = dict[str, Any]


class Subject(typing.Protocol):
    """Something that knows what a set of objects allows."""

    def connection(self, source: End, destination: End, protocol: str, port: int | None, family: int = 4) -> str:
        """Give "allowed", "denied" or "depends" (see `Reference.connection`)."""


class Engine:
    """The product's engine behind the reference's questions. `read` turns a manifest into an object."""

    def __init__(
        self,
        objects: Iterable[Json],
        pod_cidrs: Sequence[str] = (),
        read: Callable[[Json], Object | None] = decode,
    ) -> None:
        decoded = [item for item in map(read, objects) if item is not None]
        self.compiled = compile_snapshot(Snapshot.of(decoded, pod_cidrs=pod_cidrs))
        self.endpoints = {(each.namespace, each.name): each for each in self.compiled.endpoints}

    def end(self, end: End) -> Party:
        """The engine's own word for an end of a connection."""
        match end:
            case "pod", namespace, name:
                return self.endpoints[namespace, name]
            case "address", text:
                return ipaddress.ip_address(text)
            case _, name:
                return DomainName(name)

    def connection(self, source: End, destination: End, protocol: str, port: int | None, family: int = 4) -> str:
        """Give the outcome in the reference's words."""
        known = Protocol(protocol) if port is not None else None
        answer = verdict(self.compiled, self.end(source), self.end(destination), known, port or 0, family)
        return {Outcome.ALLOWED: "allowed", Outcome.DENIED: "denied", Outcome.DEPENDS: "depends"}[answer.outcome]


SUBJECTS: dict[str, type[Engine] | type[Reference]] = {"engine": Engine, "reference": Reference}
