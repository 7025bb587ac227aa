"""What policies of every kind match with: three-valued truths, label selectors, port names, blocks of addresses.

An address can be unknown, so there are three answers: YES and NO are certain, MAYBE is neither. `min` is therefore
"and", `max` is "or". The kinds themselves stand in `evaluator.py` (NetworkPolicy) and `cluster_tiers.py`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from tests.reference.world import Address, Json, Network, Party, container_ports, parse_network

L4 = ("TCP", "UDP", "SCTP")


class Truth(IntEnum):
    """A three-valued truth; `min` is "and", `max` is "or"."""

    NO = 0
    MAYBE = 1
    YES = 2


NO, MAYBE, YES = Truth.NO, Truth.MAYBE, Truth.YES


def certain(holds: bool) -> Truth:
    """A statement that does not depend on an unknown address."""
    return YES if holds else NO


@dataclass(frozen=True)
class Question:
    """One side of one connection: may `subject` receive this from (Ingress), or send it to (Egress), `other`?"""

    direction: Literal["Ingress", "Egress"]
    subject: Party
    other: Party
    protocol: str
    port: int | None

    @property
    def destination(self) -> Party:
        """The end whose port is meant; its names are the ones that count."""
        return self.subject if self.direction == "Ingress" else self.other


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """A label selector: all of matchLabels and all of matchExpressions; an empty one matches everything."""
    by_labels = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return by_labels and all(requirement(each, labels) for each in selector.get("matchExpressions") or [])


def requirement(expression: Json, labels: dict[str, str]) -> bool:
    """Row "matchExpressions": In and Exists need the key; NotIn and DoesNotExist match a pod that lacks it."""
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case operator:
            raise ValueError(f"no such operator: {operator}")


def named_ports(pod: Json, name: str, protocol: str) -> list[int]:
    """Row "named port": by (name, protocol) on the destination pod; several numbers may match."""
    return [
        each["containerPort"]
        for each in container_ports(pod)
        if each.get("name") == name and each.get("protocol", "TCP") == protocol
    ]


def in_block(block: Json, party: Party) -> Truth:
    """Row "ipBlock": any address in the block, pod addresses included, but those that `except` cuts out.

    Row "ipBlock and pods whose address is not known yet": YES where the block covers the whole range, NO where it
    cannot cover it, else MAYBE. The answer can change only where a block begins or has just ended, so it is enough to
    try the first address of each range and those.
    """
    blocks = [parse_network(each) for each in [block["cidr"], *(block.get("except") or [])]]
    if party.address is not None:
        return certain(covers(blocks, party.address))
    answers = {covers(blocks, address) for network in party.within for address in telling_addresses(network, blocks)}
    return MAYBE if len(answers) > 1 else certain(answers.pop())


def covers(blocks: list[Network], address: Address) -> bool:
    """Whether the address is in the first block and in none of the others. Families never mix."""
    cidr, *excepts = blocks
    return address in cidr and not any(address in each for each in excepts)


def telling_addresses(network: Network, blocks: list[Network]) -> list[Address]:
    """The first address of the network, and each of its addresses where one of the blocks begins or has just ended."""
    edges = [int(block[0]) for block in blocks] + [int(block[-1]) + 1 for block in blocks]
    first, last = int(network[0]), int(network[-1])
    make = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    return [make(each) for each in sorted({first, *(edge for edge in edges if first <= edge <= last)})]
