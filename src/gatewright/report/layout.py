"""Places for boxes and arrows in layers from left to right (after Sugiyama): pure geometry in pixels, no drawing.

Boxes stand in even layers, the labels of arrows in the odd ones between them, so nothing covers anything else. Arrows
that would run against the direction are laid as if turned round. Order within a layer follows the neighbours' mean
place; heights are then the best fit (least squares) to the neighbours that leaves the order and the distances.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

LAYER_GAP = 36.0
ROW_GAP = 14.0
SWEEPS = 12

Size = tuple[float, float]
Point = tuple[float, float]
Link = tuple[int, int, Size]
"""(from box, to box, size of the label)."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one arrow: the centre of its label, and the points it runs through, from its source box on."""

    label: Point
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Centres of boxes, ways of arrows, and the size of the whole."""

    boxes: tuple[Point, ...]
    routes: tuple[Route, ...]
    size: Size


@dataclass(slots=True)
class _Node:
    """A box, a label, or a place where a long arrow passes a layer."""

    layer: int
    size: Size
    y: float = 0.0
    order: int = 0


@dataclass(frozen=True, slots=True)
class _Chain:
    """The nodes an arrow runs through from left to right, where its label is among them, and if it runs backwards."""

    nodes: tuple[int, ...]
    label: int
    turned: bool


def lay_out(boxes: Sequence[Size], links: Sequence[Link], last: Collection[int] = ()) -> Layout:
    """The places of boxes of these sizes, and the ways of the links between them (not from a box to itself).

    The boxes in `last`, from which no link leads, stand in the last layer.
    """
    forward = _without_cycles(len(boxes), [(a, b) for a, b, _ in links])
    layers = _layers(len(boxes), forward)
    layers = [max(layers) if number in last else layer for number, layer in enumerate(layers)]
    nodes = [_Node(2 * layer, size) for layer, size in zip(layers, boxes, strict=True)]
    chains = [
        _chain(nodes, edge, size, turned=edge != (a, b)) for edge, (a, b, size) in zip(forward, links, strict=True)
    ]
    columns = _columns(nodes)
    before, after = _neighbours(len(nodes), chains)
    _sort_columns(nodes, columns, before, after)
    _set_heights(nodes, columns, before, after)
    edges, width = _column_edges(nodes, columns)
    centres = [(_middle(one, edges), one.y) for one in nodes]
    height = max((one.y + one.size[1] / 2 for one in nodes), default=0.0)
    return Layout(tuple(centres[: len(boxes)]), tuple(_routes(nodes, chains, edges)), (width, height))


def _without_cycles(count: int, edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The edges, those turned round that close a cycle on a depth-first walk from what nothing leads to."""
    out: dict[int, list[int]] = {}
    for a, b in edges:
        out.setdefault(a, []).append(b)
    targets = {b for _, b in edges}
    done: dict[int, bool] = {}
    back: set[tuple[int, int]] = set()
    for root in sorted(range(count), key=lambda node: (node in targets, -len(out.get(node, ())), node)):
        stack = [] if root in done else [(root, iter(out.get(root, ())))]
        done.setdefault(root, False)
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done[node] = True
                stack.pop()
            elif following not in done:
                done[following] = False
                stack.append((following, iter(out.get(following, ()))))
            elif not done[following]:
                back.add((node, following))
    return [(b, a) if (a, b) in back else (a, b) for a, b in edges]


def _layers(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """The layer of each node: the longest way to it in a graph without cycles."""
    into: dict[int, list[int]] = {}
    out: dict[int, list[int]] = {}
    for a, b in edges:
        into.setdefault(b, []).append(a)
        out.setdefault(a, []).append(b)
    waiting = {node: len(into.get(node, ())) for node in range(count)}
    ready = [node for node in range(count) if not waiting[node]]
    layers = [0] * count
    for node in ready:
        for following in out.get(node, ()):
            layers[following] = max(layers[following], layers[node] + 1)
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)
    return layers


def _chain(nodes: list[_Node], edge: tuple[int, int], label: Size, *, turned: bool) -> _Chain:
    """Make the nodes between the ends of an edge: its label in the first layer after the left end, then passages."""
    first, last = edge
    made = list(range(len(nodes), len(nodes) + nodes[last].layer - nodes[first].layer - 1))
    for step, _ in enumerate(made):
        nodes.append(_Node(nodes[first].layer + 1 + step, label if step == 0 else (0.0, 0.0)))
    return _Chain((first, *made, last), made[0], turned)


def _columns(nodes: list[_Node]) -> list[list[int]]:
    columns: list[list[int]] = [[] for _ in range(max((one.layer for one in nodes), default=-1) + 1)]
    for number, one in enumerate(nodes):
        one.order = len(columns[one.layer])
        columns[one.layer].append(number)
    return columns


def _neighbours(count: int, chains: list[_Chain]) -> tuple[list[list[int]], list[list[int]]]:
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for chain in chains:
        for a, b in pairwise(chain.nodes):
            after[a].append(b)
            before[b].append(a)
    return before, after


def _sort_columns(
    nodes: list[_Node], columns: list[list[int]], before: list[list[int]], after: list[list[int]]
) -> None:
    """Order each column by the mean place of the neighbours on one side, sweeping to and fro."""
    for sweep in range(SWEEPS):
        rightward = sweep % 2 == 0
        beside = before if rightward else after
        for column in columns if rightward else reversed(columns):
            places = {
                node: _mean([nodes[one].order for one in beside[node]], float(nodes[node].order)) for node in column
            }
            column.sort(key=places.__getitem__)
            for place, node in enumerate(column):
                nodes[node].order = place


def _set_heights(nodes: list[_Node], columns: list[list[int]], before: list[list[int]], after: list[list[int]]) -> None:
    for column in columns:
        _place(nodes, column, [0.0] * len(column))
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wished = [_mean([nodes[one].y for one in (*before[n], *after[n])], nodes[n].y) for n in column]
            _place(nodes, column, wished)
    top = min((one.y - one.size[1] / 2 for one in nodes), default=0.0)
    for one in nodes:
        one.y -= top


def _place(nodes: list[_Node], column: list[int], wished: list[float]) -> None:
    """As near to the wished heights as the distances in the column allow: isotonic regression, pooling neighbours."""
    offset = 0.0
    offsets: list[float] = []
    pools: list[tuple[float, int]] = []
    for place, node in enumerate(column):
        if place:
            offset += (nodes[column[place - 1]].size[1] + nodes[node].size[1]) / 2 + ROW_GAP
        offsets.append(offset)
        mean, count = wished[place] - offset, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        pools.append((mean, count))
    values = [mean for mean, count in pools for _ in range(count)]
    for node, value, distance in zip(column, values, offsets, strict=True):
        nodes[node].y = value + distance


def _column_edges(nodes: list[_Node], columns: list[list[int]]) -> tuple[list[Point], float]:
    """The left and right edge of each column, and the width of all."""
    edges: list[Point] = []
    left = 0.0
    for column in columns:
        right = left + max((nodes[node].size[0] for node in column), default=0.0)
        edges.append((left, right))
        left = right + LAYER_GAP
    return edges, max(left - LAYER_GAP, 0.0)


def _routes(nodes: list[_Node], chains: list[_Chain], edges: list[Point]) -> list[Route]:
    """Ways that are level within a column, so that no arrow crosses a box or a label, and bend between columns.

    Arrows that share a side of a box meet it at different heights.
    """
    leaving = _ports(nodes, [(chain.nodes[0], chain.nodes[1]) for chain in chains])
    arriving = _ports(nodes, [(chain.nodes[-1], chain.nodes[-2]) for chain in chains])
    routes = []
    for number, chain in enumerate(chains):
        first, last, label = nodes[chain.nodes[0]], nodes[chain.nodes[-1]], nodes[chain.label]
        points = [
            (_middle(first, edges) + first.size[0] / 2, leaving[number]),
            (edges[first.layer][1], leaving[number]),
        ]
        for node in chain.nodes[1:-1]:
            points += [(edge, nodes[node].y) for edge in edges[nodes[node].layer]]
        points += [
            (edges[last.layer][0], arriving[number]),
            (_middle(last, edges) - last.size[0] / 2, arriving[number]),
        ]
        ordered = tuple(dict.fromkeys(reversed(points) if chain.turned else points))
        routes.append(Route((_middle(label, edges), label.y), ordered))
    return routes


def _middle(node: _Node, edges: list[Point]) -> float:
    return sum(edges[node.layer]) / 2


def _ports(nodes: list[_Node], ends: list[tuple[int, int]]) -> list[float]:
    """The height at which each arrow meets its box, spread over the side in the order of where it goes."""
    sides: dict[int, list[int]] = {}
    for number, (box, _) in enumerate(ends):
        sides.setdefault(box, []).append(number)
    heights = [0.0] * len(ends)
    for box, numbers in sides.items():
        ordered = sorted(numbers, key=lambda number: (nodes[ends[number][1]].y, number))
        top, height = nodes[box].y - nodes[box].size[1] / 2, nodes[box].size[1]
        for place, number in enumerate(ordered):
            heights[number] = top + height * (place + 1) / (len(ordered) + 1)
    return heights


def _mean(values: list[float] | list[int], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
