"""From a model to policies and their proof, in one call: what `gatewright plan` does.

The policies of the objects given count only where the plan is to stand beside them. Else the plan is proved alone, as
if it were the whole of what the cluster holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gatewright.engine.podset import PodSet
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.errors import Problem
from gatewright.intent.bind import bind
from gatewright.intent.check import Failure, failures
from gatewright.intent.compare import Gap, Kind
from gatewright.intent.existing import Existing
from gatewright.intent.guard import guard_rails
from gatewright.intent.model import Traffic
from gatewright.intent.plan import API_VERSION, KIND, Plan, Planned, Style, plan
from gatewright.intent.proof import Proof, prove
from gatewright.intent.stage import Stage, build_stage
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy


@dataclass(frozen=True, eq=False)
class Proposal:
    """A plan, its guard rails, what of `never:` these cannot say, and how the whole differs from the model."""

    plan: Plan
    rails: tuple[Planned, ...]
    untold: tuple[Problem, ...]
    failures: tuple[Failure, ...]

    @property
    def policies(self) -> tuple[Planned, ...]:
        """All policies, in the order in which they are written."""
        return (*self.plan.policies, *self.rails)


def propose(
    traffic: Traffic,
    snapshot: Snapshot | None = None,
    *,
    style: Style = Style.COMPONENT,
    beside: bool = False,
    cluster_tier: bool = False,
) -> Proposal:
    """Plan for a model and prove it. `beside` asks only for what the snapshot's policies lack. Raises InvalidInput."""
    bound = bind(traffic, snapshot)
    stage = build_stage(bound, snapshot if beside or snapshot is None else without_policies(snapshot))
    made = plan(bound, style, Existing(stage) if beside else None)
    rails, untold = guard_rails(bound) if cluster_tier else ([], [])
    stage = _with(stage, [policy.object for policy in (*made.policies, *rails)])
    proof = prove(stage, exact=True, closed=made.closed)
    if cluster_tier:
        proof = replace(proof, gaps=(*proof.gaps, *_broken_rails(stage)))
    return Proposal(made, tuple(rails), tuple(untold), failures(proof, mends=False))


def without_policies(snapshot: Snapshot) -> Snapshot:
    """The objects but for policies of every kind."""
    gone = tuple(key for key, one in snapshot.objects.items() if isinstance(one, NetworkPolicy | ClusterPolicy))
    return snapshot.apply(Changes(gone=gone))


def _with(stage: Stage, objects: Iterable[Object]) -> Stage:
    return stage.with_changes(Changes(tuple(objects)))


def _broken_rails(stage: Stage) -> list[Gap]:
    """What of `never:` becomes possible when somebody allows everything to every component."""
    spaces = sorted({namespace for party in stage.bound.components for namespace in party.namespaces})
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
    open_doors = [
        Planned(
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": "open", "namespace": one},
                "spec": everything,
            }
        )
        for one in spaces
    ]
    proof: Proof = prove(_with(stage, [one.object for one in open_doors]), exact=False)
    return [gap for gap in proof.gaps if gap.kind is Kind.FORBIDDEN and _is_guarded(gap)]


def _is_guarded(gap: Gap) -> bool:
    """Whether a guard rail can be about it: one about addresses lets pods pass, and none denies addresses inwards."""
    if gap.need is None or gap.need.source.pods is None:
        return False
    return gap.need.destination.pods is not None or not isinstance(gap.destination, PodSet)
