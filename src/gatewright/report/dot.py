"""A graph in Graphviz' language: `gatewright list -o dot | dot -Tpng`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gatewright.report.graph import Arrow, Box, Graph

COLOURS = {"+": "#1a7f37", "-": "#cf222e", "~": "#9a6700"}


def to_dot(graph: Graph) -> str:
    """A digraph with a cluster a namespace. Every name is a quoted string, so that any name is valid."""
    return "\n".join(["digraph gatewright {", *(f"  {line}" for line in _body(graph)), "}", ""])


def _body(graph: Graph) -> Iterator[str]:
    yield "rankdir=LR;"
    yield 'node [shape=box, style=rounded, fontname="Helvetica"];'
    yield 'edge [fontname="Helvetica", fontsize=10];'
    for cluster, (namespace, numbers) in enumerate(graph.by_namespace().items()):
        nodes = [_node(number, graph.boxes[number]) for number in numbers]
        if namespace:
            yield f"subgraph cluster_{cluster} {{"
            yield f"  label={_quoted([namespace])};"
            yield from (f"  {node}" for node in nodes)
            yield "}"
        else:
            yield from nodes
    yield from (_edge(arrow) for arrow in graph.arrows)


def _node(number: int, box: Box) -> str:
    attributes = [f"label={_quoted([*box.lines, *box.notes])}"]
    if not box.namespace:
        attributes.append("shape=ellipse")
    return f"n{number} [{', '.join([*attributes, *_colour(box.mark)])}];"


def _edge(arrow: Arrow) -> str:
    attributes = [f"label={_quoted(arrow.label)}", *_colour(arrow.mark)]
    if arrow.both:
        attributes.append("dir=both")
    if arrow.unsure:
        attributes.append("style=dashed")
    return f"n{arrow.source} -> n{arrow.destination} [{', '.join(attributes)}];"


def _colour(mark: str) -> list[str]:
    return [f'color="{COLOURS[mark]}"', f'fontcolor="{COLOURS[mark]}"'] if mark else []


def _quoted(lines: Iterable[str]) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
