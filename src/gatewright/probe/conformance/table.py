"""A case's question laid over a cluster: every connection of its table, and every way to try it.

A connection to a pod is tried by the pod's address, and through the Service that has the pod's name. Both are the same
connection to a policy, so both have the table's answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gatewright.probe.conformance.expectation import Line, decide, filled, parse
from gatewright.probe.conformance.model import OUTSIDE, Case, Cell, Tree
from gatewright.probe.conformance.seen import NODE_NAME, Door, Seen

POD, SERVICE, NODE_PORT = "pod address", "Service", "node port"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One connection to open. `port` is the one that is dialled; `answers` says that somebody listens there."""

    cell: Cell
    way: str
    address: str
    port: int
    expected: str
    predicted: str
    answers: bool = True


def attempts(case: Case, expected: Sequence[str], seen: Seen) -> tuple[Attempt, ...]:
    """Every attempt of a table. Raises BadExpectation where no line speaks of a connection."""
    lines = [parse(one) for one in filled(tuple(expected), seen.addresses)]
    return tuple(attempt for cell in cells(case, seen) for attempt in _ways(cell, lines, seen))


def cells(case: Case, seen: Seen) -> Iterator[Cell]:
    """Every question of the table. Ends that are not there are left out, and so are pods with themselves."""
    for source in case.sources:
        for destination in case.destinations:
            for family in sorted(_families(source, seen) & _families(destination, seen)):
                for protocol, port in case.ports:
                    cell = Cell(source, destination, protocol, port, family)
                    if (source != destination or case.hairpin) and _is_asked(cell, seen):
                        yield cell


def idle_lines(case: Case, expected: Sequence[str], seen: Seen) -> list[str]:
    """The lines of a table that decide nothing: something else must have been meant."""
    texts = filled(tuple(expected), seen.addresses)
    lines = [parse(one) for one in texts]
    used = {decide(lines, cell, seen.addresses) for cell in cells(case, seen)}
    return [text for index, text in enumerate(texts) if index not in used]


def service_port(service: Tree, cell: Cell) -> Tree | None:
    """The entry of a Service for the protocol and port of a question."""
    wanted = (cell.protocol.value, cell.port)
    ports: list[Tree] = service["spec"].get("ports") or []
    return next((one for one in ports if (one.get("protocol", "TCP"), one["port"]) == wanted), None)


def _families(name: str, seen: Seen) -> set[int]:
    door = Door.of(name)
    if not door.service:
        return set(seen.addresses.get(name, {})) - {NODE_NAME}
    service = seen.services.get((door.namespace, door.name))
    if service is None or (door.node and door.node not in seen.addresses):
        return set()
    return {6 if ":" in text else 4 for text in service["spec"].get("clusterIPs") or []}


def _is_asked(cell: Cell, seen: Seen) -> bool:
    """A Service is asked on the ports it has, a pod on any; a pod itself is only reached through its Service."""
    door = Door.of(cell.destination)
    if not door.service and cell.source != cell.destination:
        return True
    service = seen.services.get((door.namespace, door.name))
    return service is not None and service_port(service, cell) is not None


def _ways(cell: Cell, lines: Sequence[Line], seen: Seen) -> Iterator[Attempt]:
    expected = lines[decide(lines, cell, seen.addresses)].answer
    predicted = seen.predicted(cell)
    door = Door.of(cell.destination)
    service = seen.services.get((door.namespace, door.name))
    front = service_port(service, cell) if service else None
    if door.node and front:
        address = seen.addresses[door.node][cell.family]
        yield Attempt(cell, NODE_PORT, address, front["nodePort"], expected, predicted)
        return
    if not door.service and cell.source != cell.destination:
        address = seen.addresses[cell.destination][cell.family]
        listens = (cell.protocol.value, cell.port) in seen.listening(cell.destination)
        yield Attempt(cell, POD, address, cell.port, expected, predicted, listens)
    if service and front and cell.source != OUTSIDE:  # a Service's address means nothing outside of the cluster
        for address in service["spec"].get("clusterIPs") or []:
            if (":" in address) == (cell.family == 6) and address != "None":
                yield Attempt(cell, SERVICE, address, cell.port, expected, predicted)
