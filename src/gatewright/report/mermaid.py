"""A graph in Mermaid's language, as code forges draw it in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gatewright.report.graph import Arrow, Box, Graph

COLOURS = {"+": "#1a7f37", "-": "#cf222e", "~": "#9a6700"}
PLAIN = frozenset(" -./:,;=()[]!")
"""What may stand in a quoted text as it is, beside letters and digits."""


def to_mermaid(graph: Graph) -> str:
    """A flowchart with a subgraph a namespace."""
    return "\n".join(["flowchart LR", *(f"  {line}" for line in _body(graph)), ""])


def _body(graph: Graph) -> Iterator[str]:
    for cluster, (namespace, numbers) in enumerate(graph.by_namespace().items()):
        nodes = [_node(number, graph.boxes[number]) for number in numbers]
        if namespace:
            yield f"subgraph s{cluster}[{_quoted([namespace])}]"
            yield from (f"  {node}" for node in nodes)
            yield "end"
        else:
            yield from nodes
    yield from (_edge(arrow) for arrow in graph.arrows)
    for number, box in enumerate(graph.boxes):
        if box.mark:
            yield f"style n{number} stroke:{COLOURS[box.mark]}"
    for number, arrow in enumerate(graph.arrows):
        if arrow.mark:
            yield f"linkStyle {number} stroke:{COLOURS[arrow.mark]}"


def _node(number: int, box: Box) -> str:
    text = _quoted([*box.lines, *box.notes])
    return f"n{number}[{text}]" if box.namespace else f"n{number}([{text}])"


def _edge(arrow: Arrow) -> str:
    line = "-.->" if arrow.unsure else "-->"
    return f"n{arrow.source} {'<' if arrow.both else ''}{line}|{_quoted(arrow.label)}| n{arrow.destination}"


def _quoted(lines: Iterable[str]) -> str:
    return '"' + "<br>".join(_escaped(line) for line in lines) + '"'


def _escaped(text: str) -> str:
    """Mermaid writes a character by its number as `#34;`. A dash in front would start a list, as in Markdown."""
    return "".join(
        one if one.isalnum() or (one in PLAIN and (place or one != "-")) else f"#{ord(one)};"
        for place, one in enumerate(text)
    )
