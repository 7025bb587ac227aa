"""The agent on a node: what the cluster says is what packets do, through every change and fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.agents import AgentOnNode, agent_on_node

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
