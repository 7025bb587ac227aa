"""What a solution does in one node's configuration: which variant of its file holds, and what that enforces.

Variants are tried in order. One whose condition cannot be told ends the search: it might be the one that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewright.probe.doctor.evidence import Seen, blindness
from gatewright.probe.doctor.images import Version, parse_version, version_of
from gatewright.probe.doctor.settings import SYSTEM, Place, read_setting
from gatewright.probe.doctor.solutions import Capability, Conditions, Deviation, Range, Role, State
from gatewright.probe.doctor.trees import namespace_of, number, text


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of one part of the policies."""

    state: State
    note: str = ""
    issue: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a solution does on a node. `tag` is what its version was read from."""

    enforced: State
    role: Role
    title: str
    why: str
    changes: str
    seen: tuple[Seen, ...]
    tag: str = ""
    parts: Mapping[Capability, Part] | None = None
    deviations: tuple[Deviation, ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    """Whether conditions hold: None where that cannot be told, and why."""

    holds: bool | None
    seen: tuple[Seen, ...] = ()
    why: str = ""


def decide(place: Place, kubelet_version: str = "") -> Decision:
    """The variant that holds for this pod. What runs as part of a node has the version of its kubelet."""
    solution = place.solution
    tag, version = _version(place, kubelet_version)
    gathered: tuple[Seen, ...] = (Seen(place.subject, "version", tag),) if tag else ()
    for variant in solution.variants:
        held = _both(_holds(place, variant.when), _within(version, variant.since, variant.before, tag))
        gathered += held.seen
        if held.holds is None:
            changes = f"{solution.title} is understood once this is known: {held.why}"
            return Decision(State.UNKNOWN, solution.role, solution.title, held.why, changes, gathered, tag)
        if held.holds:
            enforced, why = variant.enforced, variant.why
            lack = _needs(place) if enforced is not State.NO else None
            if lack is not None:
                gathered += lack.seen
                if not lack.holds:
                    enforced, why = State.UNKNOWN, lack.why
            role = variant.role or solution.role
            parts = {one: _part(place, version, one) for one in Capability}
            deviations = tuple(one for one in solution.deviations if _applies(place, version, one))
            return Decision(enforced, role, variant.title, why, variant.changes, gathered, tag, parts, deviations)
    why = "its settings stand in a combination that is not known"
    return Decision(State.UNKNOWN, solution.role, solution.title, why, "", gathered, tag)


def _version(place: Place, kubelet_version: str) -> tuple[str, Version | None]:
    """What the version is read from, and the version."""
    if place.pod is None:
        return kubelet_version, parse_version(kubelet_version)
    if not place.solution.version:
        return "", None
    image = text(place.container(place.solution.version), "image")
    return image, version_of(image)


def _holds(place: Place, when: Conditions) -> _Held:
    """One setting that certainly differs decides, whatever cannot be told of others."""
    seen: tuple[Seen, ...] = ()
    unknown = ""
    for name, wanted in when.items():
        reading = read_setting(place, name)
        seen += reading.seen
        if reading.value is None:
            unknown = unknown or reading.why
        elif reading.value not in ((wanted,) if isinstance(wanted, str) else wanted):
            return _Held(False, seen)
    return _Held(None, seen, unknown) if unknown else _Held(True, seen)


def _within(version: Version | None, since: str, before: str, tag: str) -> _Held:
    if not since and not before:
        return _Held(True)
    if version is None:
        said = f"{tag} names no version" if tag else "no image names its version"
        return _Held(None, why=said)
    lowest, end = parse_version(since), parse_version(before)
    return _Held((lowest is None or version >= lowest) and (end is None or version < end))


def _both(one: _Held, other: _Held) -> _Held:
    seen = one.seen + other.seen
    if one.holds is False or other.holds is False:
        return _Held(False, seen)
    if one.holds is None or other.holds is None:
        return _Held(None, seen, one.why or other.why)
    return _Held(True, seen)


def _needs(place: Place) -> _Held:
    """Whether every Deployment is available without which nothing reaches the nodes."""
    seen: tuple[Seen, ...] = ()
    for need in place.solution.needs:
        wanted = _holds(place, need.when)
        if wanted.holds is False:
            continue
        if wanted.holds is None:
            return wanted
        namespace = need.namespace or namespace_of(place.pod) or SYSTEM
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{need.deployment}"
        subject = f"Deployment {namespace}/{need.deployment}"
        reply = place.evidence.get(path)
        if not reply.ok:
            return _Held(None, seen, f"{need.why}: {blindness(path, reply) or f'{subject} is not there'}")
        ready = number(reply.tree, "status", "readyReplicas")
        seen += (Seen(subject, "status.readyReplicas", str(ready)),)
        if not ready:
            return _Held(False, seen, f"{need.why}: {subject} has no ready replica")
    return _Held(True, seen)


def _part(place: Place, version: Version | None, capability: Capability) -> Part:
    known = place.solution.capabilities.get(capability, State.UNKNOWN)
    if isinstance(known, State):
        return Part(known)
    for one in known:
        held = _both(_holds(place, one.when), _within(version, one.since, one.before, ""))
        if held.holds is None and _differ(known):
            return Part(State.UNKNOWN, held.why)
        if held.holds or held.holds is None:
            return Part(one.state, one.note, one.issue)
    return Part(State.UNKNOWN)


def _differ(ranges: tuple[Range, ...]) -> bool:
    return True if len(ranges) == 1 else len({one.state for one in ranges}) > 1


def _applies(place: Place, version: Version | None, deviation: Deviation) -> bool:
    """Whether a deviation is to be told: unless it certainly does not apply."""
    held = _both(_holds(place, deviation.when), _within(version, deviation.since, deviation.before, ""))
    return held.holds is not False
