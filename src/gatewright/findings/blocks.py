"""Addresses in rules: blocks that reach into the cluster, and rules that are open to everybody."""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.engine.addresses import ALL_ADDRESSES, AddressSet
from gatewright.engine.model import Direction
from gatewright.findings.model import Severity
from gatewright.findings.rule import Example, Hit, rule
from gatewright.findings.survey import Survey
from gatewright.findings.words import some
from gatewright.findings.written import Written

_NODE = """\
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDR: 10.244.0.0/24}
status: {addresses: [{type: InternalIP, address: 192.168.0.11}]}
---
"""
_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from:
    - ipBlock: {cidr: BLOCK}
"""
_BLOCK = _NODE + _POLICY


def _blocks(survey: Survey) -> Iterator[tuple[Written, int, AddressSet]]:
    """Every ipBlock of every rule in force that does not cover all addresses of its family."""
    for one in survey.rules:
        for number, peer in enumerate(one.peers):
            if peer.ip_block is not None:
                addresses = survey.selection.block(peer.ip_block.cidr, peer.ip_block.except_)
                if not _families_covered(survey.selection.block(peer.ip_block.cidr)):
                    yield one, number, addresses


def _families_covered(addresses: AddressSet) -> str:
    """The families of which every address is in the set: `IPv4`, `IPv6`, or both."""
    return " and ".join(f"IPv{family}" for family in (4, 6) if not _missing(addresses, family))


def _missing(addresses: AddressSet, family: int) -> bool:
    return addresses.ranges(family) != ALL_ADDRESSES.ranges(family)


@rule(
    "GW401",
    "block-covers-pods",
    Severity.WARNING,
    remedy="name pods by selectors, and cut the pod range out of the block with `except`",
    example=Example(_BLOCK.replace("BLOCK", "10.0.0.0/8"), _BLOCK.replace("BLOCK", "192.0.2.0/24")),
)
def block_covers_pods(survey: Survey) -> Iterator[Hit]:
    """An ipBlock covers addresses of pods.

    An ipBlock matches every address in it, those of pods too: whoever gets such an address is admitted, whatever its
    labels, and the next pod has another. The API means ipBlocks for addresses outside of the cluster. Pod ranges are
    known from `--pod-cidr`, from nodes, and from pods that have an address.
    """
    for one, number, addresses in _blocks(survey):
        shared = survey.reach.pods_in(addresses)
        if shared:
            yield Hit(
                one.place(one.side, number, "ipBlock", "cidr"),
                f"covers addresses of pods ({some(str(shared).split(','))})",
            )


@rule(
    "GW402",
    "block-covers-nodes",
    Severity.INFO,
    remedy="name the nodes' own addresses where they are meant, else cut them out of the block with `except`",
    example=Example(_BLOCK.replace("BLOCK", "192.168.0.0/16"), _BLOCK.replace("BLOCK", "192.168.0.11/32")),
)
def block_covers_nodes(survey: Survey) -> Iterator[Hit]:
    """An ipBlock covers addresses of nodes.

    From a node's address come host-network pods, and clients of NodePorts behind `externalTrafficPolicy: Cluster`: a
    block that has it admits all of them. A block of one address says that the node is meant, and is not reported.
    """
    for one, number, addresses in _blocks(survey):
        covered = survey.reach.nodes_in(addresses)
        if covered and not _is_single(addresses):
            yield Hit(one.place(one.side, number, "ipBlock", "cidr"), f"covers addresses of nodes ({some(covered)})")


def _is_single(addresses: AddressSet) -> bool:
    ranges = (*addresses.v4, *addresses.v6)
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


@rule(
    "GW403",
    "open-to-the-world",
    Severity.WARNING,
    remedy="name the blocks or pods that need the connection, or suppress this with the reason why everybody does",
    example=Example(_POLICY.replace("BLOCK", "0.0.0.0/0"), _POLICY.replace("BLOCK", "192.0.2.0/24")),
)
def open_to_the_world(survey: Survey) -> Iterator[Hit]:
    """A rule is open to every address there is.

    The ipBlocks of the rule cover a whole address family: as ingress, whoever finds a way to the pod may connect; as
    egress without ports (an info), the pod may call everything. Pods are addresses, too: such a block admits every pod.
    """
    for one in survey.rules:
        blocks = [peer.ip_block for peer in one.peers if peer.ip_block is not None]
        families = _families_covered(AddressSet.union(survey.selection.block(block.cidr) for block in blocks))
        if not families:
            continue
        first = next(number for number, peer in enumerate(one.peers) if peer.ip_block is not None)
        but = " but those of `except`" if any(block.except_ for block in blocks) else ", those of pods included"
        if one.direction is Direction.INGRESS:
            yield Hit(one.peer_place(first), f"admits every {families} address{but}")
        elif not one.ports:
            yield Hit(one.peer_place(first), f"leads to every {families} address{but}, on every port", Severity.INFO)
