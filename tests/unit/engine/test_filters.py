"""What `list` leaves out: filters, and the label selectors that they take."""

from __future__ import annotations

import pytest

from gatewright.engine.filters import Filter, label_filter, port_filter
from gatewright.engine.label_query import BadSelector, parse_selector
from gatewright.engine.selectors import matches
from gatewright.engine.targets import find
from gatewright.engine.view import by_workload
from tests.unit.engine.live import compiled, only_from, pod, policy

CLUSTER = compiled(
    [
        pod("web-0", app="web", tier="front"),
        pod("db-1", app="db"),
        pod("probe-2", namespace="y", app="probe"),
        policy("db", only_from({"matchLabels": {"app": "db"}}, app="web")),
    ]
)
VIEW = by_workload(CLUSTER)


def kept(one: Filter) -> list[str]:
    rows = one.apply(VIEW).rows
    return [f"{row.source} => {row.destination} : {row.access.ports}" for row in rows]


def test_no_filter_keeps_everything() -> None:
    assert Filter().apply(VIEW) == VIEW
    assert not Filter()


def test_from_and_to() -> None:
    web, db = find(CLUSTER, "web-0", "x"), find(CLUSTER, "app=db", "x")
    assert kept(Filter(sources=(web,), destinations=(db,))) == ["x/web-0[Pod] => x/db-1[Pod] : TCP 80"]
    assert kept(Filter(sources=(find(CLUSTER, "y/probe-2"),), destinations=(db,))) == []


def test_an_address_is_the_range_or_the_pod_that_has_it() -> None:
    outside, inside = find(CLUSTER, "203.0.113.7"), find(CLUSTER, "10.0.0.2")
    rows = kept(Filter(sources=(outside,)))
    assert rows == [
        "0.0.0.0-255.255.255.255 => x/web-0[Pod] : All Connections",
        "0.0.0.0-255.255.255.255 => y/probe-2[Pod] : All Connections",
    ]
    assert "x/web-0[Pod] => x/db-1[Pod] : TCP 80" in kept(Filter(destinations=(inside,)))


def test_focus_is_both_directions() -> None:
    rows = kept(Filter(focus=(find(CLUSTER, "db-1", "x"),)))
    assert "x/web-0[Pod] => x/db-1[Pod] : TCP 80" in rows
    assert "x/db-1[Pod] => y/probe-2[Pod] : All Connections" in rows
    assert all("db-1" in row for row in rows)


def test_the_groups_are_those_that_are_asked_about() -> None:
    web, db = find(CLUSTER, "web-0", "x"), find(CLUSTER, "app=db", "x")
    asked = (Filter(focus=(db,)), Filter(sources=(db,), destinations=(web,)), Filter(focus=(db,), namespace="y"))
    assert [[group.name for group in one.apply(VIEW).groups] for one in asked] == [["db-1"], ["db-1", "web-0"], []]


def test_a_namespace_and_labels_hold_of_one_end() -> None:
    assert all("y/probe-2" in row for row in kept(Filter(namespace="y")))
    assert kept(Filter(namespace="y", labels=label_filter("app=web"))) == []
    assert all("web-0" in row for row in kept(Filter(labels=label_filter("app notin (db,probe)"))))
    assert [str(one) for one in Filter(namespace="y").apply(VIEW).groups] == ["y/probe-2[Pod]"]


def test_ports_are_what_is_left_of_each_row() -> None:
    db = (find(CLUSTER, "db-1", "x"),)
    assert kept(Filter(destinations=db, ports=port_filter(("81", "udp/53")))) == []
    assert kept(Filter(destinations=db, ports=port_filter(("80", "443")))) == ["x/web-0[Pod] => x/db-1[Pod] : TCP 80"]
    everywhere = kept(Filter(sources=db, ports=port_filter(("udp/53", "icmp"))))
    assert everywhere[-1] == "x/db-1[Pod] => 0.0.0.0-255.255.255.255 : UDP 53; other protocols"


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "db"}, False),
        ("app!=web", {}, True),
        ("app != web", {"app": "web"}, False),
        ("app in (web, db),tier", {"app": "db", "tier": ""}, True),
        ("app in (web,db),tier", {"app": "db"}, False),
        ("app notin (web)", {"app": "web"}, False),
        ("!app", {}, True),
        ("example.com/app=web,!x", {"example.com/app": "web"}, True),
        ("app=", {"app": ""}, True),
    ],
)
def test_selectors(text: str, labels: dict[str, str], holds: bool) -> None:
    assert matches(parse_selector(text), labels) is holds


@pytest.mark.parametrize("text", ["", "=web", "app=web,", "app in web", "app in (a,b", "a b", "app=a=b", "-x"])
def test_no_selectors(text: str) -> None:
    with pytest.raises(BadSelector, match="is not a label selector: write KEY=VALUE"):
        parse_selector(text)
