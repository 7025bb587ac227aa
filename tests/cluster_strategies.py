"""Random cluster-wide policies of all three kinds, valid by the rules of their definitions.

Pass stands as often as Accept and Deny, priorities are drawn from so many that two seldom collide, and names of ports
never stand beside peers that have none.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from tests.vocabulary import (
    NUMBERS,
    PORT_NAMES,
    PREFIXES,
    PROTOCOLS,
    Json,
    block_around,
    namespace_selectors,
    pod_selectors,
    selectors,
)

ADMIN, BASELINE = "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"
CLUSTER = "ClusterNetworkPolicy"
DOMAINS = ("example.com", "*.example.com", "*.api.Example.com", "www.example.com.")
TELLING_NAMES = ("example.com", "WWW.example.com.", "v1.api.example.com", "badexample.com")
"""Names that different ones of those patterns cover; the last is covered by none."""
NAMED = ("destinationNamedPort", "namedPort")

pods_chosen = st.fixed_dictionaries({"namespaceSelector": namespace_selectors, "podSelector": pod_selectors})
inside_peers: st.SearchStrategy[Json] = st.one_of(
    st.fixed_dictionaries({"namespaces": st.just({}) | namespace_selectors}),
    st.fixed_dictionaries({"pods": pods_chosen}),
)
"""What subjects, and the peers of both directions, are chosen by."""
names = st.sampled_from(PORT_NAMES)
numbers = st.sampled_from(NUMBERS)
ranges = st.sampled_from([{"start": first, "end": last} for first in NUMBERS for last in NUMBERS if first < last])
protocols = st.sampled_from(PROTOCOLS)
maybe_protocol = st.fixed_dictionaries({}, optional={"protocol": protocols})


def blocks(address: str) -> st.SearchStrategy[str]:
    """A block around the address."""
    family = 6 if ":" in address else 4
    return st.sampled_from(PREFIXES[family]).map(lambda prefix: block_around(address, prefix))


@cache
def outside_peers(addresses: tuple[str, ...], *, domains: bool) -> st.SearchStrategy[Json]:
    """A peer that only egress knows."""
    block = st.sampled_from(addresses).flatmap(blocks)
    networks = st.fixed_dictionaries({"networks": st.lists(block, min_size=1, max_size=2, unique=True)})
    nodes = st.fixed_dictionaries({"nodes": selectors()})
    listed = st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=2, unique=True)
    by_name = st.fixed_dictionaries({"domainNames": listed})
    return st.one_of(networks, nodes, by_name, by_name) if domains else networks | nodes


numbered_ports = st.builds(
    lambda protocol, port: {protocol.lower(): {"destinationPort": port}},
    protocols,
    st.fixed_dictionaries({"number": numbers}) | st.fixed_dictionaries({"range": ranges}),
)
"""v1alpha2."""
old_numbered_ports = st.one_of(
    st.builds(lambda protocol, port: {"portNumber": {**protocol, "port": port}}, maybe_protocol, numbers),
    st.builds(lambda protocol, ends: {"portRange": {**protocol, **ends}}, maybe_protocol, ranges),
)
"""v1alpha1."""


@st.composite
def cluster_rules(draw: st.DrawFn, kind: str, side: str, addresses: tuple[str, ...], domain_names: bool) -> Json:
    """One rule of a kind of policy; all traffic, or some ports, which have names where every peer has pods."""
    accept = "Accept" if kind == CLUSTER else "Allow"
    action = draw(st.sampled_from((accept, "Deny") if kind == BASELINE else (accept, "Deny", "Pass")))
    outside = side == "to" and draw(st.booleans())
    peers = inside_peers
    if outside:  # A name allows only; the Baseline forerunner has none.
        beyond = outside_peers(addresses, domains=domain_names and action == accept and kind != BASELINE)
        peers = st.one_of(inside_peers, beyond, beyond)
    rule = {"action": action, side: draw(st.lists(peers, min_size=1, max_size=2))}
    numbered = numbered_ports if kind == CLUSTER else old_numbered_ports
    named = st.fixed_dictionaries({NAMED[kind != CLUSTER]: names})
    field = "protocols" if kind == CLUSTER else "ports"
    if draw(st.booleans()):
        rule[field] = draw(st.lists(numbered if outside else numbered | named, min_size=1, max_size=2))
    return rule


@st.composite
def cluster_policies(
    draw: st.DrawFn, kind: str, name: str, addresses: tuple[str, ...], domain_names: bool = True
) -> Json:
    """One policy, with rules in both directions, one or none."""
    spec: Json = {"subject": draw(st.just({"namespaces": {}}) | inside_peers)}
    if kind == CLUSTER:
        spec["tier"] = draw(st.sampled_from(("Admin", "Baseline")))
    if kind != BASELINE:
        spec["priority"] = draw(st.integers(0, 999))  # 1000 is left for laws that put a policy ahead of all
    for direction, side in (("ingress", "from"), ("egress", "to")):
        rules = draw(st.lists(cluster_rules(kind, side, addresses, domain_names), max_size=2))
        spec |= {direction: rules} if rules else {}
    version = "v1alpha2" if kind == CLUSTER else "v1alpha1"
    head = {"apiVersion": f"policy.networking.k8s.io/{version}", "kind": kind, "metadata": {"name": name}}
    return {**head, "spec": spec}


@st.composite
def cluster_rulebooks(draw: st.DrawFn, addresses: tuple[str, ...], domain_names: bool = True) -> list[Json]:
    """Some policies of all kinds; of the Baseline forerunner at most one, which has its name given."""
    kinds = draw(st.lists(st.sampled_from((CLUSTER, CLUSTER, ADMIN)), min_size=1, max_size=3))
    found = [draw(cluster_policies(kind, f"cp{index}", addresses, domain_names)) for index, kind in enumerate(kinds)]
    if draw(st.integers(0, 2)) == 2:
        found.append(draw(cluster_policies(BASELINE, "default", addresses, domain_names)))
    return found
