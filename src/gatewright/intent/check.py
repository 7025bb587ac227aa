"""Policies held against a model, told as a person would: what fails, which policy is at fault, what would mend it.

Gaps with one cause are one failure: the same flow or assertion, or the same component, decided by the same rules. Each
has an example, a single connection that anybody can ask `explain` about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from gatewright.engine.model import Endpoint
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import ALL_TRAFFIC, PortSet
from gatewright.engine.snapshot import Snapshot
from gatewright.intent.called import ANY_ELSEWHERE, ANY_OTHER, endpoint_text, is_nobody, names
from gatewright.intent.cause import Cause, Fault, by_side, causes_of
from gatewright.intent.compare import Gap, Kind
from gatewright.intent.mend import Mend, Mender
from gatewright.intent.parties import Bound, Need
from gatewright.intent.proof import Proof, prove
from gatewright.intent.selected import subjects_of
from gatewright.intent.stage import TWIN, build_stage


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """Connections of a failure between two ends, as text, and their ports. `family` where it is one family's alone."""

    source: str
    destination: str
    ports: str
    family: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """One way in which policies and model differ. `need` is None for what no flow covers.

    `sure` is False where all of it hangs on addresses that are not known yet, `awaited` is True where all of it needs
    pods that do not exist yet, and that policies wait for.
    """

    kind: Kind
    need: Need | None
    lines: tuple[Line, ...]
    example: Cause
    sure: bool
    mend: Mend | None
    awaited: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What a check came to."""

    bound: Bound
    exact: bool
    failures: tuple[Failure, ...]


def check(bound: Bound, snapshot: Snapshot, *, exact: bool = False) -> Checked:
    """Hold the policies of a snapshot against a model. `exact` also fails what is allowed beyond it."""
    proof = prove(build_stage(bound, snapshot), exact=True)
    return Checked(bound, exact, failures(proof, exact=exact))


def failures(proof: Proof, *, exact: bool = True, mends: bool = True) -> tuple[Failure, ...]:
    """The failures of a proof, in stable order."""
    awaited = proof.stage.awaited_members
    wanted = [gap for gap in proof.gaps if exact or gap.kind is not Kind.BEYOND]
    grouped: dict[tuple[object, ...], list[Cause]] = {}
    for gap in _told_once(wanted, awaited):
        for part in by_side(proof, gap):
            for cause in causes_of(proof, part):
                grouped.setdefault(_key(proof, cause), []).append(cause)
    mender = Mender(proof) if mends and grouped else None
    found: list[Failure] = []
    for causes in grouped.values():
        alike = [cause.gap for cause in causes]
        mend = mender.mend(causes[0], alike) if mender else None
        sure, waits = any(gap.sure for gap in alike), all(any(_nobody_yet(gap, awaited)) for gap in alike)
        found.append(Failure(alike[0].kind, alike[0].need, _lines(proof, alike), causes[0], sure, mend, waits))
    return tuple(sorted(found, key=_order))


def _nobody_yet(gap: Gap, awaited: PodSet) -> tuple[bool, bool]:
    """Whether the source, and whether the destination, is pods that do not exist yet. A gap never mixes them."""
    source, destination = (isinstance(end, PodSet) and not end - awaited for end in (gap.source, gap.destination))
    return source, destination


def _told_once(gaps: list[Gap], awaited: PodSet) -> Iterator[Gap]:
    """The gaps, but not what two that do not exist yet may do where one of them may do something with others, too."""
    doors = PodSet()
    for gap in gaps if awaited else ():
        for end, waits in zip((gap.source, gap.destination), _nobody_yet(gap, awaited), strict=True):
            if isinstance(end, PodSet) and waits and not all(_nobody_yet(gap, awaited)):
                doors |= end
    for gap in gaps:
        ends = [end for end in (gap.source, gap.destination) if isinstance(end, PodSet)]
        if not doors or not all(_nobody_yet(gap, awaited)) or all(end - doors for end in ends):
            yield gap


def _key(proof: Proof, cause: Cause) -> tuple[object, ...]:
    """What one failure is about. A policy that only waits for pods is one cause, whosever they would be."""
    gap, model = cause.gap, proof.models[cause.gap.family]
    faults = cause.faults if gap.kind is Kind.BLOCKED else cause.faults[:1]
    acting = (fault for fault in faults if not _only_waits(proof, fault))
    subjects = [fault.subject for fault in acting if isinstance(fault.subject, Endpoint)]
    components = [model.groups[model.of[one.index]].component for one in subjects]
    return (gap.kind, gap.need, tuple(components), *(fault.key for fault in faults))


def _only_waits(proof: Proof, fault: Fault) -> bool:
    """Whether the policy that decides selects nobody but pods that do not exist yet."""
    rule, stage = fault.rule, proof.stage
    if rule is None or not isinstance(fault.subject, Endpoint) or not stage.is_awaited(fault.subject):
        return False
    policy = stage.snapshot.objects[rule.kind, rule.namespace, rule.name]
    return not any(stage.objects.members(pods) - stage.awaited_members for pods in subjects_of(policy))


def _order(failure: Failure) -> tuple[object, ...]:
    kinds = tuple(Kind)
    flow = failure.need.flow if failure.need else None
    place = (flow.entry.origin.file, flow.entry.origin.line) if flow else ("", 0)
    return (kinds.index(failure.kind), flow is None, place, failure.lines)


def _lines(proof: Proof, gaps: Iterable[Gap]) -> tuple[Line, ...]:
    """Every connection of some gaps, those of both families once."""
    found: dict[tuple[str, str, int], PortSet] = {}
    wider: dict[str, set[str]] = {}
    for gap in gaps:
        sources, destinations = (names(proof.stage, end, gap.need, gap.family) for end in (gap.source, gap.destination))
        for end in (gap.source, gap.destination):
            wider |= _wider(proof, end) if isinstance(end, PodSet) else {}
        for source in sources:
            for destination in destinations:
                key = (source, destination, gap.family)
                found[key] = found.get(key, PortSet()) | gap.ports
    families = {family for _, _, family in found}
    told: dict[Line, None] = {}
    for (source, destination, family), ports in found.items():
        shared = all(found.get((source, destination, other)) == ports for other in families)
        only = 0 if shared or len(proof.models) == 1 else family
        told[Line(source, destination, _ports_text(ports), only)] = None
    return tuple(sorted((line for line in told if not _says_less(line, told, wider)), key=_declared_first))


def _wider(proof: Proof, end: PodSet) -> dict[str, set[str]]:
    """For stand-ins of an end, by what they are called: who else stands for them where it may do as much."""
    stage = proof.stage
    found: dict[str, set[str]] = {}
    for one in map(stage.objects.at, end):
        if one.name.startswith(TWIN) and stage.is_stand_in(one):
            found[endpoint_text(stage, one)] = {ANY_ELSEWHERE}
        elif stage.is_awaited(one):
            party = next((party for party in stage.bound.components if one.index in stage.members(party)), None)
            others = stage.members(party) - stage.awaited_members if party else PodSet()
            strangers = {f"{ANY_OTHER} {one.namespace}"} | ({ANY_ELSEWHERE} if one.namespace in stage.spaces else set())
            called = {endpoint_text(stage, stage.objects.at(other)) for other in others}
            found[endpoint_text(stage, one)] = called if party else strangers
    return found


@lru_cache(maxsize=4096)
def _ports_text(ports: PortSet) -> str:
    """The ports, or what they lack of everything where that is shorter."""
    lacking = ALL_TRAFFIC - ports
    but = f"{ALL_TRAFFIC} but {lacking}"
    return but if lacking and len(but) < len(str(ports)) else str(ports)


def _says_less(line: Line, told: Collection[Line], wider: Mapping[str, set[str]]) -> bool:
    """Whether another line says the same of somebody who stands for an end of this one."""
    sources = (replace(line, source=one) for one in wider.get(line.source, ()))
    destinations = (replace(line, destination=one) for one in wider.get(line.destination, ()))
    return any(one in told for one in (*sources, *destinations))


def _declared_first(line: Line) -> tuple[int, Line]:
    return sum(map(is_nobody, (line.source, line.destination))), line
