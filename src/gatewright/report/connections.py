"""Allowed connections as text lines, as a document and as cells of a table.

A line is written as the field's tools write it: `ns/name[Kind] => ns/name[Kind] : TCP 80,8080-8090`, outside addresses
as `first-last[External]`, everything as `All Connections`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gatewright.engine.model import Direction
from gatewright.engine.ports import PortSet
from gatewright.engine.view import Answer, End, Row
from gatewright.report.words import DEPENDS_NOTE, access_json, end_json, end_names, family_note

SCHEMA = "gatewright/connections/v1"
HEADING = ("source", "destination", "ports", "depends", "family", "egress policies", "ingress policies")


def to_text(rows: Iterable[Row]) -> str:
    """One line a connection; a range of outside addresses has a line of its own."""
    return "".join(f"{line}\n" for row in rows for line in _lines(row))


def document(rows: Iterable[Row]) -> dict[str, Any]:
    """A document of schema `gatewright/connections/v1`."""
    return {"schema": SCHEMA, "connections": [_item(row) for row in rows]}


def cells(answer: Answer) -> Iterator[tuple[str, ...]]:
    """What stands under `HEADING`: a row a connection and range, with the policies that select each side."""
    for row in answer.view.rows:
        access = row.access
        unsure = access.possible - access.ports
        traffic = (str(access.ports) if access.ports else "", str(unsure) if unsure else "")
        family = f"IPv{row.family}" if row.family else ""
        selecting = policy_cells(answer, row.source, row.destination)
        for source in end_names(row.source):
            for destination in end_names(row.destination):
                yield (source, destination, *traffic, family, *selecting)


def policy_cells(answer: Answer, source: End, destination: End) -> tuple[str, str]:
    """The policies that select the source for egress, and the destination for ingress."""
    ends = ((source, Direction.EGRESS), (destination, Direction.INGRESS))
    egress, ingress = (", ".join(one.policy for one in answer.policies(*end)) for end in ends)
    return egress, ingress


def _lines(row: Row) -> Iterator[str]:
    access, notes = row.access, family_note(row.family)
    for source in end_names(row.source):
        for destination in end_names(row.destination):
            if access.ports:
                yield _line(source, destination, access.ports, notes)
            if unsure := access.possible - access.ports:
                yield _line(source, destination, unsure, [*notes, DEPENDS_NOTE])


def _line(source: str, destination: str, ports: PortSet, notes: list[str]) -> str:
    note = f" ({', '.join(notes)})" if notes else ""
    return f"{source} => {destination} : {ports}{note}"


def _item(row: Row) -> dict[str, Any]:
    item = {"source": end_json(row.source), "destination": end_json(row.destination), **access_json(row.access)}
    return {**item, "family": row.family} if row.family else item
