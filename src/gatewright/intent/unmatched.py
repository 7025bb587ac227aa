"""Pods that do not exist yet, and that policies let through already: whom a peer of a rule selects, and nobody is.

`from: app=legacy` waits for whoever makes a pod with that label. Each such peer of a NetworkPolicy is told as the
simplest pod that it selects, so that what the rule opens is seen before the pod is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.engine.snapshot import Snapshot
from gatewright.intent.lookup import Objects
from gatewright.intent.model import PodsOf
from gatewright.intent.simplest import simplest_labels

MOST = 100
"""Peers told of, the first in order of policies: each is a workload more to ask about."""


def unmatched(snapshot: Snapshot) -> tuple[PodsOf, ...]:
    """The peers of policies, by labels, that select no endpoint, each once; those that nothing can match are left."""
    objects = Objects(snapshot)
    found: list[PodsOf] = []
    for pods in _peers(snapshot):
        if len(found) == MOST:
            break
        if pods not in found and not objects.members(pods) and simplest_labels(pods.labels):
            found.append(pods)
    return tuple(found)


def _peers(snapshot: Snapshot) -> Iterator[PodsOf]:
    """The peers of NetworkPolicies that ask for labels of pods."""
    for policy in snapshot.policies:
        rules = [*(rule.from_ for rule in policy.spec.ingress), *(rule.to for rule in policy.spec.egress)]
        for peer in (peer for peers in rules for peer in peers):
            if peer.pod_selector is not None:
                own = "" if peer.namespace_selector is not None else policy.namespace
                yield PodsOf(own, peer.namespace_selector, peer.pod_selector)
