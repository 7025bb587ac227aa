"""The service proxy with packets: every way to reach a Service, in both families, on two nodes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gatewright.objects.meta import Object
from tests.packets.sites import (
    OUTSIDE,
    REFUSED,
    SILENT,
    Json,
    Place,
    Site,
    becomes,
    endpoint,
    site,
)
from tests.unit.lab.serving import HTTP as TCP
from tests.unit.lab.serving import HTTP_BACKEND as TCP_BACKEND
from tests.unit.lab.serving import endpoint_slice, service

pytestmark = pytest.mark.packets
ADDRESS = {4: "10.96.0.50", 6: "fd00:10:96::50"}
EXTERNAL = {4: "198.51.100.7", 6: "2001:db8:51::7"}
NODE_PORT = 30080
READY = {"ready": True, "serving": True, "terminating": False}
UDP: Json = {"name": "dns", "port": 53, "targetPort": 8080, "protocol": "UDP"}
UDP_BACKEND: Json = {"name": "dns", "port": 8080, "protocol": "UDP"}
REACHED = {**TCP, "nodePort": NODE_PORT}


@pytest.fixture(scope="module")
def shared(namespaces: None) -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
def here(shared: Site) -> Iterator[Site]:
    """Both proxies, with nothing delivered yet."""
    for node in shared.nodes:
        node.begin_anew()
        node.start_proxy()
    yield shared
    for node in shared.nodes:
        node.stop_proxy()


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


def both(name: str, *ports: Json, **spec: Any) -> Object:
    """A Service with an address in each family."""
    return service(name, [ADDRESS[4], ADDRESS[6]], *ports, **spec)


def slices(name: str, *pods: Place, ports: tuple[Json, ...] = (TCP_BACKEND,), **conditions: bool) -> list[Object]:
    """Its slices, one a family, in which all pods are alike."""
    said = READY | conditions
    return [
        endpoint_slice(name, ports, *(endpoint(pod, v) | {"conditions": said} for pod in pods), name=f"{name}-v{v}")
        for v in (4, 6)
    ]


def names(*pods: Place) -> set[str]:
    return {pod.name for pod in pods}


def test_connections_to_a_cluster_address_are_spread_over_all_endpoints(here: Site, family: int) -> None:
    here.deliver(both("web", TCP), *slices("web", *here.pods))
    for source in (here.pods[0], here.pods[3], here.nodes[0]):
        becomes(names(*here.pods), source.asks, 60, ADDRESS[family], 80)


def test_pods_see_the_client_itself_behind_a_cluster_address(here: Site, family: int) -> None:
    here.deliver(both("web", TCP), *slices("web", here.pods[3]))
    client, server = here.pods[0], here.pods[3]
    becomes(f"{server.name} {client.addresses[family]}", lambda: client.ask(ADDRESS[family], 80))


def test_udp_is_translated_too(here: Site, family: int) -> None:
    here.deliver(both("dns", UDP), *slices("dns", here.pods[3], ports=(UDP_BACKEND,)))
    becomes(
        f"{here.pods[3].name} {here.pods[0].addresses[family]}",
        lambda: here.pods[0].ask(ADDRESS[family], 53, "udp"),
    )


def test_a_port_leads_to_what_pods_call_by_its_name(here: Site, family: int) -> None:
    """Pods of two slices may have other numbers behind one name."""
    first, second = here.pods[0], here.pods[3]
    other = {**TCP_BACKEND, "port": 8081}
    here.deliver(
        both("web", TCP),
        endpoint_slice("web", [TCP_BACKEND], endpoint(first, family), name="a"),
        endpoint_slice("web", [other], endpoint(second, family), name="b"),
    )
    becomes(names(first, second), lambda: here.pods[1].asks(40, ADDRESS[family], 80))


def test_without_endpoints_a_connection_is_refused_at_once(here: Site, family: int) -> None:
    ports = [TCP, {**UDP, "nodePort": 30053}]
    here.deliver(both("web", {**TCP, "nodePort": NODE_PORT}, ports[1], type="NodePort"))
    node = here.nodes[0].addresses[family]
    for source in (here.pods[0], here.nodes[0]):
        becomes(REFUSED, source.ask, ADDRESS[family], 80)
        assert source.ask(node, NODE_PORT) == REFUSED
    assert here.pods[0].ask(ADDRESS[family], 53, "udp") == REFUSED
    assert here.nodes[0].ask(ADDRESS[family], 53, "udp") == "Operation not permitted", "what its own sockets are told"
    assert here.outside.ask(node, NODE_PORT) == REFUSED
    assert here.outside.ask(node, 30053, "udp") == REFUSED


def test_a_port_that_the_service_does_not_have_is_refused(here: Site, family: int) -> None:
    here.deliver(both("web", TCP), *slices("web", *here.pods))
    becomes(REFUSED, lambda: here.pods[0].ask(ADDRESS[family], 81))


def test_a_pod_reaches_itself_through_its_service(here: Site, family: int) -> None:
    """It is masqueraded: else the answer would never pass the translation."""
    pod, node = here.pods[0], here.nodes[0]
    here.deliver(both("web", TCP), *slices("web", pod))
    becomes(f"{pod.name} {node.addresses[family]}", lambda: pod.ask(ADDRESS[family], 80))


def test_a_pod_of_the_host_network_is_an_endpoint(here: Site, family: int) -> None:
    server = here.nodes[0]
    here.deliver(
        both("web", TCP),
        *(endpoint_slice("web", [TCP_BACKEND], endpoint(server, v, node=server.name)) for v in (4, 6)),
    )
    for source in (server, here.nodes[1], here.pods[0], here.pods[3]):
        becomes(f"{server.name} {source.addresses[family]}", source.ask, ADDRESS[family], 80)


def test_a_headless_service_has_nothing_to_translate(here: Site) -> None:
    here.deliver(service("web", ["None"], TCP), both("other", {**TCP, "port": 90}), *slices("web", *here.pods))
    becomes(REFUSED, lambda: here.pods[0].ask(ADDRESS[4], 80))


def test_a_service_of_one_family_has_no_front_in_the_other(here: Site) -> None:
    spec = {"type": "NodePort"}
    here.deliver(service("web", [ADDRESS[4]], REACHED, **spec), *slices("web", *here.pods))
    becomes(names(*here.pods), lambda: here.pods[0].asks(60, ADDRESS[4], 80))
    assert here.outside.ask(here.nodes[0].addresses[6], NODE_PORT) == REFUSED, "by the node itself"


# --- from outside ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_a_node_port_leads_from_every_node_to_every_endpoint(here: Site, family: int, kind: str) -> None:
    here.deliver(both("web", REACHED, type=kind), *slices("web", *here.pods))
    for node in here.nodes:
        address = node.addresses[family]
        becomes(names(*here.pods), here.outside.asks, 60, address, NODE_PORT)


def test_node_ports_are_masqueraded_so_that_answers_find_back(here: Site, family: int) -> None:
    here.deliver(both("web", REACHED, type="NodePort"), *slices("web", here.pods[3]))
    node = here.nodes[0].addresses[family]
    becomes(f"{here.pods[3].name} {node}", lambda: here.outside.ask(node, NODE_PORT))


def test_local_keeps_the_client_and_drops_where_no_endpoint_is(here: Site, family: int) -> None:
    here.deliver(both("web", REACHED, type="NodePort", externalTrafficPolicy="Local"), *slices("web", here.pods[3]))
    with_one, without = here.nodes[1].addresses[family], here.nodes[0].addresses[family]
    becomes(f"{here.pods[3].name} {OUTSIDE[family]}", lambda: here.outside.ask(with_one, NODE_PORT))
    becomes(SILENT, lambda: here.outside.ask(without, NODE_PORT))


def test_pods_and_nodes_reach_a_local_node_port_wherever_its_endpoints_are(here: Site, family: int) -> None:
    here.deliver(both("web", REACHED, type="NodePort", externalTrafficPolicy="Local"), *slices("web", here.pods[3]))
    node, pod, server = here.nodes[0], here.pods[0], here.pods[3]
    for source in (node, pod):
        becomes(f"{server.name} {source.addresses[family]}", source.ask, node.addresses[family], NODE_PORT)


def test_external_addresses_lead_to_the_endpoints(here: Site, family: int) -> None:
    here.deliver(both("web", TCP, externalIPs=[EXTERNAL[4], EXTERNAL[6]]), *slices("web", here.pods[3]))
    node = here.nodes[0].addresses[family]
    becomes(f"{here.pods[3].name} {node}", lambda: here.pods[0].ask(EXTERNAL[family], 80))
    here.deliver(both("web", TCP, externalIPs=[EXTERNAL[4], EXTERNAL[6]]), *slices("web"))
    becomes(REFUSED, lambda: here.pods[0].ask(EXTERNAL[family], 80))


def test_internal_local_leads_to_this_nodes_endpoints_only(here: Site, family: int) -> None:
    here.deliver(both("web", TCP, internalTrafficPolicy="Local"), *slices("web", *here.pods[2:]))
    becomes(names(*here.pods[2:]), lambda: here.pods[2].asks(40, ADDRESS[family], 80))
    becomes(SILENT, lambda: here.pods[0].ask(ADDRESS[family], 80))
    here.deliver(*slices("web", *here.pods))
    becomes(names(*here.pods[:2]), lambda: here.pods[0].asks(40, ADDRESS[family], 80))


# --- which endpoints ------------------------------------------------------------------------------------------------


def test_an_endpoint_that_is_not_ready_gets_nothing(here: Site, family: int) -> None:
    here.deliver(
        both("web", TCP),
        endpoint_slice(
            "web",
            [TCP_BACKEND],
            endpoint(here.pods[0], family),
            endpoint(here.pods[1], family, ready=False, serving=False),
            endpoint(here.pods[2], family, ready=False, serving=True, terminating=True),
        ),
    )
    becomes(names(here.pods[0]), lambda: here.pods[3].asks(40, ADDRESS[family], 80))


def test_endpoints_that_end_serve_while_no_other_is_ready(here: Site, family: int) -> None:
    ending = slices("web", here.pods[0], ready=False, serving=True, terminating=True)
    here.deliver(both("web", TCP), *ending)
    becomes(names(here.pods[0]), lambda: here.pods[3].asks(5, ADDRESS[family], 80))
    here.deliver(*slices("web", here.pods[0], ready=False, serving=False, terminating=True))
    becomes(REFUSED, lambda: here.pods[3].ask(ADDRESS[family], 80))


def test_a_service_that_is_gone_is_reached_no_more(here: Site, family: int) -> None:
    web = both("web", TCP)
    here.deliver(web, *slices("web", *here.pods), service("other", ["10.96.0.51"], TCP))
    becomes(names(*here.pods), lambda: here.pods[0].asks(60, ADDRESS[family], 80))
    here.deliver(gone=[web])
    becomes(False, lambda: bool(here.pods[0].asks(1, ADDRESS[family], 80) & names(*here.pods)))


# --- who had what before --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cluster address", "node port"])
def test_a_client_stays_with_its_endpoint(here: Site, family: int, kind: str) -> None:
    web = both("web", REACHED, type="NodePort", sessionAffinity="ClientIP")
    here.deliver(web, *slices("web", *here.pods))
    address = ADDRESS[family] if kind == "cluster address" else here.nodes[0].addresses[family]
    port = 80 if kind == "cluster address" else NODE_PORT
    source = here.pods[0] if kind == "cluster address" else here.outside
    becomes(1, lambda: len(source.asks(20, address, port) & names(*here.pods)))
    if kind == "cluster address":
        every = [tuple(one.asks(10, address, port)) for one in (*here.pods, *here.nodes)]
        assert all(len(one) == 1 for one in every)


def test_affinity_ends_with_its_timeout(here: Site) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    here.deliver(both("web", TCP, sessionAffinity="ClientIP", sessionAffinityConfig=config), *slices("web", *here.pods))
    becomes(1, lambda: len(here.pods[0].asks(20, ADDRESS[4], 80) & names(*here.pods)))
    seen: set[str] = set()
    for _ in range(8):
        time.sleep(1.2)
        seen |= here.pods[0].asks(1, ADDRESS[4], 80)
    assert len(seen) > 1


def test_affinity_outlives_other_endpoints_and_a_proxy_that_starts_again(here: Site, family: int) -> None:
    web = both("web", TCP, sessionAffinity="ClientIP")
    client = here.pods[0]
    here.deliver(web, *slices("web", *here.pods))
    becomes(1, lambda: len(client.asks(5, ADDRESS[family], 80) & names(*here.pods)))
    (mine,) = client.asks(1, ADDRESS[family], 80)
    others = [pod for pod in here.pods if pod.name != mine]
    kept = [pod for pod in here.pods if pod.name == mine] + others[:2]
    here.deliver(*slices("web", *kept))
    becomes({mine}, lambda: client.asks(20, ADDRESS[family], 80))
    node = here.nodes[0]
    node.stop_proxy()
    node.start_proxy()
    here.deliver(web, *slices("web", *kept))
    becomes(True, lambda: node.proxy is not None and node.proxy.transactions > 0)
    assert client.asks(20, ADDRESS[family], 80) == {mine}
    here.deliver(*slices("web", *others))
    becomes(1, lambda: len(client.asks(20, ADDRESS[family], 80) & names(*others)))


def test_udp_from_one_port_moves_on_when_its_endpoint_is_gone(here: Site, family: int) -> None:
    """Without anybody's help the entry would lead to the old endpoint as long as the client sends."""
    client = here.pods[0].namespace.run(
        lambda: socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    )
    with client:
        here.deliver(both("dns", UDP), *slices("dns", here.pods[2], ports=(UDP_BACKEND,)))
        source = here.pods[0]
        own = source.addresses[family]
        becomes(f"{here.pods[2].name} {own}", lambda: source.ask(ADDRESS[family], 53, "udp", client))
        here.deliver(*slices("dns", here.pods[3], ports=(UDP_BACKEND,)))
        becomes(f"{here.pods[3].name} {own}", lambda: source.ask(ADDRESS[family], 53, "udp", client))


def test_udp_that_was_sent_before_there_was_a_service_is_translated_afterwards(here: Site, family: int) -> None:
    client = here.pods[0].namespace.run(
        lambda: socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    )
    with client:
        here.deliver(service("other", ["10.96.0.51"], TCP))
        source = here.pods[0]
        assert source.ask(ADDRESS[family], 53, "udp", client) in (SILENT, REFUSED)
        here.deliver(both("dns", UDP), *slices("dns", here.pods[3], ports=(UDP_BACKEND,)))
        becomes(
            f"{here.pods[3].name} {source.addresses[family]}",
            lambda: source.ask(ADDRESS[family], 53, "udp", client),
        )
