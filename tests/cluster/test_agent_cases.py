"""What operators trip over, one case each, through a real agent: addresses, names and labels that are used again."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from gatewright.kernel.nft import Nft
from tests.cluster.agents import NODE, PODS, POLICIES, AgentOnNode, agent_on_node
from tests.packets.netns import TCP, UDP, Probe

pytestmark = [pytest.mark.packets, pytest.mark.cluster]
Json = dict[str, Any]
COUNT = 4
SERVICE = {4: "10.96.0.10", 6: "fd96::10"}
_PROXY = f"""
table inet proxy {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {SERVICE[4]} dnat ip to 10.77.0.1
    ip6 daddr {SERVICE[6]} dnat ip6 to fd77::1
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr 10.77.0.1 ip daddr 10.77.0.1 masquerade
    ip6 saddr fd77::1 ip6 daddr fd77::1 masquerade
  }}
}}
"""


@pytest.fixture
def agent(namespaces: None, tmp_path: Path) -> Iterator[AgentOnNode]:
    with agent_on_node(tmp_path, COUNT) as made:
        yield made


def app(name: str) -> Json:
    """A selector."""
    return {"matchLabels": {"app": name}}


def put(agent: AgentOnNode, name: str, number: int, labels: Json, phase: str = "Running") -> None:
    """A pod of any name with the addresses of a namespace."""
    ips = [{"ip": str(address)} for address in agent.where.pods[number].addresses.values()]
    status = {"phase": phase, "podIP": ips[0]["ip"], "podIPs": ips}
    with agent.api.change(PODS) as store:
        store.put(name, metadata={"labels": labels}, spec={"nodeName": NODE, "containers": []}, status=status)


def gone(agent: AgentOnNode, name: str) -> None:
    """A pod is deleted."""
    with agent.api.change(PODS) as store:
        store.delete(name)


def test_a_pod_reaches_itself_through_its_service_where_a_policy_says_so(agent: AgentOnNode) -> None:
    agent.where.namespace.run(lambda: Nft().run(_PROXY))
    assert by_service(agent) == [True, True, True, True]
    agent.policy("nothing", podSelector={}, policyTypes=["Ingress", "Egress"])
    agent.becomes(False, 0, 1)
    assert by_service(agent) == [False, False, False, False]
    peers = [{"podSelector": app("p0")}]
    agent.policy("itself", podSelector=app("p0"), ingress=[{"from": peers}], egress=[{"to": peers}])
    agent.until(lambda: by_service(agent) == [True, True, False, False], "p0 reaches itself, p1 does not reach it")


def by_service(agent: AgentOnNode) -> list[bool]:
    """Whether p0, its only endpoint, and then p1 reach the Service, in each family."""
    probes = [Probe(source, ip_address(address), TCP, 80) for source in (0, 1) for address in SERVICE.values()]
    return agent.where.passes(probes)


def test_an_address_of_a_finished_pod_is_its_next_owner_s_alone(agent: AgentOnNode) -> None:
    agent.policy("job", podSelector=app("job"))
    put(agent, "p1", 1, {"app": "job"})
    agent.becomes(False, 0, 1)
    put(agent, "p1", 1, {"app": "job"}, phase="Succeeded")
    put(agent, "web", 1, {"app": "web"})
    agent.becomes(True, 0, 1)
    agent.policy("from-jobs", podSelector=app("p2"), ingress=[{"from": [{"podSelector": app("job")}]}])
    agent.becomes(False, 1, 2)
    agent.policy("from-web", podSelector=app("p2"), ingress=[{"from": [{"podSelector": app("web")}]}])
    agent.becomes(True, 1, 2)


def test_a_pod_that_comes_again_under_its_name_has_its_new_labels_and_address(agent: AgentOnNode) -> None:
    agent.policy("old", podSelector=app("old"))
    put(agent, "p1", 1, {"app": "old"})
    agent.becomes(False, 0, 1)
    gone(agent, "p3")
    gone(agent, "p1")
    put(agent, "p1", 3, {"app": "new"})
    agent.becomes(True, 0, 1)
    agent.policy("new", podSelector=app("new"))
    agent.becomes(False, 0, 3)
    assert agent.reaches(0, 1)


def test_a_connection_that_two_rules_allow_ends_with_the_second(agent: AgentOnNode) -> None:
    agent.policy("by-pod", podSelector=app("p1"), ingress=[{"from": [{"podSelector": app("p0")}]}])
    agent.policy("by-port", podSelector=app("p1"), ingress=[{"ports": [{"port": 80}]}])
    agent.becomes(False, 2, 1, port=81)
    assert agent.reaches(0, 1)
    agent.no_policy("by-pod")
    agent.becomes(False, 0, 1, port=81)
    assert agent.reaches(0, 1)
    agent.policy("by-port", podSelector=app("p1"), ingress=[{"ports": [{"port": 81}]}])
    agent.becomes(False, 0, 1)
    assert agent.reaches(0, 1, port=81)


def test_two_hundred_policies_on_one_pod_add_up(agent: AgentOnNode) -> None:
    ports = range(1000, 1200)
    rules = {port: [{"from": [{"podSelector": app("p0")}], "ports": [{"port": port}]}] for port in ports}
    with agent.api.change(POLICIES) as store:
        for port, ingress in rules.items():
            store.put(f"port-{port}", spec={"podSelector": app("p1"), "ingress": ingress})
    agent.becomes(False, 0, 1, port=1200)
    assert all(agent.reaches(0, 1, port=port, family=family) for port in (1000, 1077, 1199) for family in (4, 6))
    assert not agent.reaches(2, 1, port=1077)
    assert not agent.reaches(0, 1, port=1077, protocol=UDP)
    with agent.api.change(POLICIES) as store:
        for port in ports[1:]:
            store.delete(f"port-{port}")
    agent.becomes(False, 0, 1, port=1077)
    assert agent.reaches(0, 1, port=1000)


BLOCKS: dict[str, tuple[list[Json], set[int]]] = {
    "every IPv4 address": ([{"cidr": "0.0.0.0/0"}], {0, 2, 3}),
    "every IPv4 address but one": ([{"cidr": "0.0.0.0/0", "except": ["10.77.0.3/32"]}], {0, 3}),
    "the lower half": ([{"cidr": "0.0.0.0/1", "except": ["10.77.0.0/31"]}], {2, 3}),
    "the upper half": ([{"cidr": "128.0.0.0/1"}], set()),
    "both halves": ([{"cidr": "0.0.0.0/1"}, {"cidr": "128.0.0.0/1"}], {0, 2, 3}),
    "a pair": ([{"cidr": "10.77.0.2/31"}], {2}),
    "a pair but one": ([{"cidr": "10.77.0.2/31", "except": ["10.77.0.3/32"]}], set()),
    "excepts in one another": (
        [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.77.0.0/30", "10.77.0.1/32"]}],
        set(),
    ),
    "what one block leaves out another has": (
        [{"cidr": "0.0.0.0/0", "except": ["10.77.0.0/24"]}, {"cidr": "10.77.0.4/32"}],
        {3},
    ),
    "every IPv6 address": ([{"cidr": "::/0"}], {0, 2, 3}),
    "every IPv6 address but a pair": ([{"cidr": "::/0", "except": ["fd77::2/127"]}], {0, 3}),
    "an IPv6 pair": ([{"cidr": "fd77::2/127"}], {2}),
    "the upper half of IPv6": ([{"cidr": "8000::/1", "except": ["fd77::/64"]}, {"cidr": "fd77::4/128"}], {3}),
}


def test_blocks_hold_exactly_their_addresses(agent: AgentOnNode) -> None:
    """p1 lets in a block; who of the others is in it gets through, in the block's family alone."""
    wrong = []
    for number, (name, (blocks, inside)) in enumerate(BLOCKS.items()):
        family = 6 if ":" in blocks[0]["cidr"] else 4
        mark = 1000 + number
        rule = {"from": [{"ipBlock": block} for block in blocks]}
        agent.policy("blocks", podSelector=app("p1"), ingress=[rule, {"ports": [{"port": mark}]}])
        agent.becomes(True, 0, 1, port=mark, family=10 - family)
        addresses = agent.where.pods[1].addresses
        probes = [Probe(source, addresses[each], TCP, 80) for each in (family, 10 - family) for source in (0, 2, 3)]
        passed = agent.where.passes(probes)
        seen = {probe.source for probe, got in zip(probes[:3], passed[:3], strict=True) if got}
        if seen != inside or any(passed[3:]):
            wrong.append(f"{name}: {seen}, of the other family {passed[3:]}")
    assert wrong == []
