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


SHOP = tuple(Group("shop", f"pod-{number}", "Pod") for number in range(6))
TO_THREE: list[tuple[Source, End, Access]] = [(one, end, HTTP) for one in SHOP for end in SHOP[:3] if one != end]
TO_OUTSIDE: list[tuple[Source, End, Access]] = [(one, ANYWHERE, EVERYTHING) for one in SHOP]


def test_what_is_open_to_everyone_is_said_once() -> None:
    pairs = [pair for pair in TO_THREE if pair[:2] != (SHOP[0], SHOP[1])]
    particular = [(SHOP[0], SHOP[1], EVERYTHING), (SHOP[4], SHOP[5], HTTP)]
    graph = of_view(view(*pairs, *particular, *TO_OUTSIDE, (ANYWHERE, SHOP[0], HTTP), groups=SHOP))
    assert [(box.lines[0], box.notes) for box in graph.boxes[1:4]] == [
        ("every IPv4 address", ("from every workload here: All Connections",)),
        ("pod-0[Pod]", ("from every other workload here: TCP 80",)),
        ("pod-1[Pod]", ("from every other workload here: TCP 80",)),
    ]
    assert [(graph.boxes[one.source].lines[0], *one.label) for one in graph.arrows] == [
        ("every IPv4 address", "TCP 80"),
        ("pod-0[Pod]", "All Connections"),
        ("pod-4[Pod]", "TCP 80"),
    ]


@pytest.mark.parametrize("access", [None, Access(NO_TRAFFIC, HTTP.possible)])
def test_what_one_may_not_surely_is_not_open_to_everyone(access: Access | None) -> None:
    chain = [(SHOP[3], SHOP[4], HTTP), (SHOP[4], SHOP[5], HTTP)]
    rows = [row for row in (*TO_THREE, *TO_OUTSIDE, *chain) if row[:2] != (SHOP[3], SHOP[0])]
    graph = of_view(view(*rows, *([(SHOP[3], SHOP[0], access)] if access else []), groups=SHOP))
    assert {name: box.everyone for box in graph.boxes for name in box.lines if box.everyone} == {
        "pod-1[Pod]": "TCP 80",
        "pod-2[Pod]": "TCP 80",
        "every IPv4 address": "All Connections",
    }


ends = st.sampled_from((*SHOP, ANYWHERE))
overridden = st.dictionaries(st.tuples(st.sampled_from(SHOP), ends), st.sampled_from((HTTP, EVERYTHING, None)))


@settings(max_examples=200)
@given(st.sets(ends), overridden)
def test_a_drawing_can_be_read_back(opened: set[End], overridden: dict[tuple[Group, End], Access | None]) -> None:
    pairs = {(one, end): HTTP for end in opened for one in SHOP if one != end} | overridden
    rows = [(*pair, access) for pair, access in pairs.items() if access]
    wanted = {(_name(one), _name(end)): str(access.ports) for one, end, access in rows if one != end}
    assert read_back(of_view(view(*rows, groups=SHOP))) == wanted


def _name(end: End) -> str:
    return str(end).partition("/")[2] if isinstance(end, Group) else "outside"


def read_back(graph: Graph) -> dict[tuple[str, str], str]:
    """What a reader takes from a drawing: who may open what to whom, replicas among themselves left out."""
    names = [box.lines if box.namespace else ("outside",) for box in graph.boxes]
    workloads = [name for box in graph.boxes if box.namespace for name in box.lines]
    found: dict[tuple[str, str], str] = {}
    for box, members in zip(graph.boxes, names, strict=True):
        found |= dict.fromkeys(itertools.product(workloads, members), box.everyone)
        found |= dict.fromkeys(itertools.permutations(members, 2), box.own[0] if box.own else "")
    for arrow in graph.arrows:
        there, back = (arrow.source, arrow.destination), (arrow.destination, arrow.source)
        for source, destination in (there, back) if arrow.both else (there,):
            found |= dict.fromkeys(itertools.product(names[source], names[destination]), arrow.label[0])
    return {(source, end): text for (source, end), text in found.items() if text and source != end}


def test_both_ends_of_a_row_are_drawn_though_a_filter_chose_one() -> None:
    graph = of_view(view((A, B, HTTP), groups=(A,)))
    assert [box.lines for box in graph.boxes] == [("a[Pod]",), ("b[Pod]",)]


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


def test_a_box_without_arrows_can_stand_in_the_last_layer() -> None:
    layout = lay_out([(50.0, 20.0)] * 3, [(1, 2, (10.0, 10.0))], last=[0])
    assert layout.boxes[1][0] < layout.boxes[2][0] == layout.boxes[0][0]
