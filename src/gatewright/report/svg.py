"""A graph as an SVG picture, drawn without a browser or another program, for light and dark pages alike.

Text is set in a monospace font, so that its width is known without measuring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from gatewright.report.graph import Arrow, Box, Graph
from gatewright.report.layout import Layout, Point, Route, Size, lay_out

CHARACTER, LINE = 7.25, 16.0
"""Pixels: the width of a character at 12 px, the height of a line."""
PADDING = 10.0
MARGIN = 20.0
ARROW_GAP = 7.0
"""Pixels between arrows that meet one side of a box."""
STYLE = """\
text { font: 12px "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328; white-space: pre; }
.back { fill: #ffffff; }
.box { fill: #f6f8fa; stroke: #8c959f; }
.outside { fill: #ddf4ff; stroke: #54aeff; }
.head { font-weight: bold; fill: #59636e; }
.own, .label { fill: #59636e; }
.line { fill: none; stroke: #8c959f; stroke-width: 1.3; }
.tip { fill: #8c959f; }
.unsure { stroke-dasharray: 5 4; }
.added { stroke: #1a7f37; } .removed { stroke: #cf222e; } .changed { stroke: #9a6700; }
text.added, .tip.added { fill: #1a7f37; stroke: none; }
text.removed, .tip.removed { fill: #cf222e; stroke: none; }
text.changed, .tip.changed { fill: #9a6700; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .back { fill: #0d1117; }
  .box { fill: #161b22; stroke: #6e7681; }
  .outside { fill: #0c2d4d; stroke: #388bfd; }
  .head, .own, .label { fill: #9198a1; }
  .line { stroke: #6e7681; } .tip { fill: #6e7681; }
  .added { stroke: #3fb950; } .removed { stroke: #f85149; } .changed { stroke: #d29922; }
  text.added, .tip.added { fill: #3fb950; } text.removed, .tip.removed { fill: #f85149; }
  text.changed, .tip.changed { fill: #d29922; }
}
"""
CLASSES = {"+": "added", "-": "removed", "~": "changed"}


def to_svg(graph: Graph) -> str:
    """The picture as an SVG 1.1 document."""
    links = [(arrow.source, arrow.destination, _text_size(arrow.label)) for arrow in graph.arrows]
    last = [number for number, box in enumerate(graph.boxes) if box.everyone and not box.namespace]
    layout = lay_out(_box_sizes(graph), links, last)
    width, height = (side + 2 * MARGIN for side in layout.size)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-MARGIN:.0f} {-MARGIN:.0f} {width:.0f} {height:.0f}" role="img">'
    )
    body = [f"<title>{escape(_title(graph))}</title>", f"<style>\n{STYLE}</style>", *_drawn(graph, layout)]
    back = f'<rect class="back" x="{-MARGIN:.0f}" y="{-MARGIN:.0f}" width="100%" height="100%"/>'
    return "\n".join([head, *body[:2], back, *body[2:], "</svg>", ""])


def _title(graph: Graph) -> str:
    return f"Connections: {len(graph.boxes)} boxes, {len(graph.arrows)} arrows"


def _texts(box: Box) -> list[str]:
    return [box.namespace or "outside", *box.lines, *box.notes]


def _text_size(lines: Sequence[str]) -> Size:
    return (max(map(len, lines)) * CHARACTER + 2 * PADDING, len(lines) * LINE + PADDING)


def _box_sizes(graph: Graph) -> list[Size]:
    """Room for the text of each box, and for the arrows that meet it on its busier side."""
    sizes = []
    for number, box in enumerate(graph.boxes):
        width, height = _text_size(_texts(box))
        leaving = sum(arrow.source == number for arrow in graph.arrows)
        arriving = sum(arrow.destination == number for arrow in graph.arrows)
        sizes.append((width, max(height, (max(leaving, arriving) + 1) * ARROW_GAP)))
    return sizes


def _drawn(graph: Graph, layout: Layout) -> Iterator[str]:
    for arrow, route in zip(graph.arrows, layout.routes, strict=True):
        yield from _arrow(arrow, route)
    for box, centre, size in zip(graph.boxes, layout.boxes, _box_sizes(graph), strict=True):
        yield from _box(box, centre, size)


def _box(box: Box, centre: Point, size: Size) -> Iterator[str]:
    texts = _texts(box)
    width, height = size
    left, top = centre[0] - width / 2, centre[1] - height / 2
    look = " ".join(filter(None, ("box" if box.namespace else "outside", CLASSES.get(box.mark, ""))))
    yield f'<rect class="{look}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'
    notes_from = len(texts) - len(box.notes)
    top += (height - _text_size(texts)[1]) / 2
    for number, text in enumerate(texts):
        kind = "head" if number == 0 else "own" if number >= notes_from else CLASSES.get(box.mark, "")
        yield _text(text, (left + PADDING, top + PADDING / 2 + LINE * (number + 0.75)), kind)


def _arrow(arrow: Arrow, route: Route) -> Iterator[str]:
    mark = CLASSES.get(arrow.mark, "")
    look = " ".join(filter(None, ("line", mark, "unsure" if arrow.unsure else "")))
    yield f'<path class="{look}" d="{_curve(route.points)}"/>'
    yield _tip(route.points[-2], route.points[-1], mark)
    if arrow.both:
        yield _tip(route.points[1], route.points[0], mark)
    width, height = _text_size(arrow.label)
    left, top = route.label[0] - width / 2, route.label[1] - height / 2
    yield f'<rect class="back" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    for number, text in enumerate(arrow.label):
        yield _text(text, (left + PADDING, top + PADDING / 2 + LINE * (number + 0.75)), mark or "label")


def _curve(points: Sequence[Point]) -> str:
    """Level at every point, and smooth between them."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (x + to_x) / 2
        bend = f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        parts.append(f"H{to_x:.1f}" if y == to_y else bend)
    return " ".join(parts)


def _tip(before: Point, end: Point, mark: str) -> str:
    x, y = end
    back = 8 if before[0] < x else -8
    look = f"tip {mark}".strip()
    return f'<path class="{look}" d="M{x:.1f} {y:.1f} L{x - back:.1f} {y - 4:.1f} L{x - back:.1f} {y + 4:.1f} Z"/>'


def _text(text: str, place: Point, kind: str) -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text{look} x="{place[0]:.1f}" y="{place[1]:.1f}">{escape(text)}</text>'
