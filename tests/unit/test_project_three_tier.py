"""The example's manifests mean what its page says: which of the components reach each other in each state."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import verdict
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy
from gatewright.sources.files import read

EXAMPLE = Path(__file__).parents[2] / "examples" / "three-tier"
DB_POLICY = str(EXAMPLE / "policies" / "db-policy.yaml")
POLICIES = str(EXAMPLE / "policies")
PORTS = {"web": 80, "api": 5000, "db": 3306}
PAIRS = [(source, destination) for source in PORTS for destination in PORTS if source != destination]


def objects(*paths: str) -> tuple[Object, ...]:
    """The manifests' objects; none may have a problem."""
    parsed = read(paths)
    assert parsed.problems == ()
    return parsed.objects


def open_pairs(*paths: str, port: int | None = None) -> set[tuple[str, str]]:
    """Which component reaches which, on the destination's own port or on the one given."""
    compiled = compile_snapshot(Snapshot.of(objects(str(EXAMPLE), *paths)))
    pods: dict[str, Endpoint] = {one.name: one for one in compiled.endpoints}
    return {
        (source, destination)
        for source, destination in PAIRS
        if verdict(compiled, pods[source], pods[destination], Protocol.TCP, port or PORTS[destination]).allowed
    }


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        pytest.param([], set(PAIRS), id="no policy: everything is open"),
        pytest.param([DB_POLICY], set(PAIRS) - {("web", "db")}, id="db-policy: web loses the database"),
        pytest.param([POLICIES], {("web", "api"), ("api", "db")}, id="all policies: what the application needs"),
    ],
)
def test_state(paths: list[str], expected: set[tuple[str, str]]) -> None:
    assert open_pairs(*paths) == expected


def test_an_unlisted_port_is_denied_in_both_directions() -> None:
    assert open_pairs(port=8080) == set(PAIRS)
    assert open_pairs(POLICIES, port=8080) == set()


def test_db_policy_is_the_one_of_the_page() -> None:
    (policy,) = objects(DB_POLICY)
    assert isinstance(policy, NetworkPolicy)
    (rule,) = policy.spec.ingress
    assert policy.spec.policy_types == ("Ingress",)
    assert policy.spec.pod_selector.match_labels == {"role": "db"}
    assert [peer.pod_selector and peer.pod_selector.match_labels for peer in rule.from_] == [{"name": "api-pod"}]
    assert [(port.protocol, port.port, port.end_port) for port in rule.ports] == [("TCP", 3306, None)]
