"""Policies held against a model, told as a person would: what fails, which policy is at fault, what would mend it.

Gaps with one cause are one failure: the same flow or assertion, or the same component, decided by the same rules. Each
has an example, a single connection that anybody can ask `explain` about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from gatewright.engine.addresses import EVERY_V4, EVERY_V6, AddressSet
from gatewright.engine.model import Endpoint
from gatewright.engine.owners import owner
from gatewright.engine.podset import PodSet
from gatewright.engine.ports import ALL_TRAFFIC, PortSet
from gatewright.engine.snapshot import Snapshot
from gatewright.intent.cause import Cause, by_side, cause_of
from gatewright.intent.compare import Gap, Kind
from gatewright.intent.mend import Mend, Mender
from gatewright.intent.parties import Bound, Need
from gatewright.intent.proof import Proof, prove
from gatewright.intent.stage import ELSEWHERE, STRANGER, TWIN, Stage, build_stage

ANY_OTHER = "any other pod of"
ANY_OF = "any pod of"
ANY_ELSEWHERE = f"{ANY_OF} another namespace"
WITH_LABELS = "a pod with labels"
TWIN_ELSEWHERE = "a pod of another namespace with the labels of"


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

    `sure` is False where all of it hangs on addresses that are not known yet.
    """

    kind: Kind
    need: Need | None
    lines: tuple[Line, ...]
    example: Cause
    sure: bool
    mend: Mend | None


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
    grouped: dict[tuple[object, ...], list[Cause]] = {}
    for gap in proof.gaps:
        for part in by_side(proof, gap) if exact or gap.kind is not Kind.BEYOND else ():
            cause = cause_of(proof, part)
            grouped.setdefault(_key(proof, cause), []).append(cause)
    mender = Mender(proof) if mends and grouped else None
    found: list[Failure] = []
    for causes in grouped.values():
        alike = [cause.gap for cause in causes]
        mend = mender.mend(causes[0], alike) if mender else None
        lines = _lines(proof, alike)
        sure = any(gap.sure for gap in alike)
        found.append(Failure(alike[0].kind, alike[0].need, lines, causes[0], sure, mend))
    return tuple(sorted(found, key=_order))


def _key(proof: Proof, cause: Cause) -> tuple[object, ...]:
    gap = cause.gap
    model = proof.models[gap.family]
    faults = cause.faults if gap.kind is Kind.BLOCKED else cause.faults[:1]
    subjects = (fault.subject for fault in faults)
    components = [model.groups[model.of[one.index]].component for one in subjects if isinstance(one, Endpoint)]
    return (gap.kind, gap.need, tuple(components), *(fault.key for fault in faults))


def _order(failure: Failure) -> tuple[object, ...]:
    kinds = tuple(Kind)
    flow = failure.need.flow if failure.need else None
    place = (flow.entry.origin.file, flow.entry.origin.line) if flow else ("", 0)
    return (kinds.index(failure.kind), flow is None, place, failure.lines)


def _lines(proof: Proof, gaps: Iterable[Gap]) -> tuple[Line, ...]:
    """Every connection of some gaps, those of both families once."""
    found: dict[tuple[str, str, int], PortSet] = {}
    for gap in gaps:
        sources, destinations = (
            _names(proof.stage, end, gap.need, gap.family) for end in (gap.source, gap.destination)
        )
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
    return tuple(sorted((line for line in told if not _says_less(line, told)), key=_declared_first))


def _ports_text(ports: PortSet) -> str:
    """The ports, or what they lack of everything where that is shorter."""
    lacking = ALL_TRAFFIC - ports
    but = f"{ALL_TRAFFIC} but {lacking}"
    return but if lacking and len(but) < len(str(ports)) else str(ports)


def _says_less(line: Line, told: Collection[Line]) -> bool:
    """Whether a line is about pods with some labels where another one is about all pods of another namespace."""
    wider = (replace(line, source=ANY_ELSEWHERE), replace(line, destination=ANY_ELSEWHERE))
    ends = (line.source, line.destination)
    return any(end.startswith(TWIN_ELSEWHERE) and more in told for end, more in zip(ends, wider, strict=True))


def _declared_first(line: Line) -> tuple[int, Line]:
    return (
        sum(
            end.startswith((ANY_OF, TWIN_ELSEWHERE, ANY_OTHER, WITH_LABELS))
            for end in (line.source, line.destination)
        ),
        line,
    )


def _names(stage: Stage, end: PodSet | AddressSet, need: Need | None, family: int) -> list[str]:
    """What an end of a gap is called: workloads by name, stand-ins by what they stand for, addresses as ranges."""
    if isinstance(end, PodSet):
        return sorted({endpoint_text(stage, stage.objects.at(index)) for index in end})
    outer = [party for party in (need.source, need.destination) if party.pods is None] if need else []
    every = {4: AddressSet(v4=EVERY_V4), 6: AddressSet(v6=EVERY_V6)}[family]
    for party in outer:
        if end == party.addresses & every:
            return [party.name]
    return ["anywhere" if end == every else f"{end}"]


def endpoint_text(stage: Stage, endpoint: Endpoint) -> str:
    """An endpoint as people know it: its workload, or what a stand-in stands for."""
    if not stage.is_stand_in(endpoint):
        kind, namespace, name = owner(stage.snapshot, endpoint)
        return f"{namespace}/{name}[{kind}]"
    if endpoint.name == STRANGER:
        return ANY_ELSEWHERE if endpoint.namespace == ELSEWHERE else f"{ANY_OTHER} {endpoint.namespace}"
    if endpoint.name.startswith(TWIN):
        return f"{TWIN_ELSEWHERE} {endpoint.name.removeprefix(TWIN)}"
    if stage.is_awaited(endpoint):
        who = f"{WITH_LABELS} {_labels_text(endpoint.labels)} of" if endpoint.labels else ANY_OF
        if endpoint.namespace not in stage.spaces:
            return f"{who} {endpoint.namespace}"
        labels = stage.snapshot.objects["Namespace", "", endpoint.namespace].labels
        return f"{who} a namespace {f'with labels {_labels_text(labels)}' if labels else endpoint.namespace}"
    return f"{endpoint.namespace}/{endpoint.name}"


def _labels_text(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
