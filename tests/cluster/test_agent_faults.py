"""What goes wrong around an agent: policy stays enforced as last known, never opens, comes back, and it is said."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gatewright.kernel.nft import Nft
from tests.cluster.agents import POLICIES, AgentOnNode, agent_on_node

pytestmark = [pytest.mark.packets, pytest.mark.cluster]
DB = {"podSelector": {"matchLabels": {"app": "p1"}}}
FROM_P0 = {"from": [{"podSelector": {"matchLabels": {"app": "p0"}}}], "ports": [{"port": 80}]}


@pytest.fixture
def agent(namespaces: None, tmp_path: Path) -> Iterator[AgentOnNode]:
    with agent_on_node(tmp_path) as made:
        made.policy("db", **DB, ingress=[FROM_P0])
        made.becomes(False, 2, 1)
        yield made


def nft(agent: AgentOnNode, text: str) -> None:
    """What another program of the node does to the packet filter."""
    agent.where.namespace.run(lambda: Nft().run(text))


def test_a_killed_agent_leaves_policies_in_force_and_the_next_one_goes_on(agent: AgentOnNode) -> None:
    agent.kill()
    assert not agent.reaches(2, 1)
    agent.no_policy("db")
    agent.policy("other", podSelector={"matchLabels": {"app": "p0"}})
    assert not agent.reaches(2, 1)
    agent.start()
    agent.becomes(True, 2, 1)
    agent.becomes(False, 1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "flush ruleset",
        "delete table inet gatewright",
        "add element inet gatewright ingress/shop/db/ports4 { 10.77.0.3 . tcp . 80 }",
        "insert rule inet gatewright police accept",
        "delete element inet gatewright ingress4 { 10.77.0.2 }",
    ],
)
def test_what_another_program_does_to_the_table_is_put_back(agent: AgentOnNode, text: str) -> None:
    nft(agent, text)
    agent.until(lambda: agent.status()["programmed"]["repairs"] == 1, "repaired")
    agent.becomes(False, 2, 1)
    assert agent.reaches(0, 1)
    assert "was altered (table" in agent.log
    assert agent.status()["state"] == "in step"


def test_tables_of_others_are_none_of_our_business(agent: AgentOnNode) -> None:
    for number in range(300):
        nft(agent, f"add table inet other{number % 3}\nadd chain inet other{number % 3} c{number}\n")
    agent.policy("more", podSelector={"matchLabels": {"app": "p0"}})
    agent.becomes(False, 1, 0)
    assert agent.status()["programmed"]["repairs"] == 0
    tables = agent.where.namespace.run(partial(subprocess.check_output, ["nft", "list", "tables"], text=True))
    assert sorted(tables.split()[2::3]) == ["gatewright", "other0", "other1", "other2"]


def test_a_table_of_another_version_is_replaced_without_an_open_moment(agent: AgentOnNode) -> None:
    """What stands in the table is not ours in any way, and drops what policies forbid; at no time does it pass."""
    agent.end()
    drop = "add rule inet gatewright f ip saddr 10.77.0.3 ip daddr 10.77.0.2 drop"
    chain = "add chain inet gatewright f { type filter hook forward priority 0; }"
    nft(agent, f"delete table inet gatewright\nadd table inet gatewright\n{chain}\n{drop}\n")
    with attempts(agent, 2, 1) as passed:
        agent.start()
        agent.in_step()
        agent.becomes(True, 0, 1)
    assert passed == []


def test_without_the_api_server_policies_stay_and_the_status_says_since_when(agent: AgentOnNode) -> None:
    agent.api.token = "another"
    agent.api.drop()
    agent.until(lambda: agent.status()["state"] == "stale", "stale", within=30)
    assert not agent.reaches(2, 1)
    assert any("Unauthorized" in problem for problem in agent.status()["problems"])
    agent.no_policy("db")
    agent.policy("other", podSelector={"matchLabels": {"app": "p0"}})
    agent.api.token = ""
    agent.until(lambda: agent.status()["state"] == "in step", "in step again", within=60)
    agent.becomes(True, 2, 1)
    agent.becomes(False, 1, 0)
    assert agent.status()["problems"] == []
    agent.until(lambda: "watch of Pod: well again" in agent.log, "it is logged")
    assert agent.log.count("error: watch of Pod") == 1


def test_a_deletion_that_nobody_told_is_not_lost(agent: AgentOnNode) -> None:
    """The watch breaks off, a policy goes, and the server forgets its history: 410, and a list."""
    with agent.api.changed:
        agent.api.stores[POLICIES].delete("db")
        agent.api.stores[POLICIES].compact()
        agent.api.expired += 1
        agent.api.changed.notify_all()
    agent.becomes(True, 2, 1)


def test_an_event_that_is_cut_in_the_middle_counts_when_it_comes_whole(agent: AgentOnNode) -> None:
    agent.api.cut += [40, 200, 300]
    agent.api.drop()
    for number in range(5):
        agent.policy(f"more{number}", podSelector={"matchLabels": {"app": "p0"}}, ingress=[FROM_P0])
    agent.until(lambda: agent.status()["programmed"]["policies"] == 6, "all policies", within=30)
    agent.becomes(False, 2, 0)


def test_a_peer_of_a_newer_api_matches_nothing(agent: AgentOnNode) -> None:
    newer = {"from": [{"podSelector": {"matchLabels": {"app": "p0"}}}, {"serviceSelector": {"name": "p2"}}]}
    agent.policy("db", **DB, ingress=[newer])
    agent.until(lambda: agent.status()["problems"] != [], "it is said")
    assert "serviceSelector" in str(agent.status()["problems"])
    assert not agent.reaches(2, 1)
    assert agent.reaches(0, 1)


def test_a_policy_that_cannot_be_read_keeps_its_last_good_version(agent: AgentOnNode) -> None:
    agent.policy("db", **DB, ingress="everything")
    agent.until(lambda: agent.status()["problems"] != [], "it is said")
    assert not agent.reaches(2, 1)
    assert agent.reaches(0, 1)


def test_a_new_policy_that_cannot_be_read_isolates(agent: AgentOnNode) -> None:
    agent.policy("bad", podSelector={"matchLabels": {"app": "p0"}}, ingress="everything")
    agent.becomes(False, 1, 0)
    assert agent.status()["problems"] != []


def test_a_thousand_changes_a_second_end_in_the_last_state(agent: AgentOnNode) -> None:
    began = time.monotonic()
    for number in range(1000):
        agent.policy(f"p{number % 50}", podSelector={"matchLabels": {"app": "p0"}}, ingress=[FROM_P0])
        time.sleep(max(0.0, began + number / 1000 - time.monotonic()))
    for number in range(50):
        agent.no_policy(f"p{number}")
    agent.no_policy("db")
    agent.until(lambda: agent.status()["programmed"]["policies"] == 0, "all are gone")
    agent.becomes(True, 2, 1)
    assert agent.status()["programmed"]["failures"] == 0
    assert agent.status()["programmed"]["repairs"] == 0


def test_two_agents_do_not_share_a_node(agent: AgentOnNode) -> None:
    words = ("agent", "run", "--node", "n", "--kubeconfig", str(agent.folder / "kubeconfig"))
    refused = agent.command(*words, "--metrics-address", "", code=2)
    assert "NFLOG group 100 is already read by another program" in refused
    refused = agent.command(*words, "--metrics-address", "", "--log-group", "101", code=2)
    assert "another agent answers there" in refused
    refused = agent.command(*words, "--no-log", code=2)
    assert len(refused.splitlines()) == 1
    assert not agent.reaches(2, 1)


def test_a_cluster_that_cannot_be_found_is_one_error(namespaces: None, tmp_path: Path) -> None:
    with agent_on_node(tmp_path, 1, start=False) as agent:
        refused = agent.command("agent", "run", "--kubeconfig", str(tmp_path / "none"), code=2)
        assert refused.count("\n") == 1
        assert "none" in refused


@contextlib.contextmanager
def attempts(agent: AgentOnNode, source: int, destination: int) -> Iterator[list[float]]:
    """New datagrams from a pod to another, every few milliseconds until the block ends; when one came through."""
    import socket

    target = (str(agent.where.pods[destination].addresses[4]), 80)
    passed: list[float] = []
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            with agent.where.pods[source].namespace.run(
                lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ) as one:
                one.settimeout(0.02)
                one.sendto(b"?", target)
                with contextlib.suppress(OSError):
                    one.recv(16)
                    passed.append(time.monotonic())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield passed
    finally:
        ended.set()
        thread.join()
