"""The agent on a node: what the cluster says is what packets do, what is dropped is told, and what stands is said."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gatewright.agent.connections import ONCE_MORE
from tests.cluster.agents import CLUSTER_POLICIES, NAMESPACES, PODS, AgentOnNode, agent_on_node
from tests.packets.netns import UDP
from tests.unit.kubeapi.store import Store

pytestmark = [pytest.mark.packets, pytest.mark.cluster]
DB = {"podSelector": {"matchLabels": {"app": "p1"}}}
FROM_P0 = {"from": [{"podSelector": {"matchLabels": {"app": "p0"}}}], "ports": [{"port": 80}]}


@pytest.fixture
def agent(namespaces: None, tmp_path: Path) -> Iterator[AgentOnNode]:
    with agent_on_node(tmp_path) as made:
        yield made


def test_a_policy_isolates_lets_in_whom_it_names_and_goes(agent: AgentOnNode) -> None:
    assert agent.reaches(0, 1)
    assert agent.reaches(2, 1)
    agent.policy("db", **DB, ingress=[FROM_P0])
    agent.becomes(False, 2, 1)
    assert agent.reaches(0, 1)
    assert agent.reaches(0, 1, family=6)
    assert not agent.reaches(0, 1, port=81)
    assert not agent.reaches(2, 1, family=6)
    agent.no_policy("db")
    agent.becomes(True, 2, 1)


def test_pods_come_are_relabelled_and_go(agent: AgentOnNode) -> None:
    agent.policy("db", **DB, ingress=[FROM_P0])
    agent.becomes(False, 2, 1)
    agent.pod(2, labels={"app": "p0"})
    agent.becomes(True, 2, 1)
    with agent.api.change(PODS) as store:
        store.delete("p2")
    agent.becomes(False, 2, 1)


def test_a_namespace_that_is_labelled_is_let_in(agent: AgentOnNode) -> None:
    selector = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    agent.policy("db", **DB, ingress=[{"from": [selector]}])
    agent.becomes(False, 0, 1)
    with agent.api.change(NAMESPACES) as store:
        store.put("shop", "", metadata={"labels": {"team": "a"}})
    agent.becomes(True, 0, 1)


def test_egress_is_policed_and_udp_is_not_tcp(agent: AgentOnNode) -> None:
    to = {"to": [{"podSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]}
    agent.policy("out", podSelector={"matchLabels": {"app": "p0"}}, policyTypes=["Egress"], egress=[to])
    agent.becomes(False, 0, 1)
    assert agent.reaches(0, 1, port=53, protocol=UDP)
    assert not agent.reaches(0, 1, port=54, protocol=UDP)
    assert agent.reaches(1, 0)


def test_a_cluster_policy_denies_before_network_policies(namespaces: None, tmp_path: Path) -> None:
    with agent_on_node(tmp_path, start=False) as agent:
        agent.api.stores[CLUSTER_POLICIES] = Store()
        agent.start()
        agent.in_step()
        agent.policy("all", podSelector={}, ingress=[{}])
        deny = {
            "action": "Deny",
            "from": [{"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "p2"}}}}],
        }
        with agent.api.change(CLUSTER_POLICIES) as store:
            spec = {"tier": "Admin", "priority": 10, "subject": {"namespaces": {}}, "ingress": [deny]}
            store.put("guard", "", spec=spec)
        agent.becomes(False, 2, 1)
        assert agent.reaches(0, 1)
        agent.until(lambda: "a rule denies it: ClusterNetworkPolicy guard" in agent.command("flows"), "told")


def test_the_node_always_reaches_its_pods(agent: AgentOnNode) -> None:
    agent.policy("deny", podSelector={})
    agent.becomes(False, 0, 1)
    assert all(agent.where.from_node([pod.addresses[family] for pod in agent.where.pods for family in (4, 6)]))


def test_a_change_ends_connections_that_it_forbids(agent: AgentOnNode) -> None:
    with connection(agent) as open_one:
        agent.policy("db", **DB)
        agent.until(lambda: is_cut(open_one), "the connection ends")
        assert agent.status()["programmed"]["connectionsEnded"] == 1


def test_connections_are_kept_where_it_is_asked_for(namespaces: None, tmp_path: Path) -> None:
    with agent_on_node(tmp_path, 3, "--keep-connections") as agent, connection(agent) as open_one:
        agent.policy("db", **DB)
        agent.until(lambda: agent.status()["programmed"]["pods"] == 1, "programmed")
        time.sleep(2 * ONCE_MORE)
        assert not is_cut(open_one)
    assert not agent.log.count("error")


def test_a_drop_is_told_with_pod_peer_port_and_policy(agent: AgentOnNode) -> None:
    agent.policy("db", **DB, ingress=[FROM_P0])
    agent.becomes(False, 2, 1)
    agent.until(lambda: agent.command("flows") != "", "a flow is told")
    one = json.loads(agent.command("flows", "-o", "json", "--tail", "1"))
    assert one["pod"] == "shop/p1"
    assert one["source"]["pod"] == "shop/p2"
    assert one["destination"] == {"address": "10.77.0.2", "pod": "shop/p1", "port": 80}
    assert (one["action"], one["direction"], one["protocol"]) == ("dropped", "Ingress", "TCP")
    assert one["policies"] == ["NetworkPolicy shop/db"]
    assert agent.command("flows", "--pod", "p0") == ""
    assert agent.command("flows", "-n", "shop") != ""


def test_flows_are_followed(agent: AgentOnNode) -> None:
    command = ["flows", "--follow", "-o", "json"]
    following = agent.process(*command)
    agent.policy("db", **DB)
    agent.becomes(False, 2, 1)
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["pod"] == "shop/p1"
    agent.end()
    assert following.wait(10) == 0


def test_an_audit_drops_nothing_and_tells_everything(namespaces: None, tmp_path: Path) -> None:
    with agent_on_node(tmp_path, 3, "--audit") as agent:
        agent.policy("deny", podSelector={})
        agent.until(lambda: agent.status()["programmed"]["pods"] == 3, "programmed")
        assert agent.reaches(0, 1)
        agent.until(lambda: "AUDIT" in agent.command("flows"), "told")
        assert "audit: nothing is dropped" in agent.command("agent", "status")


def test_a_borrowed_address_is_dropped(agent: AgentOnNode) -> None:
    """p2 sends as p0, whom the policy lets in."""
    agent.policy("db", **DB, ingress=[FROM_P0])
    agent.becomes(False, 2, 1)
    agent.where.pods[2].namespace.ip(
        ["addr add 10.77.0.1/32 dev eth0", "route replace default via 169.254.1.1 src 10.77.0.1"]
    )
    assert not agent.reaches(2, 1)
    agent.until(lambda: "the source address is not the pod's own" in agent.command("flows"), "told")


def test_an_unknown_pod_starts_closed_and_is_let_in_when_it_is_known(namespaces: None, tmp_path: Path) -> None:
    with agent_on_node(tmp_path, 3, "--start-closed") as agent:
        with agent.api.change(PODS) as store:
            store.delete("p2")
        agent.becomes(False, 2, 1)
        agent.becomes(False, 0, 2)
        assert agent.where.from_node([agent.where.pods[2].addresses[4]]) == [True]
        agent.pod(2)
        agent.becomes(True, 2, 1)
        assert agent.reaches(0, 2)


def test_before_the_first_list_pods_are_closed_only_where_it_is_asked_for(namespaces: None, tmp_path: Path) -> None:
    with agent_on_node(tmp_path, 2, start=False) as agent:
        del agent.api.stores[PODS]
        agent.start()
        agent.until(lambda: agent.status().get("state") == "starting", "starting")
        assert agent.reaches(0, 1)
        agent.kill()
        agent.start("--start-closed")
        agent.becomes(False, 0, 1)
        agent.api.stores[PODS] = Store()
        agent.pod(0)
        agent.pod(1)
        agent.becomes(True, 0, 1)


def test_metrics_and_probes_answer(agent: AgentOnNode) -> None:
    agent.policy("db", **DB)
    agent.becomes(False, 0, 1)
    assert get(agent, "/healthz") == (200, "ok\n")
    assert get(agent, "/readyz") == (200, "in step\n")
    text = get(agent, "/metrics")[1]
    for line in (
        'gatewright_agent_transactions_total{what="replace"} 1.0',
        'gatewright_agent_watch_connected{kind="Pod"} 1.0',
        "gatewright_agent_in_step 1.0",
        "policy_enforcement_latency_policy_creation_seconds_count 1.0",
        'gatewright_agent_event_to_kernel_seconds_count{commit="yes"} 1.0',
    ):
        assert f"\n{line}\n" in text
    assert 'dropped_packets_total{direction="ingress",policies="NetworkPolicy/shop/db"}' in text
    assert get(agent, "/status")[0] == 404
    assert get(agent, "/flows")[0] == 404


def test_denied_connections_become_events(namespaces: None, tmp_path: Path) -> None:
    with agent_on_node(tmp_path, 3, "--events") as agent:
        agent.policy("db", **DB, ingress=[FROM_P0])
        agent.becomes(False, 2, 1)
        agent.until(lambda: len(agent.api.created) > 0, "an Event is written")
        path, made = agent.api.created[0]
        assert path == "/apis/events.k8s.io/v1/namespaces/shop/events"
        assert made["regarding"]["name"] == "p1"
        assert made["related"]["name"] == "p2"
        assert made["note"] == (
            "TCP connection from shop/p2 to port 80 dropped: isolated, and no rule matches (NetworkPolicy shop/db)"
        )


def test_ending_leaves_policies_in_force_and_cleanup_takes_everything_away(agent: AgentOnNode) -> None:
    agent.policy("db", **DB)
    agent.becomes(False, 2, 1)
    refused = agent.command("agent", "cleanup", "--yes", code=2)
    assert "an agent is running" in refused
    agent.end()
    assert not agent.reaches(2, 1)
    assert "taken away" in agent.command("agent", "cleanup", "--yes")
    assert agent.reaches(2, 1)
    assert agent.where.namespace.run(partial(subprocess.check_output, ["nft", "list", "tables"], text=True)) == ""
    assert "no agent answers" in agent.command("agent", "status", code=2)


# --- helpers ----------------------------------------------------------------------------------------------------------


class connection:  # noqa: N801 - read as a verb
    """A connection from p0 to p1 that is open, and answers."""

    def __init__(self, agent: AgentOnNode) -> None:
        target = (str(agent.where.pods[1].addresses[4]), 80)
        self._make = partial(agent.where.pods[0].namespace.run, lambda: socket.create_connection(target, 5))

    def __enter__(self) -> socket.socket:
        self._socket = self._make()
        self._socket.settimeout(0.5)
        assert not is_cut(self._socket)
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def is_cut(open_one: socket.socket) -> bool:
    """Whether a connection no longer answers."""
    try:
        open_one.sendall(b"?")
        return open_one.recv(16) != b"?"
    except OSError:
        return True


def get(agent: AgentOnNode, path: str) -> tuple[int, str]:
    """(status, body) of the agent's port."""
    command = ["curl", "-s", "-w", "%{http_code}", f"http://127.0.0.1:9469{path}"]
    text = agent.where.namespace.run(partial(subprocess.check_output, command, text=True, timeout=10))
    return int(text[-3:]), text[:-3]
