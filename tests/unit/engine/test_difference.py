"""What changed between two answers."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.engine.addresses import AddressSet
from gatewright.engine.difference import Difference, difference
from gatewright.engine.parts import Access
from gatewright.engine.ports import PortSet, Protocol
from gatewright.engine.view import Group, Row, View
from tests.unit.engine.live import Json, only_from, pod, policy, view

A, B = Group("x", "a", "Pod"), Group("x", "b", "Pod")
ANYWHERE = AddressSet.of_block("0.0.0.0/0")


def tcp(*numbers: int) -> Access:
    ports = PortSet.of(Protocol.TCP, *((number, number) for number in numbers))
    return Access(ports, ports)


def found(old: list[Row], new: list[Row]) -> list[str]:
    return told(difference(View(tuple(old), (A, B)), View(tuple(new), (A, B))))


def told(one: Difference) -> list[str]:
    return [
        f"{change.kind} {change.source} => {change.destination} : {change.before.ports} -> {change.after.ports}"
        + (f" (IPv{change.family})" if change.family else "")
        for change in one.changes
    ]


def test_added_removed_and_changed() -> None:
    assert found([], [Row(A, B, tcp(80))]) == ["added x/a[Pod] => x/b[Pod] : No Connections -> TCP 80"]
    assert found([Row(A, B, tcp(80))], []) == ["removed x/a[Pod] => x/b[Pod] : TCP 80 -> No Connections"]
    assert found([Row(A, B, tcp(80))], [Row(A, B, tcp(443))]) == ["changed x/a[Pod] => x/b[Pod] : TCP 80 -> TCP 443"]


def test_what_becomes_sure_is_a_change() -> None:
    perhaps = Access(PortSet(), tcp(80).possible)
    assert found([Row(A, B, perhaps)], [Row(A, B, tcp(80))]) == [
        "changed x/a[Pod] => x/b[Pod] : No Connections -> TCP 80"
    ]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ([(None, 80)], [(4, 80), (6, 80)], []),
        ([(None, 80)], [(4, 80)], ["removed x/a[Pod] => x/b[Pod] : TCP 80 -> No Connections (IPv6)"]),
        ([(4, 80)], [(None, 80)], ["added x/a[Pod] => x/b[Pod] : No Connections -> TCP 80 (IPv6)"]),
        ([(None, 80)], [(4, 443), (6, 443)], ["changed x/a[Pod] => x/b[Pod] : TCP 80 -> TCP 443"]),
        ([(4, 80), (6, 443)], [(4, 80), (6, 1)], ["changed x/a[Pod] => x/b[Pod] : TCP 443 -> TCP 1 (IPv6)"]),
    ],
)
def test_families(old: list[tuple[int | None, int]], new: list[tuple[int | None, int]], lines: list[str]) -> None:
    before, after = ([Row(A, B, tcp(port), family) for family, port in side] for side in (old, new))
    assert found(before, after) == lines


def test_only_the_addresses_whose_ports_differ_are_told() -> None:
    cut = AddressSet.of_block("0.0.0.0/0", ["10.0.0.0/8"])
    ten = AddressSet.of_block("10.0.0.0/8")
    old = [Row(ANYWHERE, A, tcp(80)), Row(A, ANYWHERE, tcp(80))]
    new = [Row(cut, A, tcp(80)), Row(ten, A, tcp(443)), Row(A, cut, tcp(80))]
    assert found(old, new) == [
        "removed x/a[Pod] => 10.0.0.0-10.255.255.255 : TCP 80 -> No Connections",
        "changed 10.0.0.0-10.255.255.255 => x/a[Pod] : TCP 80 -> TCP 443",
    ]


def test_the_same_addresses_cut_elsewhere_are_no_change() -> None:
    halves = [Row(AddressSet.of_block(half), A, tcp(80)) for half in ("0.0.0.0/1", "128.0.0.0/1")]
    assert found([Row(ANYWHERE, A, tcp(80))], halves) == []


def test_new_and_gone_workloads() -> None:
    only = difference(View((), (A,)), View((), (B,)))
    assert (only.changes, only.new, only.gone) == ((), (B,), (A,))
    assert only
    assert not difference(View((), (A,)), View((), (A,)))


def test_a_rollout_is_no_change() -> None:
    """Pods and ReplicaSets of new names under the same Deployment."""

    def state(template: str, *numbers: int) -> list[Json]:
        labels: dict[str, Any] = {"pod__template__hash": template, "app": "web"}
        pods = [pod(f"web-{template}-{number}", ("ReplicaSet", f"web-{template}"), **labels) for number in numbers]
        return [*pods, pod("db", app="db"), policy("db", only_from({"matchLabels": {"app": "db"}}, app="web"))]

    assert not difference(view(state("aaa", 1, 2)), view(state("bbb", 3, 4, 5)))
