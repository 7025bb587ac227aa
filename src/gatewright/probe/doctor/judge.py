"""The answer: what each node's solutions do together, and what that makes of the cluster.

A node is a yes only where exactly one known solution enforces there, its pod is ready, and what carries the packets is
known to leave them to it. A cluster is a yes only where every node is, and nothing that was asked stayed unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from gatewright.probe.doctor.answer import Answer, Found, NodeAnswer, PartAnswer, Told
from gatewright.probe.doctor.decide import Decision, decide
from gatewright.probe.doctor.evidence import DAEMONSETS, GROUPS, NODES, Evidence, Seen
from gatewright.probe.doctor.recognise import Claim, Stranger, claims, is_ready, matches
from gatewright.probe.doctor.settings import Place
from gatewright.probe.doctor.solutions import LEAKS, Capability, Knowledge, Role, Solution, State
from gatewright.probe.doctor.trees import Tree, called, items, mapping, name_of, text

NO_NETWORK = "none"
"""What stands in `beside` for a network that left no trace."""
VERIFY = "gatewright doctor --verify measures it with packets"
MOST_NAMED = 5
"""Nodes that a sentence names."""


@dataclass(frozen=True, slots=True)
class _Here:
    """A solution on one node. `decision` is None where its pod cannot be understood; `trouble` says what is wrong."""

    claim: Claim
    decision: Decision | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class _Leftover:
    """Something that speaks of a solution of which nothing runs."""

    solution: Solution
    seen: Seen


@dataclass(slots=True)
class _Judge:
    evidence: Evidence
    found: list[Claim]
    strangers: list[Stranger]
    decisions: dict[tuple[str, bytes], Decision] = field(default_factory=dict)

    def here(self, node: Tree) -> list[_Here]:
        """The solutions that stand on this node."""
        return [one for claim in self.found if (one := self._one(claim, node)) is not None]

    def _one(self, claim: Claim, node: Tree) -> _Here | None:
        name = name_of(node)
        if claim.blind:
            return _Here(claim, None, claim.blind)
        if claim.daemonset is None and not claim.pods:
            here = name in claim.nodes
            return _Here(claim, self._decided(claim, None, node)) if here else None
        pod = claim.pods.get(name)
        if pod is None:
            return None
        if claim.foreign:
            return _Here(claim, None, claim.foreign)
        if not matches(claim.solution, items(pod, "spec", "containers")):
            images = ", ".join(text(one, "image") for one in items(pod, "spec", "containers"))
            return _Here(claim, None, f"{called('Pod', pod)} has images that are not known: {images}")
        trouble = "" if is_ready(pod) else f"{called('Pod', pod)} is not ready"
        return _Here(claim, self._decided(claim, pod, node), trouble)

    def _decided(self, claim: Claim, pod: Tree | None, node: Tree) -> Decision:
        version = text(node, "status", "nodeInfo", "kubeletVersion")
        subject = claim.subject if pod is None or _as_template(claim.daemonset, pod) else called("Pod", pod)
        spec = mapping(pod, "spec")
        fingerprint = msgspec.json.encode(
            [subject, version if pod is None else "", spec.get("containers"), spec.get("volumes")]
        )
        key = (claim.solution.id, fingerprint)
        if key not in self.decisions:
            self.decisions[key] = decide(Place(self.evidence, claim.solution, pod, subject), version)
        return self.decisions[key]


def judge(evidence: Evidence, known: Knowledge, cluster: str = "") -> Answer:
    """Everything that the evidence says. Asks it for what it lacks: `evidence.wanted`."""
    found, strangers = claims(evidence, known)
    work = _Judge(evidence, found, strangers)
    nodes = evidence.listed(NODES)
    standing = {name_of(node): work.here(node) for node in nodes}
    missing = list(evidence.blind(DAEMONSETS, NODES, GROUPS))
    leftovers = _leftovers(evidence, found, known)
    answers = tuple(_node(node, standing[name_of(node)], work, leftovers) for node in nodes)
    missing += dict.fromkeys(claim.blind for claim in found if claim.blind)
    parts = _parts(standing, answers)
    enforced, why = _whole(answers, parts, missing)
    decisions = list(work.decisions.values())
    evidence_seen = [seen for claim in found for seen in claim.seen]
    evidence_seen += [one.seen for one in strangers] + [one.seen for one in leftovers] + _files(evidence)
    evidence_seen += [seen for one in decisions for seen in one.seen]
    return Answer(
        cluster=cluster,
        enforced=enforced,
        why=why,
        found=tuple(_found(claim, standing) for claim in found),
        nodes=answers,
        parts=parts,
        deviations=_deviations(standing),
        evidence=tuple(dict.fromkeys(evidence_seen)),
        missing=tuple(missing),
        changes=tuple(_changes(enforced, answers, decisions, missing)),
    )


# --- one node ---------------------------------------------------------------------------------------------------------


def _node(node: Tree, here: Sequence[_Here], work: _Judge, leftovers: Sequence[_Leftover]) -> NodeAnswer:
    state, why = _together(node, here, work, leftovers)
    return NodeAnswer(name_of(node), state, why)


def _together(node: Tree, here: Sequence[_Here], work: _Judge, leftovers: Sequence[_Leftover]) -> tuple[State, str]:
    """What the solutions of a node do together."""
    if obscured := _obscured(node, here, work):
        return State.UNKNOWN, obscured
    if not here:
        return _bare(work, leftovers)
    carriers = _carriers(here)
    if len(carriers) > 1:
        return State.UNKNOWN, f"two networks at once: {_names(carriers)}"
    if contradiction := _contradicted(node, carriers, work.evidence):
        return State.UNKNOWN, contradiction
    enforcers = [one for one in here if one.decision is not None and one.decision.enforced is not State.NO]
    if not enforcers:
        return State.NO, "; ".join(dict.fromkeys(one.decision.why for one in here if one.decision is not None))
    if len(enforcers) > 1:
        return State.UNKNOWN, f"two solutions enforce policies at once: {_names(enforcers)}"
    if troubled := next((one.trouble for one in here if one.trouble), ""):
        return State.UNKNOWN, troubled
    return _one_enforcer(enforcers[0], carriers, _elsewhere(here, work, leftovers))


def _obscured(node: Tree, here: Sequence[_Here], work: _Judge) -> str:
    """Why nothing can be told of a node; empty where something can."""
    if not is_ready(node):
        return "the node is not ready"
    if work.strangers:
        return f"a network that is not known: {work.strangers[0].seen}"
    return next((one.trouble for one in here if one.decision is None), "")


def _one_enforcer(one: _Here, carriers: Sequence[_Here], elsewhere: Sequence[str]) -> tuple[State, str]:
    """`elsewhere` is what speaks of a network that is not on this node, a reason each."""
    decision = one.decision
    assert decision is not None
    if decision.role is Role.POLICY:
        network = carriers[0].claim.solution if carriers else None
        if network is None and elsewhere:
            return State.UNKNOWN, f"what carries the packets there is not known: {elsewhere[0]}"
        if (network.id if network else NO_NETWORK) not in one.claim.solution.beside:
            beside = network.title if network else "a network that left no trace"
            return State.UNKNOWN, f"{decision.title} beside {beside}: not known to work together"
    return decision.enforced, decision.why


def _elsewhere(here: Sequence[_Here], work: _Judge, leftovers: Sequence[_Leftover]) -> list[str]:
    """Solutions of the cluster that carry packets and are not on this node, and what speaks of others."""
    there = {one.claim for one in here}
    known = {one.claim.solution.id for one in here}
    absent = [one for one in work.found if one not in there and one.solution.role is not Role.POLICY]
    told = [f"no pod of {one.subject} runs there" for one in absent]
    return told + [
        f"{one.seen}, and nothing of it runs"
        for one in leftovers
        if one.solution.role is not Role.POLICY and one.solution.id not in known
    ]


def _carriers(here: Sequence[_Here]) -> list[_Here]:
    """Those that carry the pods' packets, without those that only hand out addresses for another."""
    carrying = [one for one in here if one.decision is not None and one.decision.role is not Role.POLICY]
    there = {one.claim.solution.id for one in carrying}
    return [one for one in carrying if not there & set(one.claim.solution.yields)]


def _contradicted(node: Tree, carriers: Sequence[_Here], evidence: Evidence) -> str:
    """What the node's own CNI files say against the solution that was recognised."""
    if evidence.files_node != name_of(node) or not evidence.cni_files:
        return ""
    first = evidence.cni_files[0]
    kind = first.types[0] if first.types else ""
    if not kind:
        return f"{first.path} is not a CNI configuration that can be read"
    for one in carriers:
        if kind not in one.claim.solution.cni:
            return f"{first.path} has type {kind}, which is not that of {one.claim.solution.title}"
    if evidence.cni_binaries and kind not in evidence.cni_binaries:
        return f"{first.path} has type {kind}, and there is no plugin of that name"
    return ""


def _files(evidence: Evidence) -> list[Seen]:
    """The node's files as pieces of evidence."""
    subject = f"Node {evidence.files_node}" if evidence.files_node else "a node's files"
    told = [Seen(subject, one.path, f"types {', '.join(one.types) or 'none'}") for one in evidence.cni_files]
    return told + ([Seen(subject, "CNI plugins", ", ".join(evidence.cni_binaries))] if evidence.cni_binaries else [])


def _bare(work: _Judge, leftovers: Sequence[_Leftover]) -> tuple[State, str]:
    """A node on which nothing that is known stands."""
    elsewhere = [claim for claim in work.found if claim.pods or claim.daemonset is not None]
    if elsewhere:
        return State.NO, f"no pod of {elsewhere[0].subject} runs there"
    if leftovers:
        return State.UNKNOWN, f"{leftovers[0].seen}, and nothing of it runs"
    return State.UNKNOWN, "no networking solution that is known left a trace"


def _names(several: Iterable[_Here]) -> str:
    return " and ".join(one.decision.title for one in several if one.decision is not None)


def _as_template(daemonset: Tree | None, pod: Tree) -> bool:
    """Whether a pod's containers start as those of its DaemonSet do."""

    def started(tree: Tree, *path: str) -> list[object]:
        keys = ("image", "command", "args", "env", "envFrom")
        return [[one.get(key) for key in keys] for one in items(tree, *path, "spec", "containers")]

    return daemonset is not None and started(daemonset, "spec", "template") == started(pod)


# --- the cluster ------------------------------------------------------------------------------------------------------


def _leftovers(evidence: Evidence, found: Iterable[Claim], known: Knowledge) -> list[_Leftover]:
    """API groups and annotations of solutions of which nothing else is there."""
    there = {claim.solution.id for claim in found}
    present = [one for one in known.solutions if one.id in there]
    groups = {text(one, "name") for one in items(evidence.get(GROUPS).tree, "groups")}
    groups -= {group for one in present for group in one.groups}
    told = [
        _Leftover(one, Seen("the API", "groups", f"{group} ({one.title})"))
        for one in known.solutions
        for group in one.groups
        if one.id not in there and group in groups
    ]
    explained = tuple(prefix for one in present for prefix in one.annotations)
    for node in evidence.listed(NODES):
        keys = [key for key in mapping(node, "metadata", "annotations") if not key.startswith(explained)]
        told += [
            _Leftover(one, Seen(called("Node", node), "metadata.annotations", f"{key} ({one.title})"))
            for one in known.solutions
            for key in keys
            if one.id not in there and one.annotations and key.startswith(one.annotations)
        ]
    return told


def _whole(
    answers: Sequence[NodeAnswer], parts: Mapping[Capability, PartAnswer], missing: Sequence[str]
) -> tuple[State, str]:
    """The nodes' answers as one, and why. Missing rights, and parts that leak, take a yes away."""
    states = {one.enforced for one in answers}
    if missing:
        return State.UNKNOWN, missing[0]
    if not answers:
        return State.UNKNOWN, "the cluster has no nodes"
    if states == {State.YES}:
        return _by_parts(answers[0].why, parts)
    if State.YES in states or State.PARTLY in states:
        return State.PARTLY, _uneven(answers)
    state = State.UNKNOWN if State.UNKNOWN in states else State.NO
    reasons = Counter(one.why for one in answers if one.enforced is state)
    return state, "; ".join(reason for reason, _ in reasons.most_common(3))


def _by_parts(why: str, parts: Mapping[Capability, PartAnswer]) -> tuple[State, str]:
    states = {one: parts[one].state for one in LEAKS}
    if all(state is State.YES for state in states.values()):
        return State.YES, why
    if states[Capability.INGRESS] is State.UNKNOWN:
        return State.UNKNOWN, f"{why}, but whether this version does is not known"
    lacking = ", ".join(f"{one}: {state}" for one, state in states.items() if state is not State.YES)
    return State.PARTLY, f"{why}, but not every part: {lacking}"


def _uneven(answers: Sequence[NodeAnswer]) -> str:
    """Which nodes do not enforce, by reason."""
    reasons: dict[str, list[str]] = {}
    for one in answers:
        if one.enforced is not State.YES:
            reasons.setdefault(one.why, []).append(one.node)
    told = "; ".join(f"not on {_some(nodes)}: {why}" for why, nodes in reasons.items())
    return f"enforced on {sum(one.enforced is State.YES for one in answers)} of {len(answers)} nodes; {told}"


def _some(nodes: Sequence[str]) -> str:
    shown = ", ".join(nodes[:MOST_NAMED])
    return shown if len(nodes) <= MOST_NAMED else f"{shown} and {len(nodes) - MOST_NAMED} more"


def _parts(standing: Mapping[str, Sequence[_Here]], answers: Sequence[NodeAnswer]) -> dict[Capability, PartAnswer]:
    """Each part over all nodes: as their one enforcer has it, no where none enforces, unknown where that is unknown."""
    by_node: dict[Capability, list[PartAnswer]] = {one: [] for one in Capability}
    for answer in answers:
        enforcers = [
            one.decision
            for one in standing[answer.node]
            if one.decision is not None and one.decision.enforced is not State.NO
        ]
        for capability, told in by_node.items():
            if answer.enforced is State.NO:
                told.append(PartAnswer(State.NO))
            elif answer.enforced is State.UNKNOWN or len(enforcers) != 1 or enforcers[0].parts is None:
                told.append(PartAnswer(State.UNKNOWN))
            else:
                part = enforcers[0].parts[capability]
                told.append(PartAnswer(part.state, part.note, part.issue))
    return {one: _combined(told) for one, told in by_node.items()}


def _combined(told: Sequence[PartAnswer]) -> PartAnswer:
    different = set(told)
    if not different:
        return PartAnswer(State.UNKNOWN)
    if len(different) == 1:
        return told[0]
    states = {one.state for one in different}
    if len(states) == 1:
        return PartAnswer(states.pop())
    enforcing = State.YES in states or State.PARTLY in states
    return PartAnswer(State.PARTLY if enforcing else State.UNKNOWN, "not the same on every node")


def _deviations(standing: Mapping[str, Sequence[_Here]]) -> tuple[Told, ...]:
    """Of the solutions that enforce."""
    return tuple(
        dict.fromkeys(
            Told(one.claim.solution.title, told.what, told.issue)
            for here in standing.values()
            for one in here
            if one.decision is not None and one.decision.enforced is not State.NO
            for told in one.decision.deviations
        )
    )


def _found(claim: Claim, standing: Mapping[str, Sequence[_Here]]) -> Found:
    solution: Solution = claim.solution
    decisions = [
        one.decision for here in standing.values() for one in here if one.claim is claim and one.decision is not None
    ]
    return Found(
        id=solution.id,
        where=claim.subject,
        role=decisions[0].role if decisions else solution.role,
        variants=tuple(dict.fromkeys(one.title for one in decisions)),
        versions=tuple(dict.fromkeys(one.tag for one in decisions if one.tag)),
        knowledge_of=solution.revised,
    )


def _changes(
    enforced: State, answers: Sequence[NodeAnswer], decisions: Sequence[Decision], missing: Sequence[str]
) -> list[str]:
    """What would change the answer."""
    told = [
        f"with the right to {one.removeprefix('not allowed to ').partition(':')[0]} more is known" for one in missing
    ]
    told += dict.fromkeys(one.changes for one in decisions if one.changes)
    if enforced is State.PARTLY and any(one.enforced is not State.YES for one in answers):
        lacking = [one.node for one in answers if one.enforced is not State.YES]
        told.append(f"a solution that enforces and is ready on {_some(lacking)}")
    if enforced is State.NO:
        told.append("an enforcing agent beside this network (docs/agent.md), or a network that enforces policies")
    return [*told, VERIFY]
