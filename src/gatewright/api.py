"""Gatewright from Python: load manifests, ask what their policies allow.

    import gatewright

    policies = gatewright.load("manifests/")
    policies.allows("deploy/web", "svc/api", 5000)      # True or False
    print(policies.explain("web", "db", 3306))          # both sides, the deciding rule with file:line
    for connection in policies.connections():
        print(connection.source, connection.destination, connection.access.ports)

Names and ports are written as on the command line. What is not there, or cannot be read, raises a `GatewrightError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from gatewright.engine.alike import ask_alike
from gatewright.engine.ask import ask
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.connectivity import Connection, connections
from gatewright.engine.explain import explain
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.engine.verdict import Outcome, Verdict
from gatewright.objects.meta import Object
from gatewright.objects.read import Parsed, decode, parse
from gatewright.report import explanation
from gatewright.sources.files import read

StrPath = str | os.PathLike[str]


class Policies:
    """A set of objects, and what its policies allow. Immutable; compiled when first asked."""

    def __init__(self, objects: Iterable[Object], *, pod_cidrs: Iterable[str] = (), namespace: str = "default") -> None:
        """`pod_cidrs` narrows what an ipBlock may cover before pods have addresses; `namespace` is for bare names."""
        self.snapshot = Snapshot.of(objects, pod_cidrs=pod_cidrs)
        self.namespace = namespace

    @cached_property
    def compiled(self) -> Compiled:
        """The compiled rules of every endpoint."""
        return compile_snapshot(self.snapshot)

    def changed(
        self, put: Iterable[dict[str, Any] | Object] = (), gone: Iterable[tuple[str, str, str]] = ()
    ) -> Policies:
        """The policies after a change: objects new or different, and the (kind, namespace, name) of those gone.

        Only what the change touches is worked out again. Raises InvalidInput for an object that cannot be decoded.
        """
        found = [item if isinstance(item, Object) else decode(item) for item in put]
        changes = Changes(tuple(item for item in found if item is not None), tuple(gone))
        update = self.compiled.apply(changes)
        following = Policies((), namespace=self.namespace)
        following.snapshot = update.compiled.snapshot
        vars(following)["compiled"] = update.compiled
        return following

    def verdicts(self, source: str, destination: str, port: int | str) -> list[Verdict]:
        """The verdict on each connection that the names stand for (a Service stands for each of its pods)."""
        return ask(self.compiled, source, destination, str(port), self.namespace)

    def allows(self, source: str, destination: str, port: int | str) -> bool:
        """Whether every connection that the names stand for is surely allowed."""
        return all(outcome is Outcome.ALLOWED for outcome in self._outcomes(source, destination, port))

    def denies(self, source: str, destination: str, port: int | str) -> bool:
        """Whether every connection that the names stand for is surely denied."""
        return all(outcome is Outcome.DENIED for outcome in self._outcomes(source, destination, port))

    def _outcomes(self, source: str, destination: str, port: int | str) -> list[Outcome]:
        blocks = ask_alike(self.compiled, source, destination, str(port), self.namespace)
        return [block.verdict.outcome for block in blocks]

    def explain(self, source: str, destination: str, port: int | str) -> str:
        """The verdicts as `gatewright explain` prints them."""
        blocks = ask_alike(self.compiled, source, destination, str(port), self.namespace)
        return explanation.to_text((block, explain(self.compiled, block.verdict)) for block in blocks)

    def connections(self) -> list[Connection]:
        """Every allowed connection, in stable order."""
        return connections(self.compiled)


def load(
    *paths: StrPath, recursive: bool = True, pod_cidrs: Iterable[str] = (), namespace: str = "default"
) -> Policies:
    """The policies of manifest files and directories. Raises InvalidInput with every fault, each with file and line."""
    parsed = read([os.fspath(path) for path in paths], recursive)
    return Policies(parsed.require(), pod_cidrs=pod_cidrs, namespace=namespace)


def loads(text: str, *, pod_cidrs: Iterable[str] = (), namespace: str = "default") -> Policies:
    """The policies of a YAML or JSON text, named `<text>` in messages. Raises InvalidInput."""
    parsed = Parsed.merge([parse(text, "<text>")])
    return Policies(parsed.require(), pod_cidrs=pod_cidrs, namespace=namespace)


def from_objects(
    objects: Iterable[dict[str, Any]], *, pod_cidrs: Iterable[str] = (), namespace: str = "default"
) -> Policies:
    """The policies of decoded objects, as a Kubernetes client or `json.load` gives them. Raises InvalidInput."""
    decoded = (decode(item) for item in objects)
    found = [item for item in decoded if item is not None]
    return Policies(found, pod_cidrs=pod_cidrs, namespace=namespace)
