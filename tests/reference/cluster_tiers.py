"""The tiers of cluster-wide policies: ClusterNetworkPolicy, AdminNetworkPolicy and BaselineAdminNetworkPolicy.

Read it beside the section of that name in the rules. A tier is a list of rules in order; the first that matches ends
the tier. `decide` walks one tier, the evaluator hangs NetworkPolicy between the two. As everywhere in the reference, a
match can be uncertain; then the answer is certain only where it comes out the same either way. But a rule that matches
nowhere but where one before it does never decides.

One order is arbitrary, because the API leaves it undefined: of equal priorities the kind, then the name decides, by
the alphabet. A BaselineAdminNetworkPolicy has no priority and stands where priority 0 does.
"""

from __future__ import annotations

from dataclasses import replace

from tests.reference.matching import (
    L4,
    MAYBE,
    NO,
    YES,
    Question,
    Truth,
    certain,
    in_block,
    matches,
    named_ports,
    telling_addresses,
)
from tests.reference.world import EVERY_ADDRESS, Json, Party, World, labels_of, namespace_of, node_of, parse_network

ACTIONS = {"Accept": "Accept", "Allow": "Accept", "Deny": "Deny", "Pass": "Pass"}
PEERS = ("namespaces", "pods", "nodes", "networks", "domainNames")


def decide(world: World, question: Question, subject: Json, tier: str, otherwise: Truth) -> Truth:
    """What the tier ("Admin" or "Baseline") says of a subject; `otherwise` is what comes after the tier."""
    rules = rules_in_order(world, question, subject, tier)
    found = [judged(world, question, rule) for rule in rules]
    late = [number for number, (_, matched) in enumerate(found) if matched is MAYBE]
    for number in late:
        if not may_be_first(world, question, rules[: number + 1]):
            found[number] = (found[number][0], NO)
    return walk(found, otherwise)


def may_be_first(world: World, question: Question, rules: list[Json]) -> bool:
    """Whether the last of some rules matches anywhere that none before it does, wherever the address may lie.

    What a domain name stands for is told by no address, so a rule with one always may.
    """
    *before, last = rules
    if any(peer.get("domainNames") is not None for peer in last.get("to") or []):
        return True
    named = [
        cidr
        for rule in rules
        for peer in rule.get("from") or rule.get("to") or []
        for cidr in peer.get("networks") or []
    ]
    nodes = {*(node["metadata"]["name"] for node in world.nodes), *map(node_of, world.all_pods)}
    addresses = [str(address) for name in nodes for address in world.node_addresses(name)]
    version = question.other.within[0].version
    blocks = [block for block in map(parse_network, [*named, *addresses]) if block.version == version]
    for address in telling_addresses(EVERY_ADDRESS[version], blocks):
        there = replace(question, other=replace(question.other, address=address, assumed=True))
        if judged(world, there, last)[1] is YES and not any(judged(world, there, rule)[1] is YES for rule in before):
            return True
    return False


def walk(rules: list[tuple[str, Truth]], otherwise: Truth) -> Truth:
    """The first rule that matches ends the tier: Accept and Deny decide, Pass leaves it. No match leaves it too."""
    if not rules:
        return otherwise
    (action, matched), *following = rules
    ended = {"Accept": YES, "Deny": NO, "Pass": otherwise}[action]
    if matched is YES:
        return ended
    later = walk(following, otherwise)
    return later if matched is NO or later is ended else MAYBE


def rules_in_order(world: World, question: Question, subject: Json, tier: str) -> list[Json]:
    """The rules for a subject in one direction: priority ascending, then the order within the policy.

    A policy without rules in a direction has no effect there: it adds none, and nothing isolates.
    """
    policies = sorted((each for each in world.cluster_policies if tier_of(each) == tier), key=rank)
    return [
        rule
        for policy in policies
        if names_pod(world, policy["spec"]["subject"], subject)
        for rule in policy["spec"].get(question.direction.lower()) or []
    ]


def tier_of(policy: Json) -> str:
    """As written in v1alpha2; the forerunners have one each."""
    tiers = {"AdminNetworkPolicy": "Admin", "BaselineAdminNetworkPolicy": "Baseline"}
    return tiers.get(policy["kind"]) or str(policy["spec"]["tier"])


def rank(policy: Json) -> tuple[int, str, str]:
    """What orders policies within a tier: lower first."""
    return policy["spec"].get("priority", 0), policy["kind"], policy["metadata"]["name"]


def names_pod(world: World, chosen: Json, pod: Json) -> bool:
    """Whether `namespaces` or `pods`, of which one is set, names the pod. hostNetwork pods never come this far."""
    labels = world.namespace_labels(namespace_of(pod))
    if chosen.get("namespaces") is not None:
        return matches(chosen["namespaces"], labels)
    if chosen.get("pods") is not None:
        return matches(chosen["pods"].get("namespaceSelector") or {}, labels) and matches(
            chosen["pods"].get("podSelector") or {}, labels_of(pod)
        )
    return False


def judged(world: World, question: Question, rule: Json) -> tuple[str, Truth]:
    """A rule's action, and whether it matches: some peer, and some protocol where any is written.

    Clause "fails closed": with a peer or protocol that says nothing this reader knows, Accept matches nothing; Deny
    and Pass deny everything.
    """
    action = ACTIONS[rule["action"]]
    peers = rule.get("from" if question.direction == "Ingress" else "to") or []
    ports = protocols_of(rule)
    if not peers or not all(any(peer.get(kind) is not None for kind in PEERS) for peer in peers):
        return fails_closed(action)
    if ports is not None and not all(is_known(entry) for entry in ports):
        return fails_closed(action)
    some_peer = max(matches_peer(world, question.other, peer) for peer in peers)
    some_port = ports is None or any(matches_protocol(entry, question) for entry in ports)
    return action, min(some_peer, certain(some_port))


def fails_closed(action: str) -> tuple[str, Truth]:
    """What becomes of a rule that is not understood."""
    return ("Accept", NO) if action == "Accept" else ("Deny", YES)


def matches_peer(world: World, other: Party, peer: Json) -> Truth:
    """One peer: pods by selectors (never one of hostNetwork), nodes by address, networks by any address, names."""
    if peer.get("networks") is not None:
        return max((in_block({"cidr": cidr}, other) for cidr in peer["networks"]), default=NO)
    if peer.get("nodes") is not None:
        return is_node(world, other, peer["nodes"])
    if peer.get("domainNames") is not None:
        if other.domain_name:
            return certain(any(stands_for(pattern, other.domain_name) for pattern in peer["domainNames"]))
        return MAYBE if other.pod is None else NO  # No pod is meant by a name; of other addresses the resolver decides.
    return certain(other.pod is not None and names_pod(world, peer, other.pod))


def stands_for(pattern: str, name: str) -> bool:
    """Clause "domainNames": the name itself, or `*.` and one or more labels. Case and the root's dot mean nothing."""
    wanted, labels = (text.lower().removesuffix(".").split(".") for text in (pattern, name))
    if wanted[0] == "*":
        return len(labels) >= len(wanted) and labels[-len(wanted) + 1 :] == wanted[1:]
    return labels == wanted


def is_node(world: World, other: Party, selector: Json) -> Truth:
    """Clause "nodes (node addresses)": whoever has such an address; one of hostNetwork has its node's.

    The empty selector means every node, also one that no object declares. An address that nobody knows yet is judged
    as it is for a block, so that it may be a node's wherever the pod range does not say otherwise.
    """
    every = selects_everything(selector)
    if every and (other.host_network or other.node):
        return YES
    declared = [node["metadata"]["name"] for node in world.nodes]
    selected = [node["metadata"]["name"] for node in world.nodes if matches(selector, labels_of(node))]
    if other.node in declared:
        return certain(other.node in selected)
    names = {*declared, *map(node_of, world.all_pods)} if every else selected
    addresses = [address for name in names for address in world.node_addresses(name)]
    if other.address is not None:
        return certain(other.address in addresses)
    return MAYBE if any(address in network for network in other.within for address in addresses) else NO


def selects_everything(selector: Json) -> bool:
    """Whether a selector asks nothing."""
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def protocols_of(rule: Json) -> list[Json] | None:
    """The entries of `protocols` (v1alpha2) or `ports` (v1alpha1); None, where neither is written, is all traffic."""
    entries: list[Json] | None = rule.get("protocols", rule.get("ports"))
    return entries


def is_known(entry: Json) -> bool:
    """Whether an entry names a port in words of either version."""
    if entry.get("destinationNamedPort") or entry.get("namedPort") or entry.get("portNumber") or entry.get("portRange"):
        return True
    destinations = [entry[protocol].get("destinationPort") or {} for protocol in ("tcp", "udp", "sctp")
                    if entry.get(protocol) is not None]  # fmt: skip
    return any(each.get("number") is not None or each.get("range") is not None for each in destinations)


def matches_protocol(entry: Json, question: Question) -> bool:
    """One entry: a port or a range of one protocol, or a name the destination pod gives a port of any protocol."""
    if question.protocol not in L4 or question.port is None:
        return False  # Clause "absent means all traffic, also non-L4": written, it is ports that are meant.
    if name := entry.get("destinationNamedPort") or entry.get("namedPort"):
        pod = question.destination.pod
        return pod is not None and question.port in named_ports(pod, name, question.protocol)
    protocol, first, last = numbered(entry)
    return protocol == question.protocol and first <= question.port <= last


def numbered(entry: Json) -> tuple[str, int, int]:
    """Protocol, first and last port of an entry with a number or a range; v1alpha1 means TCP where it says none."""
    if one := entry.get("portNumber"):
        return one.get("protocol", "TCP"), one["port"], one["port"]
    if several := entry.get("portRange"):
        return several.get("protocol", "TCP"), several["start"], several["end"]
    protocol = next(each for each in ("tcp", "udp", "sctp") if entry.get(each) is not None)
    port = entry[protocol]["destinationPort"]
    ends = port.get("range") or {"start": port["number"], "end": port["number"]}
    return protocol.upper(), ends["start"], ends["end"]
