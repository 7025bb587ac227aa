"""The smallest change that mends a failure: tried in memory, so that it surely mends it and breaks nothing else.

Changes are tried from the smallest up: a port or peer more or less, a rule more or less, a narrower rule, a new policy.
The first after which the failure is gone, and no gap is there that was not there before, is the mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product

from gatewright.engine.model import Direction, Endpoint
from gatewright.engine.podset import PodSet
from gatewright.engine.snapshot import Changes
from gatewright.engine.verdict import Reason
from gatewright.intent import cluster_mend, edits
from gatewright.intent.boxes import Known, by_label, touch
from gatewright.intent.cause import Cause, Fault
from gatewright.intent.compare import Gap, Kind
from gatewright.intent.documents import port_documents, rule_document, selector_document
from gatewright.intent.edits import Edit
from gatewright.intent.numbers import port_set
from gatewright.intent.parties import Need, Party
from gatewright.intent.plan import API_VERSION, KIND, SIDES, Planned
from gatewright.intent.proof import Proof
from gatewright.intent.requirements import Requirement, needed, requirements_of
from gatewright.intent.selected import subjects_of
from gatewright.objects.cluster_policy import ClusterPolicy
from gatewright.objects.meta import Json, Object
from gatewright.objects.policy import NetworkPolicy

_MISSING = (Reason.ISOLATED, Reason.ADDRESS_UNKNOWN)
"""Why a flow may lack a rule: where it hangs on addresses, one that names its peer makes it sure."""
MOST_TRIES = 24
"""Changes tried for one failure, each some milliseconds: a bound for pods that very many policies isolate."""


@dataclass(frozen=True, slots=True, eq=False)
class Mend:
    """Changes, of different policies, that together mend a failure."""

    edits: tuple[Edit, ...]


class Mender:
    """Finds mends for the gaps of one proof, which must be exact: else it could not tell what a change opens."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self._before = Known(proof.gaps)
        self._component: dict[int, Party] = {}
        for party in proof.stage.bound.components:
            members = proof.stage.objects.members(party.pods) if party.pods else ()
            self._component |= dict.fromkeys(members, party)
        self._requirements: dict[tuple[Party, Direction], list[Requirement]] = {}
        for one in requirements_of(proof.stage.bound):
            self._requirements.setdefault((one.component, one.direction), []).append(one)

    def mend(self, cause: Cause, gaps: Iterable[Gap]) -> Mend | None:
        """The smallest change that mends all of some gaps with one cause; None where none is certain."""
        wanted = list(gaps)
        for chosen in islice(self._choices(cause), MOST_TRIES):
            if self._mends(chosen, wanted):
                return Mend(chosen)
        return None

    def _mends(self, chosen: tuple[Edit, ...], wanted: list[Gap]) -> bool:
        """Whether after some changes these gaps are gone, and no other is there than before."""
        put = {edit.result.key: edit.result for edit in chosen}
        if len(put) < len(chosen):
            return False
        gone = by_label(wanted)
        subjects = PodSet.union(map(self._subjects, put.values()))
        for region, gaps in self._proof.after(Changes(tuple(put.values())), subjects):
            if not all(region.holds(gap.source, gap.destination) for gap in wanted):
                return False
            after = by_label(gaps)
            if touch(after, gone) or not self._before.cover(after):
                return False
        return True

    def _subjects(self, policy: Object) -> PodSet:
        return PodSet.union(map(self._proof.stage.objects.members, subjects_of(policy)))

    def _choices(self, cause: Cause) -> Iterator[tuple[Edit, ...]]:
        """Sets of changes that may mend it: one a side for what is blocked, one side alone for what is allowed."""
        if cause.gap.kind is Kind.BLOCKED and cause.gap.need is not None:
            need = cause.gap.need
            yield from product(*(list(self._openings(fault, need, cause)) for fault in cause.faults))
        else:
            for fault in cause.faults:
                yield from ((edit,) for edit in self._closings(fault, cause.gap.need))

    def _openings(self, fault: Fault, need: Need, cause: Cause) -> Iterator[Edit]:
        """What lets a flow through on one side."""
        deciding = self._deciding(fault)
        if isinstance(deciding, ClusterPolicy) and fault.rule is not None:
            snapshot = self._proof.stage.snapshot
            yield from cluster_mend.openings(snapshot, deciding, fault.direction, int(fault.rule.path[2]), need)
        if fault.reason not in _MISSING or not isinstance(fault.subject, Endpoint):
            return
        inwards = fault.direction is Direction.INGRESS
        party, peer = (need.destination, need.source) if inwards else (need.source, need.destination)
        policies = self._isolating(fault)
        for miss in fault.misses:
            policy = policies.get((miss.rule.namespace, miss.rule.name))
            if policy is not None and miss.admits_peer and miss.failed:
                names = cause.destination.named_ports if isinstance(cause.destination, Endpoint) else {}
                lacking = [port for port in need.ports if port_set([port], names) & cause.gap.ports]
                yield edits.add_ports(policy, fault.direction, int(miss.rule.path[2]), port_documents(lacking))
        for policy in policies.values():
            rule = rule_document(peer, need.ports, SIDES[fault.direction], policy.namespace)
            yield edits.add_rule(policy, fault.direction, rule)
        if party.pods is not None:
            namespace = fault.subject.namespace
            rule = rule_document(peer, need.ports, SIDES[fault.direction], namespace)
            yield self._new_policy(party, namespace, fault.direction, [rule])

    def _closings(self, fault: Fault, need: Need | None) -> Iterator[Edit]:
        """What ends, on one side, that policies allow what the model does not."""
        if not isinstance(fault.subject, Endpoint) or (party := self._component.get(fault.subject.index)) is None:
            return
        required = needed(self._requirements.get((party, fault.direction), ()))
        side, namespace = SIDES[fault.direction], fault.subject.namespace
        rules = [rule_document(one.peer, one.ports, side, namespace) for one in required]
        if fault.rule is not None:
            policy, number = self._deciding(fault), int(fault.rule.path[2])
            if isinstance(policy, ClusterPolicy):
                yield from cluster_mend.closings(policy, fault.direction, number, need)
            if isinstance(policy, NetworkPolicy):
                yield from edits.removals(policy, fault.direction, number, fault.matched)
                yield edits.replace_rule(policy, fault.direction, number, rules)
        elif fault.reason is Reason.NOT_ISOLATED:
            yield self._new_policy(party, namespace, fault.direction, rules)

    def _deciding(self, fault: Fault) -> Object | None:
        """The policy whose rule decides."""
        rule = fault.rule
        return self._proof.stage.snapshot.objects.get((rule.kind, rule.namespace, rule.name)) if rule else None

    def _isolating(self, fault: Fault) -> dict[tuple[str, str], NetworkPolicy]:
        """The policies that isolate the subject, those about the fewest pods first."""
        objects = self._proof.stage.snapshot.objects
        found = [objects.get((one.kind, one.namespace, one.name)) for one in fault.policies]
        policies = [one for one in found if isinstance(one, NetworkPolicy)]
        policies.sort(
            key=lambda one: not (one.spec.pod_selector.match_labels or one.spec.pod_selector.match_expressions)
        )
        return {(one.namespace, one.name): one for one in policies}

    def _new_policy(self, party: Party, namespace: str, direction: Direction, rules: list[Json]) -> Edit:
        taken = {(one.namespace, one.name) for one in self._proof.stage.snapshot.policies}
        base = f"{party.name}-{direction.value.lower()}".replace(" ", "-").lower()
        names = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
        name = next(one for one in names if (namespace, one) not in taken)
        selector = selector_document(party.pods.labels) if party.pods else {}
        spec: Json = {"podSelector": selector, "policyTypes": [direction.value]}
        if rules:
            spec[direction.value.lower()] = rules
        metadata = {"name": name, "namespace": namespace}
        return edits.create(Planned({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}))
