"""Whether one part of a policy covers another whatever pods there are: the claims that hold on every cluster.

What the engine says of the pods at hand may change with the next pod. These functions compare what is written, in the
engine's canonical words, and answer True only where no pod, address or port can tell the two apart. They may answer
False where a longer proof would say True.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.engine.addresses import AddressSet
from gatewright.engine.drafts import port_numbers
from gatewright.engine.model import Direction
from gatewright.engine.selectors import Canonical, Requirement, matches, requirements
from gatewright.findings.written import Written
from gatewright.objects.cluster_policy import ClusterRule, Peer, port_choices
from gatewright.objects.meta import LabelSelector
from gatewright.objects.policy import NetworkPolicy, NetworkPolicyPeer

Namespaces = Mapping[str, Mapping[str, str]]
"""Labels by namespace."""
CanonicalPeer = tuple[object, ...]


def selector_covers(wide: LabelSelector | None, narrow: LabelSelector | None) -> bool:
    """Whether everything that `narrow` matches is matched by `wide`; None matches everything."""
    if wide is None:
        return True
    given = requirements(narrow) if narrow is not None else ()
    return all(_implied(requirement, given) for requirement in requirements(wide))


def _implied(wanted: Requirement, given: Canonical) -> bool:
    return any(_implies(one, wanted) for one in given if one[0] == wanted[0])


def _implies(one: Requirement, wanted: Requirement) -> bool:
    """Whether a set of labels with `one` has `wanted`, both about the same key."""
    _, operator, values = one
    _, wanted_operator, wanted_values = wanted
    if one == wanted:
        return True
    if operator == "In":
        if wanted_operator == "In":
            return set(values) <= set(wanted_values)
        return wanted_operator == "Exists" or (wanted_operator == "NotIn" and not set(values) & set(wanted_values))
    if operator == "NotIn":
        return wanted_operator == "NotIn" and set(wanted_values) <= set(values)
    return operator == "DoesNotExist" and wanted_operator == "NotIn"


def peer_covers(wide: NetworkPolicyPeer, narrow: NetworkPolicyPeer, namespace: str, namespaces: Namespaces) -> bool:
    """Whether everyone that `narrow` names is named by `wide`; both stand in policies of `namespace`."""
    if wide.ip_block is not None or narrow.ip_block is not None:
        if wide.ip_block is None or narrow.ip_block is None:
            return False
        covering = AddressSet.of_block(wide.ip_block.cidr, wide.ip_block.except_)
        return not AddressSet.of_block(narrow.ip_block.cidr, narrow.ip_block.except_) - covering
    if not selector_covers(wide.pod_selector, narrow.pod_selector):
        return False
    if wide.namespace_selector is None:
        return narrow.namespace_selector is None
    if narrow.namespace_selector is None:
        return matches(wide.namespace_selector, namespaces[namespace])
    return selector_covers(wide.namespace_selector, narrow.namespace_selector)


def rule_covers(wide: Written, narrow: Written, namespaces: Namespaces) -> bool:
    """Whether all that `narrow` allows, `wide` allows to the same pods. Both are of one namespace and direction."""
    numbers, names = narrow.covered
    wide_numbers, wide_names = wide.covered
    if numbers - wide_numbers or not (set(names) <= set(wide_names) or _covers_names(wide)):
        return False
    if not wide.peers:
        return True
    namespace = narrow.policy.namespace
    return bool(narrow.peers) and all(
        any(peer_covers(other, peer, namespace, namespaces) for other in wide.peers) for peer in narrow.peers
    )


def _covers_names(rule: Written) -> bool:
    """Whether a rule covers every number that a name may stand for."""
    return port_numbers(rule.ports)[0].is_everything


def canonical_peer(peer: NetworkPolicyPeer) -> CanonicalPeer:
    """Equal for peers that mean the same in one namespace, however they are written."""
    if peer.ip_block is not None:
        return ("block", AddressSet.of_block(peer.ip_block.cidr, peer.ip_block.except_))
    return ("pods", _canonical(peer.namespace_selector), _canonical(peer.pod_selector or LabelSelector()))


def canonical_rule(rule: Written) -> tuple[object, ...]:
    """Equal for rules that mean the same in one namespace."""
    numbers, names = rule.covered
    return (rule.direction, frozenset(map(canonical_peer, rule.peers)), numbers, frozenset(names))


def canonical_policy(policy: NetworkPolicy, rules: list[Written]) -> tuple[object, ...]:
    """Equal for policies that mean the same whatever pods there are. `rules` are those in force."""
    return (
        policy.namespace,
        _canonical(policy.spec.pod_selector),
        frozenset(policy.policy_types),
        frozenset(map(canonical_rule, rules)),
    )


def _canonical(selector: LabelSelector | None) -> Canonical | None:
    return None if selector is None else requirements(selector)


def cluster_rule_covers(wide: ClusterRule, narrow: ClusterRule, direction: Direction) -> bool:
    """Whether a rule of a cluster-wide policy matches all that another does, subjects apart."""
    choices, narrow_choices = port_choices(wide), port_choices(narrow)
    if choices is not None and (narrow_choices is None or not set(narrow_choices) <= set(choices)):
        return False
    peers, narrow_peers = (wide.from_, narrow.from_) if direction is Direction.INGRESS else (wide.to, narrow.to)
    return bool(narrow_peers) and all(any(_cluster_peer_covers(p, peer) for p in peers) for peer in narrow_peers)


def _cluster_peer_covers(wide: Peer, narrow: Peer) -> bool:
    if wide.networks or narrow.networks:
        blocks = AddressSet.union(map(AddressSet.of_block, wide.networks))
        return bool(narrow.networks) and not AddressSet.union(map(AddressSet.of_block, narrow.networks)) - blocks
    if wide.domain_names or narrow.domain_names:
        return bool(narrow.domain_names) and set(narrow.domain_names) <= set(wide.domain_names)
    if wide.nodes is not None or narrow.nodes is not None:
        return wide.nodes is not None and narrow.nodes is not None and selector_covers(wide.nodes, narrow.nodes)
    spaces, pods = _pod_selectors(wide)
    narrow_spaces, narrow_pods = _pod_selectors(narrow)
    return selector_covers(spaces, narrow_spaces) and selector_covers(pods, narrow_pods)


def _pod_selectors(peer: Peer) -> tuple[LabelSelector | None, LabelSelector | None]:
    if peer.pods is not None:
        return peer.pods.namespace_selector, peer.pods.pod_selector
    return peer.namespaces, None
