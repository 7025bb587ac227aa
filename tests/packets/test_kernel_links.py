"""Links of pods as the kernel of a node knows them: each pod's own, and none behind a bridge."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from gatewright.kernel.links import links, pod_links
from tests.packets.netns import Namespace, NodeNamespace
from tests.unit.kernel import cases

pytestmark = pytest.mark.packets
PODS = frozenset(address for index in range(4) for address in cases.pod(index).addresses)


def test_each_routed_pod_has_its_link(node_with_pods: NodeNamespace) -> None:
    def expected() -> set[tuple[int, object]]:
        names = ((socket.if_nametoindex(f"pod{index + 1}"), cases.pod(index)) for index in range(4))
        return {(link, address) for link, pod in names for address in pod.addresses}

    assert node_with_pods.namespace.run(lambda: pod_links(PODS)) == node_with_pods.namespace.run(expected)


def test_only_links_of_the_pods_asked_about_are_told(node_with_pods: NodeNamespace) -> None:
    some = frozenset(cases.pod(2).addresses[:1])
    found = node_with_pods.namespace.run(lambda: pod_links(some))
    assert {address for _, address in found} == set(cases.pod(2).addresses)
    assert node_with_pods.namespace.run(lambda: pod_links([])) == frozenset()


def test_behind_a_bridge_there_is_no_answer(empty: Namespace) -> None:
    pods = [ipaddress.ip_address("10.88.0.2"), ipaddress.ip_address("10.88.0.3")]
    empty.ip(
        [
            "link add cni0 type bridge",
            "addr add 10.88.0.1/24 dev cni0",
            "link set cni0 up",
            "link add veth0 type veth peer name far0",
            "link set veth0 master cni0 up",
            "link set far0 up",
            f"route add {pods[0]}/32 dev cni0",
        ]
    )
    assert empty.run(lambda: pod_links(pods)) == frozenset()
    kinds = {link.name: (link.kind, link.enslaved) for link in empty.run(links)}
    assert kinds["cni0"] == ("bridge", False)
    assert kinds["veth0"] == ("veth", True)


def test_a_route_in_a_table_of_its_own_is_found(empty: Namespace) -> None:
    pod = ipaddress.ip_address("10.88.0.2")
    empty.ip(
        [
            "link add veth0 type veth peer name far0",
            "link set veth0 up",
            "link set far0 up",
            "addr add 10.99.0.1/24 dev veth0",
            f"route add {pod}/32 dev veth0 table 1000",
            "route add 10.88.0.3/32 via 10.99.0.2 dev veth0",
        ]
    )
    assert {address for _, address in empty.run(lambda: pod_links([pod]))} == {pod}
