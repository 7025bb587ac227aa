"""Drawings: what stands in one box, what is quoted, and that nothing is drawn over anything else."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.engine.addresses import AddressSet
from gatewright.engine.difference import difference
from gatewright.engine.parts import EVERYTHING, Access
from gatewright.engine.ports import NO_TRAFFIC, PortSet, Protocol
from gatewright.engine.verdict import DomainName
from gatewright.engine.view import End, Group, Row, Source, View
from gatewright.report.dot import to_dot
from gatewright.report.graph import MOST_NAMES, Arrow, Box, Graph, of_difference, of_view
from gatewright.report.layout import Layout, Link, Point, Size, lay_out
from gatewright.report.mermaid import to_mermaid
from gatewright.report.svg import to_svg

A, B, C, D = (Group("x", name, "Pod") for name in "abcd")
ANYWHERE = AddressSet.of_block("0.0.0.0/0")
HTTP = Access(PortSet.of(Protocol.TCP, (80, 80)), PortSet.of(Protocol.TCP, (80, 80)))
ODD = 'a"b\\c<d>&#;|\n'


def view(*rows: tuple[Source, End, Access], groups: Sequence[Group] = (A, B, C, D)) -> View:
    return View(tuple(Row(*row) for row in rows), tuple(groups))


def test_what_may_do_the_same_stands_in_one_box() -> None:
    pairs = [(one, other, EVERYTHING) for one, other in itertools.permutations((A, B, C), 2)]
    graph = of_view(view(*pairs, (A, D, HTTP), (B, D, HTTP), (C, D, HTTP)))
    assert graph.boxes == (Box("x", ("a[Pod]", "b[Pod]", "c[Pod]"), ("All Connections",)), Box("x", ("d[Pod]",)))
    assert graph.arrows == (Arrow(0, 1, ("TCP 80",)),)


def test_pods_of_two_namespaces_stand_in_two_boxes() -> None:
    other = Group("y", "e", "Pod")
    graph = of_view(view((A, D, HTTP), (other, D, HTTP), groups=(A, D, other)))
    assert [box.namespace for box in graph.boxes] == ["x", "x", "y"]


def test_outside_is_apart_as_source_and_as_destination() -> None:
    graph = of_view(view((ANYWHERE, A, HTTP), (A, ANYWHERE, HTTP), (A, DomainName("example.com"), HTTP), groups=(A,)))
    assert [box.lines for box in graph.boxes] == [
        ("every IPv4 address",),
        ("every IPv4 address",),
        ("example.com",),
        ("a[Pod]",),
    ]
    assert [(arrow.source, arrow.destination) for arrow in graph.arrows] == [(0, 3), (3, 1), (3, 2)]


def test_the_same_both_ways_is_one_arrow_with_two_heads() -> None:
    assert of_view(view((A, B, HTTP), (B, A, HTTP), (A, C, HTTP))).arrows == (
        Arrow(0, 1, ("TCP 80",), both=True),
        Arrow(0, 2, ("TCP 80",)),
    )


def test_what_is_not_sure_is_dashed() -> None:
    perhaps = Access(NO_TRAFFIC, HTTP.possible)
    (arrow,) = of_view(view((A, B, perhaps))).arrows
    assert (arrow.label, arrow.unsure) == (("perhaps TCP 80",), True)


def test_a_long_list_of_names_is_counted() -> None:
    many = [Group("x", f"pod-{number}", "Pod") for number in range(100)]
    (box,) = of_view(View((), tuple(many))).boxes
    assert len(box.lines) == MOST_NAMES
    assert box.lines[-1] == f"and {100 - MOST_NAMES + 1} more"


def test_a_difference_draws_only_what_changed() -> None:
    old, new = (
        view((A, B, HTTP), (C, D, HTTP), groups=(A, B, C, D)),
        view((A, B, HTTP), (C, A, EVERYTHING), groups=(A, B, C)),
    )
    graph = of_difference(difference(old, new))
    assert [(box.lines, box.mark) for box in graph.boxes] == [(("a[Pod]",), ""), (("c[Pod]",), ""), (("d[Pod]",), "-")]
    assert [(arrow.label, arrow.mark) for arrow in graph.arrows] == [
        (("+ All Connections",), "+"),
        (("- TCP 80",), "-"),
    ]


ODD_GRAPH = Graph((Box(ODD, (ODD, ODD)), Box("", (ODD,))), (Arrow(0, 1, (ODD,), both=True, mark="+"),))


def test_dot_quotes_every_name() -> None:
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', to_dot(ODD_GRAPH))
    assert sum(r"a\"b\\c<d>" in text for text in strings) == 4
    rest = re.sub(r'"(?:[^"\\]|\\.)*"', "", to_dot(ODD_GRAPH))
    assert re.fullmatch(r"[\w\s{}\[\]=,;>-]*", rest)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it() -> None:
    subprocess.run(["dot", "-Tsvg"], input=to_dot(ODD_GRAPH), text=True, check=True, capture_output=True, timeout=30)


def test_mermaid_writes_odd_characters_by_number() -> None:
    text = to_mermaid(ODD_GRAPH)
    assert "a#34;b#92;c#60;d#62;#38;#35;;#124;#10;" in text
    assert all(re.fullmatch(r'[^"]*|[^"]*"[^"<>|\\]*(<br>[^"<>|\\]*)*"[^"]*', line) for line in text.splitlines())


def test_mermaid_takes_no_label_for_a_list() -> None:
    graph = Graph((Box("x", ("a",)), Box("x", ("b",))), (Arrow(0, 1, ("- TCP 80-90",), mark="-"),))
    assert 'n0 -->|"#45; TCP 80-90"| n1' in to_mermaid(graph)


def test_svg_is_well_formed_whatever_names_are() -> None:
    texts = [one.text for one in ET.fromstring(to_svg(ODD_GRAPH)).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count(ODD) == 5


def test_an_empty_drawing_is_a_drawing() -> None:
    empty = Graph((), ())
    ET.fromstring(to_svg(empty))
    assert to_dot(empty).startswith("digraph")
    assert to_mermaid(empty) == "flowchart LR\n"


sizes = st.lists(st.tuples(st.floats(10, 200), st.floats(10, 80)), min_size=1, max_size=7)
link_ends = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14, unique=True)


def rectangles(layout: Layout, boxes: Sequence[Size], links: Sequence[Link]) -> list[tuple[float, float, float, float]]:
    places: list[tuple[Point, Size]] = [
        *zip(layout.boxes, boxes, strict=True),
        *((route.label, link[2]) for route, link in zip(layout.routes, links, strict=True)),
    ]
    return [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in places]


@settings(max_examples=100)
@given(sizes, link_ends)
def test_nothing_is_drawn_over_anything_else(boxes: list[Size], ends: list[tuple[int, int]]) -> None:
    links = [(a, b, (60.0, 20.0)) for a, b in ends if a != b and max(a, b) < len(boxes)]
    layout = lay_out(boxes, links)
    found = rectangles(layout, boxes, links)
    for one, other in itertools.combinations(found, 2):
        apart = max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3])
        assert apart > 0, (one, other)
    width, height = layout.size
    assert all(left > -1 and top > -1 and right < width + 1 and low < height + 1 for left, top, right, low in found)
    for route, (a, b, _) in zip(layout.routes, links, strict=True):
        for box, (x, y) in ((a, route.points[0]), (b, route.points[-1])):
            assert abs(abs(x - layout.boxes[box][0]) - boxes[box][0] / 2) < 1e-6
            assert abs(y - layout.boxes[box][1]) < boxes[box][1] / 2


def test_arrows_run_to_the_right_where_they_can() -> None:
    layout = lay_out([(50.0, 20.0)] * 3, [(2, 1, (10.0, 10.0)), (1, 0, (10.0, 10.0)), (2, 0, (10.0, 10.0))])
    assert layout.boxes[2][0] < layout.boxes[1][0] < layout.boxes[0][0]
