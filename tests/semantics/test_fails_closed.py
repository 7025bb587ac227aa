"""Rules with a peer or a protocol that is empty or not known yet: Accept matches nothing, Deny and Pass deny all.

No manifest may say such a thing, but an API server newer than this reader may: the policies come from its lists.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewright.objects.api import read_page
from gatewright.objects.kinds import KINDS
from gatewright.objects.meta import Object
from tests.reference.evaluator import End, Reference
from tests.semantics.test_tiers import pod
from tests.subjects import Engine

Json = dict[str, Any]
GROUP = "policy.networking.k8s.io"
EVERYBODY: Json = {"namespaces": {}}
PEERS: list[list[Json]] = [[{}], [{"planets": {}}], [EVERYBODY, {}], [{"planets": {}}, EVERYBODY], []]
PORTS: list[Json] = [{}, {"quic": {}}, {"tcp": {}}, {"tcp": {"sourcePort": 1}}, {"tcp": {"destinationPort": {}}}]
OLD_PORTS: list[Json] = [{}, {"portPair": {}}]


def from_server(obj: Json) -> Object:
    """An object as a list of an API server has it."""
    group = obj["apiVersion"].rpartition("/")[0]
    page = read_page(json.dumps({"items": [obj]}).encode(), obj["kind"], KINDS[group, obj["kind"]], obj["apiVersion"])
    assert page.problems == ()
    return page.objects[0]


def answers(kind: str, direction: str, rule: Json) -> set[str]:
    """What the engine and the reference say of the subject of a policy of one rule, of all traffic that way."""
    version = "v1alpha2" if kind == "ClusterNetworkPolicy" else "v1alpha1"
    # An Accept that is understood would win over the Deny behind it.
    behind = {"action": "Deny", "from" if direction == "ingress" else "to": [EVERYBODY]}
    rules = [rule, behind] if rule["action"] in ("Accept", "Allow") else [rule]
    spec = {"subject": EVERYBODY, "tier": "Admin", "priority": 1, direction: rules}
    if version == "v1alpha1":
        del spec["tier"]
    policy = {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": "p"}, "spec": spec}
    objects = [pod("subject", "10.0.0.1"), pod("other", "10.0.0.2"), policy]
    ends: tuple[End, End] = (("pod", "x", "subject"), ("pod", "x", "other"))
    judges = (Engine(objects, read=from_server), Reference(objects))
    traffic = (("TCP", 80), ("TCP", 1), ("UDP", 53), ("SCTP", 9), ("ICMP", None))
    return {judge.connection(*ends, protocol, port) for judge in judges for protocol, port in traffic}


@pytest.mark.parametrize(("direction", "side"), [("ingress", "from"), ("egress", "to")])
@pytest.mark.parametrize("action", ["Accept", "Deny", "Pass"])
@pytest.mark.parametrize("peers", PEERS, ids=str)
def test_peers_that_say_nothing(peers: list[Json], action: str, direction: str, side: str) -> None:
    assert answers("ClusterNetworkPolicy", direction, {"action": action, side: peers}) == {"denied"}


@pytest.mark.parametrize(("direction", "side"), [("ingress", "from"), ("egress", "to")])
@pytest.mark.parametrize("action", ["Accept", "Deny", "Pass"])
@pytest.mark.parametrize("port", PORTS, ids=str)
def test_protocols_that_say_nothing(port: Json, action: str, direction: str, side: str) -> None:
    known = {"udp": {"destinationPort": {"number": 53}}}
    rule = {"action": action, side: [EVERYBODY], "protocols": [known, port]}
    assert answers("ClusterNetworkPolicy", direction, rule) == {"denied"}


@pytest.mark.parametrize(("direction", "side"), [("ingress", "from"), ("egress", "to")])
@pytest.mark.parametrize("action", ["Allow", "Deny", "Pass"])
@pytest.mark.parametrize("port", OLD_PORTS, ids=str)
def test_old_ports_that_say_nothing(port: Json, action: str, direction: str, side: str) -> None:
    rule = {"action": action, side: [EVERYBODY], "ports": [{"portNumber": {"port": 80}}, port]}
    assert answers("AdminNetworkPolicy", direction, rule) == {"denied"}
