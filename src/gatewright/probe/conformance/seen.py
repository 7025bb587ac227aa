"""A cluster as a case sees it: its objects as the API gave them back, what has which address, and what the engine says.

Pods are called `namespace/name`, nodes `node1`, `node2` ... in order of their names, so that a case fits any cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from gatewright.engine.addresses import parse_address
from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Direction, Endpoint
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import Outcome, Party, judge_side, verdict
from gatewright.errors import GatewrightError
from gatewright.objects.api import fault_text, read_item
from gatewright.objects.kinds import KINDS, scoped
from gatewright.objects.meta import Object
from gatewright.probe.conformance.model import OUTSIDE, Cell, Tree

NODE_NAME = 0
"""The key of a node's name among its addresses."""


class Unreadable(GatewrightError):
    """An object that the API gave back and that cannot be read."""


@dataclass(frozen=True, slots=True)
class Door:
    """A destination by its name: a pod (`x/a`), a Service (`x/svc/web`), a Service's node port (`x/svc/web@node1`)."""

    namespace: str
    name: str
    service: bool = False
    node: str = ""

    @classmethod
    def of(cls, text: str) -> Door:
        """Read a name."""
        path, _, node = text.partition("@")
        namespace, _, rest = path.partition("/")
        return cls(namespace, rest.removeprefix("svc/"), rest.startswith("svc/"), node)


@dataclass(frozen=True)
class Seen:
    """What was read back. `outside` are the outside host's addresses by family."""

    trees: tuple[Tree, ...]
    outside: Mapping[int, str]

    def of_kind(self, kind: str) -> Iterator[Tree]:
        """The objects of a kind."""
        return (one for one in self.trees if one["kind"] == kind)

    @cached_property
    def addresses(self) -> dict[str, dict[int, str]]:
        """Of every pod that has not finished, every node and the outside host, by family."""
        found = {OUTSIDE: dict(self.outside)}
        for number, node in enumerate(sorted(self.of_kind("Node"), key=_name), start=1):
            entries = node["status"].get("addresses") or []
            texts = [one["address"] for one in entries if one["type"] == "InternalIP"]
            found[f"node{number}"] = {NODE_NAME: _name(node)} | by_family(texts)
        for pod in self.of_kind("Pod"):
            status = pod.get("status") or {}
            if status.get("phase") not in ("Succeeded", "Failed"):
                texts = [one["ip"] for one in status.get("podIPs") or []]
                found[f"{pod['metadata']['namespace']}/{_name(pod)}"] = by_family(texts)
        return found

    @cached_property
    def nodes(self) -> int:
        """How many nodes there are."""
        return sum(1 for _ in self.of_kind("Node"))

    @cached_property
    def families(self) -> frozenset[int]:
        """The families that pods have."""
        return frozenset(
            family for name, known in self.addresses.items() if "/" in name for family in known if family != NODE_NAME
        )

    @cached_property
    def services(self) -> dict[tuple[str, str], Tree]:
        """The Services by namespace and name."""
        return {(one["metadata"]["namespace"], _name(one)): one for one in self.of_kind("Service")}

    def listening(self, pod: str) -> frozenset[tuple[str, int]]:
        """The ports on which a pod says that it listens."""
        return self._listening.get(pod, frozenset())

    @cached_property
    def _listening(self) -> dict[str, frozenset[tuple[str, int]]]:
        return {
            f"{pod['metadata']['namespace']}/{_name(pod)}": frozenset(
                (port.get("protocol", "TCP"), port["containerPort"])
                for container in pod["spec"]["containers"]
                for port in container.get("ports") or []
            )
            for pod in self.of_kind("Pod")
        }

    @cached_property
    def compiled(self) -> Compiled:
        """The engine's reading of the objects. Raises Unreadable."""
        return compile_snapshot(Snapshot.of(_decoded(self.trees)))

    @cached_property
    def _endpoints(self) -> dict[str, Endpoint]:
        return {one.path: one for one in self.compiled.endpoints}

    @cached_property
    def _backends(self) -> Backends:
        return Backends(self.compiled)

    def predicted(self, cell: Cell) -> str:
        """What the engine says: `allowed`, `denied`, or `depends` where backends differ."""
        outcomes = {self._judge(self._source(cell, party), party, port, cell) for party, port in self._doors(cell)}
        if not outcomes:
            return Outcome.DENIED.value
        return outcomes.pop().value if len(outcomes) == 1 else Outcome.DEPENDS.value

    def _source(self, cell: Cell, destination: Endpoint) -> Party:
        """Who opens the connection, as the destination's policies see it.

        A node through whose port it comes puts its own address in the place of the client's, on its way out to a pod on
        another node; policies of its own pods come before that.
        """
        door = Door.of(cell.destination)
        if door.node and destination.node != self.addresses[door.node][NODE_NAME]:
            return parse_address(self.addresses[door.node][cell.family])
        if cell.source == OUTSIDE:
            return parse_address(self.outside[cell.family])
        return self._endpoints[cell.source]

    def _doors(self, cell: Cell) -> list[tuple[Endpoint, int]]:
        """Where a connection can end: pods, and the number of the port there."""
        door = Door.of(cell.destination)
        if not door.service:
            return [(self._endpoints[cell.destination], cell.port)]
        service = next(
            one for one in self.compiled.snapshot.services if (one.namespace, one.name) == (door.namespace, door.name)
        )
        port = next(one for one in service.spec.ports if (one.protocol, one.port) == (cell.protocol, cell.port))
        doors = self._backends.doors(service, port)
        if self._is_local(door):
            node = self.addresses[door.node][NODE_NAME]
            return [(endpoint, number) for endpoint, number in doors if endpoint.node == node]
        return list(doors)

    def _is_local(self, door: Door) -> bool:
        """Whether a node port leads to the node's own pods only, with the client's own address."""
        spec = self.services[door.namespace, door.name]["spec"] if door.node else {}
        return spec.get("externalTrafficPolicy") == "Local"

    def _judge(self, source: Party, destination: Endpoint, port: int, cell: Cell) -> Outcome:
        protocol = Protocol(cell.protocol)
        if source is not destination:
            return verdict(self.compiled, source, destination, protocol, port, cell.family).outcome
        # Through its Service a pod reaches itself by an ordinary connection: its own rules speak of it.
        sides = {
            judge_side(self.compiled, destination, destination, direction, protocol, port, cell.family).outcome
            for direction in Direction
        }
        return Outcome.ALLOWED if sides == {Outcome.ALLOWED} else Outcome.DENIED


def by_family(texts: Iterable[str]) -> dict[int, str]:
    """Addresses by family, the first of each."""
    found: dict[int, str] = {}
    for text in texts:
        found.setdefault(6 if ":" in text else 4, text)
    return found


def _name(tree: Tree) -> str:
    return str(tree["metadata"]["name"])


def _decoded(trees: Iterable[Tree]) -> Iterator[Object]:
    for tree in trees:
        group = tree["apiVersion"].rpartition("/")[0]
        kind = KINDS[group, tree["kind"]]
        item, faults, unknown = read_item(msgspec.json.encode(tree), kind)
        if item is None or (unknown and kind.strict):
            said = "; ".join([*map(fault_text, faults), *(".".join(map(str, path)) for path in unknown)])
            raise Unreadable(f"{tree['kind']} {_name(tree)} as the API gave it back cannot be read: {said}")
        yield msgspec.structs.replace(scoped(item, kind), kind=tree["kind"], api_version=tree["apiVersion"])
