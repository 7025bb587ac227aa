"""What may mend a gap that a cluster-wide policy makes, from the smallest change up.

What such a policy denies no NetworkPolicy can allow, and what it accepts none can deny. So the mend is in its own tier:
a peer or port less, a rule before the one that decides, or the word Pass, which leaves the answer to NetworkPolicies;
where the rule is about more pods than the flow, a policy about these alone that comes sooner. Last, the rule is taken
out. Nothing is decided here: every change is tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from gatewright.engine.model import Action, Direction
from gatewright.engine.snapshot import Snapshot
from gatewright.intent import cluster_edits, edits
from gatewright.intent.cluster_documents import API_VERSION, KIND, OLD_API_VERSION, pods_document, rule_document
from gatewright.intent.edits import Edit
from gatewright.intent.parties import Need, Party
from gatewright.intent.plan import Planned
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.meta import Json

MOST_ENTRIES = 8
"""Peers or ports of a rule that are tried one by one: more of them are no slip of one line."""


def openings(
    snapshot: Snapshot, policy: ClusterPolicy, direction: Direction, number: int, need: Need
) -> Iterator[Edit]:
    """What may let a flow through that a rule denies."""
    yield from _entries_less(policy, direction, number)
    party, peer = _ends(need, direction)
    actions = (Action.ACCEPT,) if policy.is_baseline else (Action.PASS, Action.ACCEPT)
    rules = [rule_document(policy.kind, action, direction, peer, need.ports) for action in actions]
    for rule in rules:
        yield from cluster_edits.put_before(policy, direction, number, rule) if rule else ()
    for rule in rules:
        yield from _sooner(snapshot, policy, direction, party, rule) if rule else ()
    yield cluster_edits.without_rule(policy, direction, number)


def closings(policy: ClusterPolicy, direction: Direction, number: int, need: Need | None) -> Iterator[Edit]:
    """What may end that a rule accepts what the model does not. `need` is what stands under `never`, if it does."""
    yield from _entries_less(policy, direction, number)
    yield cluster_edits.other_action(policy, direction, number, Action.DENY if policy.is_baseline else Action.PASS)
    if need is not None:
        peer = _ends(need, direction)[1]
        rule = rule_document(policy.kind, Action.DENY, direction, peer, need.ports)
        yield from cluster_edits.put_before(policy, direction, number, rule) if rule else ()
    yield cluster_edits.without_rule(policy, direction, number)


def _ends(need: Need, direction: Direction) -> tuple[Party, Party]:
    """The party whose direction it is, and its peer."""
    inwards = direction is Direction.INGRESS
    return (need.destination, need.source) if inwards else (need.source, need.destination)


def _entries_less(policy: ClusterPolicy, direction: Direction, number: int) -> Iterator[Edit]:
    """Each peer and port less, where there are others."""
    rule = cluster_edits.rules_of(policy, direction)[number]
    for field, count in (cluster_edits.ports_of(rule), cluster_edits.peers_of(rule, direction)):
        if 1 < count <= MOST_ENTRIES:
            yield from (cluster_edits.without_entry(policy, direction, number, field, entry) for entry in range(count))


def _sooner(
    snapshot: Snapshot, policy: ClusterPolicy, direction: Direction, party: Party, rule: Json
) -> Iterator[Edit]:
    """A policy of the same kind about one party alone, at the last free priority before that of another policy."""
    if policy.is_baseline or party.pods is None:
        return
    admin = [one for one in snapshot.cluster_policies if not one.is_baseline]
    free = set(range(policy.spec.priority)) - {one.spec.priority for one in admin}
    if not free:
        return
    taken = {one.name for one in snapshot.cluster_policies}
    base = "-".join(chain(party.namespaces, (party.name, direction.value))).replace(" ", "-").lower()
    names = (base if count == 1 else f"{base}-{count}" for count in range(1, len(taken) + 2))
    spec: Json = {"tier": "Admin"} if policy.kind == KIND else {}
    spec |= {"priority": max(free), "subject": pods_document(party.pods), direction.value.lower(): [rule]}
    version = API_VERSION if policy.kind == KIND else OLD_API_VERSION
    metadata = {"name": next(one for one in names if one not in taken)}
    document = {"apiVersion": version, "kind": policy.kind, "metadata": metadata, "spec": spec}
    yield edits.create(Planned(document))
