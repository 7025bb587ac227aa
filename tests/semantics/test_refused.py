"""Peers and ports that mean nothing are refused, never guessed at: the rows of the rules that say "invalid"."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.errors import InvalidInput
from gatewright.objects.read import decode

ANY: dict[str, Any] = {}
BLOCK = {"cidr": "10.0.0.0/8"}
FROM = "spec.ingress[0].from[0]"
PORT = "spec.ingress[0].ports[0]"


def policy(rule: dict[str, Any]) -> dict[str, Any]:
    """A policy with one ingress rule."""
    spec = {"podSelector": {}, "ingress": [rule]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        ({}, f"{FROM}: Required value: must specify a peer"),
        ({"ipBlock": BLOCK, "podSelector": ANY}, f"{FROM}: Forbidden: may not specify both ipBlock and another peer"),
        ({"ipBlock": BLOCK, "namespaceSelector": ANY}, f"{FROM}: Forbidden: may not specify both ipBlock and another"),
        ({"ipBlock": {**BLOCK, "except": ["10.0.0.0/8"]}}, f"{FROM}.ipBlock.except[0]: Invalid value"),
        ({"ipBlock": {**BLOCK, "except": ["11.0.0.0/16"]}}, f"{FROM}.ipBlock.except[0]: Invalid value"),
        ({"ipBlock": {**BLOCK, "except": ["fd00::/64"]}}, f"{FROM}.ipBlock.except[0]: Invalid value"),
    ],
    ids=["empty", "block-and-pods", "block-and-namespaces", "except-all", "except-elsewhere", "except-other-family"],
)
def test_a_peer_that_is_refused(peer: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(policy({"from": [peer]}))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ({"endPort": 90}, f"{PORT}.endPort: Required value"),
        ({"port": 90, "endPort": 80}, f"{PORT}.endPort: Invalid value: 90"),
        ({"port": "web", "endPort": 90}, f"{PORT}.endPort: Invalid value: 90"),
        ({"port": 0}, f"{PORT}.port: Invalid value: 0"),
        ({"port": 65536}, f"{PORT}.port: Invalid value: 65536"),
        ({"protocol": "ICMP"}, f"{PORT}.protocol: Unsupported value"),
    ],
    ids=["end-without-port", "end-before-port", "end-of-a-name", "zero", "too-high", "no-such-protocol"],
)
def test_a_port_that_is_refused(port: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(policy({"ports": [port]}))
    assert said in str(caught.value)
