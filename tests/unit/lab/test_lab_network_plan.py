"""Which addresses a lab's nodes have, and which pod ranges are refused, by the name of the option."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from gatewright.lab.errors import LabError
from gatewright.lab.network.plan import (
    FABRIC_ADDRESSES,
    FABRIC_NETWORKS,
    MOST_NODES,
    Plan,
    mac_of,
    node_addresses,
    node_link,
)
from gatewright.lab.network.routes import routes_of


def texts(items: Any) -> list[str]:
    return [str(item) for item in items]


def test_the_usual_ranges() -> None:
    plan = Plan.of()
    assert texts(plan.pod_networks) == ["10.244.0.0/16", "fd00:10:244::/56"]
    assert plan.families == (4, 6)
    assert plan.only([4]).families == (4,)
    assert plan.only([4]).nodes == plan.nodes == 1


def test_addresses_of_nodes() -> None:
    assert texts(node_addresses(1, (4, 6))) == ["172.31.255.11", "fd00:10:31::b"]
    assert texts(node_addresses(MOST_NODES, (4,))) == ["172.31.255.254"]
    assert mac_of(node_addresses(1, (4,))[0]) == "02:47:ac:1f:ff:0b"


def test_every_node_has_addresses_a_mac_and_a_link_of_its_own() -> None:
    numbers = range(1, MOST_NODES + 1)
    every = [address for number in numbers for address in node_addresses(number, (4, 6))]
    assert len({*every, *FABRIC_ADDRESSES}) == 2 * MOST_NODES + 2
    for network in FABRIC_NETWORKS:
        special = {network.network_address, network.broadcast_address}
        assert all(one in network and one not in special for one in every if one.version == network.version)
    assert len({mac_of(node_addresses(number, (4,))[0]) for number in numbers}) == MOST_NODES
    assert len({node_link(number) for number in numbers}) == MOST_NODES


@pytest.mark.parametrize("number", [0, -1, MOST_NODES + 1])
def test_nodes_that_cannot_be(number: int) -> None:
    with pytest.raises(LabError, match=f"there is no node {number}: a lab has room for 244"):
        node_addresses(number, (4,))


@pytest.mark.parametrize(
    ("cidrs", "nodes", "families"),
    [
        (["10.244.0.0/24"], 1, (4,)),
        (["fd00:9::/64", "10.9.0.0/24"], 1, (4, 6)),
        (["192.168.0.0/16"], 244, (4,)),
        (["10.0.0.0/12", "2001:db8:9::/48"], 3, (4, 6)),
        (["100.64.0.0/22"], 4, (4,)),
    ],
)
def test_ranges_that_fit(cidrs: list[str], nodes: int, families: tuple[int, ...]) -> None:
    assert Plan.of(cidrs, nodes).families == families


@pytest.mark.parametrize(
    ("cidrs", "nodes", "message"),
    [
        (["nonsense"], 1, "--pod-cidr nonsense: "),
        (["10.1.0.1/24"], 1, "--pod-cidr 10.1.0.1/24: .*host bits"),
        (["10.1.0.0/16", "10.2.0.0/16"], 1, "--pod-cidr: give at most one IPv4 and one IPv6 range"),
        (["fd00:9::/64"], 1, "--pod-cidr: an IPv4 range is needed"),
        ([], 1, "--pod-cidr: an IPv4 range is needed"),
        (["10.96.0.0/24"], 1, "--pod-cidr 10.96.0.0/24: overlaps 10.96.0.0/16: the lab's Services have it"),
        (["10.64.0.0/10"], 1, "--pod-cidr 10.64.0.0/10: overlaps 10.96.0.0/16"),
        (["10.9.0.0/16", "fd00:10:96::/64"], 1, "overlaps fd00:10:96::/112"),
        (["172.31.0.0/16"], 1, "overlaps 172.31.255.0/24: the lab's nodes have it"),
        (["10.9.0.0/16", "fd00:10:31::/64"], 1, "overlaps fd00:10:31::/64: the lab's nodes have it"),
        (["203.0.113.0/24"], 1, "overlaps 203.0.113.10/32: the lab's outside host has it"),
        (["10.9.0.0/16", "2001:db8:113::/56"], 1, "overlaps 2001:db8:113::10/128"),
        (["127.0.0.0/16"], 1, "overlaps 127.0.0.0/8: hosts cannot have such addresses"),
        (["169.254.0.0/16"], 1, "overlaps 169.254.0.0/16"),
        (["239.1.0.0/16"], 1, "overlaps 224.0.0.0/3"),
        (["10.9.0.0/16", "fe80::/64"], 1, "overlaps fe80::/10"),
        (["10.9.0.0/25"], 1, "--pod-cidr 10.9.0.0/25: each node has a /24 of it, so it must be a /8 to a /24"),
        (["8.0.0.0/7"], 1, "--pod-cidr 8.0.0.0/7: each node has a /24 of it"),
        (["10.9.0.0/16", "2001:db8::/40"], 1, "each node has a /64 of it, so it must be a /48 to a /64"),
        (["10.9.0.0/23"], 3, "--pod-cidr 10.9.0.0/23: holds the /24 of 2 nodes, fewer than --nodes 3"),
        (["10.9.0.0/16", "fd00:9::/64"], 2, "--pod-cidr fd00:9::/64: holds the /64 of 1 nodes, fewer than --nodes 2"),
        (["10.9.0.0/16"], 0, "--nodes 0: a lab has 1 to 244 nodes"),
        (["10.9.0.0/16"], 245, "--nodes 245: a lab has 1 to 244 nodes"),
    ],
)
def test_ranges_that_cannot_be(cidrs: list[str], nodes: int, message: str) -> None:
    with pytest.raises(LabError, match=message):
        Plan.of(cidrs, nodes)


def node(name: str, cidrs: list[str], *addresses: str, kind: str = "InternalIP", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"podCIDRs": cidrs, **spec},
        "status": {"addresses": [{"type": kind, "address": one} for one in addresses]},
    }


V4, V6 = "10.244.2.0/24", "fd00:10:244:2::/64"
B4, B6 = "172.31.255.12", "fd00:10:31::c"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("b", [V4, V6], B4, B6)], {V4: B4, V6: B6}),
        ([node("b", [V4, V6], B6, B4)], {V4: B4, V6: B6}),
        ([node("b", [V4, V6], B4)], {V4: B4}),
        ([node("own", [V4, V6], B4, B6)], {V4: None, V6: None}),
        ([node("own", [V4])], {V4: None}),
        ([node("b", [V4], B4, "172.31.255.99")], {V4: B4}),
        ([node("b", [V4], B4, kind="ExternalIP")], {}),
        ([node("b", [V4], "192.0.2.1")], {}),
        ([node("b", [V4], "no address", B4)], {V4: B4}),
        ([node("b", ["0.0.0.0/0"], B4)], {}),
        ([node("b", ["172.31.255.0/24"], B4)], {}),
        ([node("b", ["10.96.0.0/24"], B4)], {}),
        ([node("b", ["no range", V4], B4)], {V4: B4}),
        ([node("b", [], B4, podCIDR=V4)], {V4: B4}),
        ([node("b", [], B4, podCIDR="")], {}),
        ([{"metadata": {"name": "b"}}], {}),
        ([node("c", [V4], "172.31.255.13"), node("b", [V4], B4)], {V4: B4}),
    ],
)
def test_routes_that_nodes_ask_for(nodes: list[dict[str, Any]], expected: dict[str, str | None]) -> None:
    found = routes_of(nodes, "own", (4, 6))
    assert {str(network): gateway and str(gateway) for network, gateway in found.items()} == expected


def test_a_family_that_the_kernel_lacks_is_not_routed() -> None:
    assert routes_of([node("b", [V4, V6], B4, B6)], "", (4,)) == {ipaddress.ip_network(V4): ipaddress.ip_address(B4)}
