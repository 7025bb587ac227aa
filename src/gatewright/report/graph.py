"""An answer as boxes and arrows, for every format that draws.

Workloads of a namespace that may do exactly the same stand in one box: a drawing stays readable where nothing isolates
and everything reaches everything. Outside addresses stand on the left where traffic comes from them, and on the right
where it goes to them. Two arrows of the same meaning between two boxes are one with two heads. In a drawing of many
arrows a box says itself what every other workload may open to it, and arrows are left for what is particular.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gatewright.engine.addresses import EVERY_V4, EVERY_V6, AddressSet
from gatewright.engine.difference import Difference
from gatewright.engine.parts import Access
from gatewright.engine.ports import PortSet
from gatewright.engine.twins import Relations
from gatewright.engine.verdict import DomainName
from gatewright.engine.view import End, Group, Row, View, order
from gatewright.report.difference import SIGNS, standing
from gatewright.report.words import address_ranges, family_note

MOST_NAMES = 24
"""Names that one box lists before it counts the rest."""
MOST_RANGES = 4
"""Address ranges that one box lists before it counts the rest."""
MOST_ARROWS = 12
"""Arrows of a drawing in which each pair has its own; with more, what is open to everyone is said once."""
PERHAPS = "perhaps "


@dataclass(frozen=True, slots=True)
class Box:
    """Some ends that may do the same. `own` is what they may open among themselves, `mark` + for new and - for gone.

    `everyone` is what every other workload of the drawing may open to each of them, where no arrow says so; an arrow
    from a workload to them says all that this one may. `namespace` is empty for what lies outside.
    """

    namespace: str
    lines: tuple[str, ...]
    own: tuple[str, ...] = ()
    mark: str = ""
    everyone: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands in the box below the names."""
        own = tuple(f"among themselves: {text}" for text in self.own)
        who = "every other workload here" if self.namespace else "every workload here"
        return (*own, f"from {who}: {self.everyone}") if self.everyone else own


@dataclass(frozen=True, slots=True)
class Arrow:
    """Traffic from one box to another (numbers of boxes), or both ways. `mark` is +, - or ~ in a difference."""

    source: int
    destination: int
    label: tuple[str, ...]
    unsure: bool = False
    both: bool = False
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """What is drawn."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]

    def by_namespace(self) -> dict[str, list[int]]:
        """The numbers of the boxes in each namespace, in order; those outside stand under the empty name."""
        namespaces: dict[str, list[int]] = {}
        for number, box in enumerate(self.boxes):
            namespaces.setdefault(box.namespace, []).append(number)
        return namespaces


@dataclass(frozen=True, slots=True)
class _Edge:
    """What is written at an arrow: one line of traffic."""

    text: str
    unsure: bool
    mark: str


_Node = tuple[str, End]
"""Outside ends are other nodes as a source ("from") than as a destination ("to")."""
_Edges = dict[tuple[_Node, _Node], tuple[_Edge, ...]]


def of_view(view: View) -> Graph:
    """The drawing of a list; workloads of it without a connection stand alone."""
    edges: _Edges = {}
    for row in view.rows:
        found = []
        suffix = "".join(f" ({note})" for note in family_note(row.family))
        if row.access.ports:
            found.append(_Edge(f"{row.access.ports}{suffix}", False, ""))
        if unsure := row.access.possible - row.access.ports:
            found.append(_Edge(f"{PERHAPS}{unsure}{suffix}", True, ""))
        _put(edges, row.source, row.destination, *found)
    ends = {end for row in view.rows for end in (row.source, row.destination) if isinstance(end, Group)}
    groups = sorted(ends | {*view.groups}, key=order)
    each = _graph(edges, groups, {}, {})
    if len(each.arrows) <= MOST_ARROWS:
        return each
    return _graph(edges, groups, {}, dict(_open_to_everyone(view.rows, groups)))


def _open_to_everyone(rows: Iterable[Row], groups: Collection[Group]) -> Iterator[tuple[End, str]]:
    """What every other workload may surely open to an end, for ends to which two or more may open just this."""
    into: dict[End, dict[Group, PortSet]] = {}
    for row in rows:
        if isinstance(row.source, Group) and row.source != row.destination and row.family is None:
            into.setdefault(row.destination, {})[row.source] = row.access.ports
    for end, ports in into.items():
        common = functools.reduce(operator.and_, ports.values())
        just_this = sum(one == common for one in ports.values())
        if common and just_this > 1 and len(ports) == len(groups) - isinstance(end, Group):
            yield end, str(common)


def of_difference(found: Difference) -> Graph:
    """The drawing of a difference: only what changed, and the workloads it changed for."""
    edges: _Edges = {}
    for change in found.changes:
        text = " -> ".join(_short(one) for one in (change.before, change.after) if one)
        text += "".join(f" ({note})" for note in family_note(change.family))
        mark, last = SIGNS[change.kind], change.after or change.before
        _put(edges, change.source, change.destination, _Edge(f"{mark} {text}", not last.ports, mark))
    ends = {end for change in found.changes for end in (change.source, change.destination)}
    groups = {end for end in ends if isinstance(end, Group)} | {*found.new, *found.gone}
    marks = {group: {"new": "+", "gone": "-", "": ""}[standing(found, group)] for group in groups}
    return _graph(edges, sorted(groups, key=order), marks, {})


def _short(access: Access) -> str:
    """What is sure, then what is not, as few words as a drawing has room for."""
    unsure = access.possible - access.ports
    return "; ".join([str(access.ports)] * bool(access.ports) + [f"{PERHAPS}{unsure}"] * bool(unsure))


def _put(edges: _Edges, source: End, destination: End, *found: _Edge) -> None:
    place = (_node(source, "from"), _node(destination, "to"))
    edges[place] = (*edges.get(place, ()), *found)


def _node(end: End, role: str) -> _Node:
    return ("", end) if isinstance(end, Group) else (role, end)


def _graph(edges: _Edges, groups: Iterable[Group], marks: Mapping[Group, str], everyone: Mapping[End, str]) -> Graph:
    parts: dict[tuple[str, str], list[_Node]] = {}
    outside = sorted({node for pair in edges for node in pair if node[0]}, key=lambda node: (node[0], order(node[1])))
    for role, end in outside:
        parts.setdefault((role, str(end)), []).append((role, end))
    for group in groups:
        parts.setdefault((group.namespace, marks.get(group, "")), []).append(("", group))
    relations = Relations(edges)
    boxes: list[Box] = []
    number: dict[_Node, int] = {}
    for nodes in parts.values():
        for members in relations.classes(nodes):
            number |= dict.fromkeys(members, len(boxes))
            role, end = members[0]
            boxes.append(_box(members, edges, marks, "" if role == "from" else everyone.get(end, "")))
    between = {(number[left], number[right]): found for (left, right), found in edges.items()}
    particular = {
        (source, destination): found
        for (source, destination), found in between.items()
        if not boxes[source].namespace or found != (_Edge(boxes[destination].everyone, False, ""),)
    }
    return Graph(tuple(boxes), tuple(_arrows(particular)))


def _box(members: Iterable[_Node], edges: _Edges, marks: Mapping[Group, str], everyone: str) -> Box:
    nodes = tuple(members)
    own = next((edges[left, right] for left in nodes for right in nodes if (left, right) in edges), ())
    end = nodes[0][1]
    if isinstance(end, Group):
        names = [str(node[1]).partition("/")[2] for node in nodes]
        texts = tuple(one.text for one in own)
        return Box(end.namespace, _capped(names, MOST_NAMES), texts, marks.get(end, ""), everyone)
    return Box("", _outside_lines(end), everyone=everyone)


def _outside_lines(end: AddressSet | DomainName) -> tuple[str, ...]:
    if isinstance(end, DomainName):
        return (str(end),)
    if (end.v4, end.v6) in ((EVERY_V4, ()), ((), EVERY_V6)):
        return (f"every IPv{4 if end.v4 else 6} address",)
    return _capped(address_ranges(end), MOST_RANGES)


def _capped(lines: list[str], most: int) -> tuple[str, ...]:
    if len(lines) <= most:
        return tuple(lines)
    return (*lines[: most - 1], f"and {len(lines) - most + 1} more")


def _arrows(between: dict[tuple[int, int], tuple[_Edge, ...]]) -> Iterable[Arrow]:
    for (source, destination), found in sorted(between.items(), key=lambda item: item[0]):
        back = between.get((destination, source)) == found
        if source != destination and not (back and source > destination):
            texts = tuple(one.text for one in found)
            marks = {one.mark for one in found}
            mark = marks.pop() if len(marks) == 1 else "~"
            yield Arrow(source, destination, texts, all(one.unsure for one in found), back, mark)
