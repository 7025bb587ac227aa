"""Everything that a set of manifests allows, asked of the reference evaluator one pair and one telling port at a time.

It stands beside the engine in `benchmarks.side_by_side`: the same answer in the same words, from code that shares none
of the engine's meaning. Ports and addresses are cut where a policy or a named port cuts them; one of each piece is
asked about.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from gatewright.engine.ports import FIRST_PORT, LAST_PORT, NO_TRAFFIC, PortSet, Protocol, Range
from tests.reference.evaluator import Reference, rules_of
from tests.reference.matching import YES
from tests.reference.world import EVERY_ADDRESS, Json, Network, Party, container_ports

LAST_ADDRESS = int(EVERY_ADDRESS[4][-1])
OTHER = "ICMP"
"""Stands for all traffic without ports: no policy tells one kind of it from another."""


def main(arguments: list[str]) -> None:
    """Print the answer for a manifest file; the other arguments are pod ranges."""
    file, *pod_cidrs = arguments
    documents = [one for one in yaml.load_all(Path(file).read_text(), Loader=yaml.CSafeLoader) if one]
    print(*lines(documents, pod_cidrs), sep="\n")


def lines(documents: Iterable[Json], pod_cidrs: Iterable[str] = ()) -> Iterator[str]:
    """Every allowed connection over IPv4, as `gatewright list` writes it."""
    objects = [as_pod(document) for document in documents]
    reference = Reference(objects, pod_cidrs)
    ports = telling_ports(reference)
    outside = list(outside_parties(reference))
    names = [(pod["metadata"].get("namespace", "default"), pod["metadata"]["name"]) for pod in reference.world.pods]
    parties = [reference.world.pod_party(namespace, name, 4) for namespace, name in names]
    for source, destination in itertools.permutations(parties, 2):
        if traffic := allowed(reference, source, destination, ports):
            yield f"{source.name} => {destination.name} : {traffic}"
    for party in parties:
        for (first, last), traffic in merged((one, allowed(reference, end, party, ports)) for one, end in outside):
            yield f"{address(first)}-{address(last)}[External] => {party.name} : {traffic}"
        for (first, last), traffic in merged((one, allowed(reference, party, end, ports)) for one, end in outside):
            yield f"{party.name} => {address(first)}-{address(last)}[External] : {traffic}"


def as_pod(document: Json) -> Json:
    """A workload as the one pod that its template makes, any pod under the name that answers give it."""
    metadata, spec = document["metadata"], document.get("spec") or {}
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if document["kind"] != "Pod" and "template" not in spec:
        return document
    pod = document if document["kind"] == "Pod" else {"metadata": {}, **spec["template"], "kind": "Pod"}
    named = {"name": f"{metadata['name']}[{document['kind']}]", "namespace": metadata.get("namespace", "default")}
    return {**pod, "metadata": {**pod["metadata"], **named}}


def telling_ports(reference: Reference) -> list[Range]:
    """All ports, cut wherever a policy or a named port begins or ends."""
    world = reference.world
    written = [port for policy in world.policies for port in policy_ports(policy)]
    written += [{"port": port["containerPort"]} for pod in world.pods for port in container_ports(pod)]
    numbered = [port for port in written if isinstance(port.get("port"), int)]
    starts = {FIRST_PORT, *(port["port"] for port in numbered)}
    starts |= {(port.get("endPort") or port["port"]) + 1 for port in numbered}
    return pieces(sorted(starts), LAST_PORT)


def policy_ports(policy: Json) -> Iterator[dict[str, Any]]:
    """The ports of every rule of a policy."""
    for rule in [*rules_of(policy, "Ingress"), *rules_of(policy, "Egress")]:
        yield from rule.get("ports") or []


def outside_parties(reference: Reference) -> Iterator[tuple[Range, Party]]:
    """All IPv4 addresses, cut wherever a block begins or ends; the first of each piece, held by no pod, is asked."""
    blocks: list[Network] = [block for block in reference.telling_blocks() if block.version == 4]
    starts = {0, *(int(block[0]) for block in blocks), *(int(block[-1]) + 1 for block in blocks)}
    for first, last in pieces(sorted(starts - {LAST_ADDRESS + 1}), LAST_ADDRESS):
        here = address(first)
        yield (first, last), Party(str(here), None, here, (EVERY_ADDRESS[4],), reference.world.node_with(here))


def pieces(starts: list[int], last: int) -> list[Range]:
    """The ranges between these numbers, the final one to `last`."""
    return [(first, following - 1) for first, following in itertools.pairwise([*starts, last + 1])]


def allowed(reference: Reference, source: Party, destination: Party, ports: list[Range]) -> PortSet:
    """What may surely pass."""
    found = PortSet(other=reference.verdict(source, destination, OTHER, None) is YES)
    for protocol in Protocol:
        passing = [one for one in ports if reference.verdict(source, destination, protocol, one[0]) is YES]
        found |= PortSet.of(protocol, *passing)
    return found


def merged(found: Iterable[tuple[Range, PortSet]]) -> Iterator[tuple[Range, PortSet]]:
    """Neighbouring ranges of the same traffic as one; those without any left out."""
    for traffic, group in itertools.groupby(found, key=lambda one: one[1]):
        ranges = [one for one, _ in group]
        if traffic != NO_TRAFFIC:
            yield (ranges[0][0], ranges[-1][1]), traffic


def address(number: int) -> ipaddress.IPv4Address:
    """The address of that number."""
    return ipaddress.IPv4Address(number)
