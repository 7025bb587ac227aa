"""What packets say of the nodes and the cluster. Pure.

Ingress is enforced by the node of the target, egress by that of the source: so the canaries are apart, and a connection
that comes through in spite of one names the node that leaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gatewright.probe.doctor.solutions import State
from gatewright.probe.verify.answer import NodeMeasured, Tried
from gatewright.probe.verify.paths import Path

NOT_BEFORE = "no connection before any policy either"
NOT_AGAIN = "closed, and not opened again by the policy that allows it"
LEAKS = "connections come through in spite of the policy"


def tried(
    direction: str,
    paths: Iterable[Path],
    before: Mapping[Path, float],
    closed: Mapping[Path, float],
    again: Mapping[Path, float],
) -> list[Tried]:
    """The outcome of one canary and its counterpart on every path."""
    return [_tried(direction, path, path in before, closed.get(path), again.get(path)) for path in paths]


def _tried(direction: str, path: Path, before: bool, closed: float | None, again: float | None) -> Tried:
    if not before:
        result, note = State.UNKNOWN, NOT_BEFORE
    elif closed is None:
        result, note = State.NO, LEAKS
    elif again is None:
        result, note = State.PARTLY, NOT_AGAIN
    else:
        result, note = State.YES, ""
    return Tried(
        direction=direction,
        source=path.pair.source,
        target=path.pair.target,
        address=path.address,
        family=path.family,
        result=result,
        closed_after=round(closed, 3) if closed is not None and before else None,
        opened_after=round(again, 3) if closed is not None and again is not None else None,
        note=note,
    )


def nodes(everything: Sequence[Tried], every_node: Mapping[str, str]) -> tuple[NodeMeasured, ...]:
    """Every node of the cluster; the value of one is why it was not measured, empty where it was."""
    return tuple(_node(name, why, everything) for name, why in every_node.items())


def _node(name: str, why: str, everything: Sequence[Tried]) -> NodeMeasured:
    own = [one for one in everything if (one.target if one.direction == "Ingress" else one.source) == name]
    if why or not own:
        return NodeMeasured(name, State.UNKNOWN, why or "nothing was tried there")
    states = {one.result for one in own}
    if states == {State.YES}:
        slowest = max(one.closed_after or 0.0 for one in own)
        return NodeMeasured(
            name, State.YES, f"closed within {slowest:.2f} s of the policy's creation, and opened again"
        )
    if states <= {State.YES, State.PARTLY} or State.NO in states:
        state = State.NO if states == {State.NO} else State.PARTLY
        return NodeMeasured(name, state, "; ".join(_reasons(own)))
    return NodeMeasured(name, State.UNKNOWN, "; ".join(_reasons(own)))


def _reasons(own: Iterable[Tried]) -> Iterable[str]:
    """Which way is wrong: direction, family and whether on the node itself."""
    told: dict[str, list[str]] = {}
    for one in own:
        if one.result is not State.YES:
            across = "on the node" if one.source == one.target else "from another node"
            across = "to another node" if one.direction == "Egress" and one.source != one.target else across
            told.setdefault(one.note, []).append(f"{one.direction.lower()} {across} by IPv{one.family}")
    return (f"{', '.join(dict.fromkeys(ways))}: {note}" for note, ways in told.items())


def whole(measured: Sequence[NodeMeasured]) -> tuple[State, str]:
    """The nodes as one."""
    states = {one.enforced for one in measured}
    if not measured:
        return State.UNKNOWN, "the cluster has no nodes"
    if states == {State.YES}:
        return State.YES, f"every canary held on {len(measured)} of {len(measured)} nodes"
    wrong = [one for one in measured if one.enforced is not State.YES]
    told = "; ".join(f"{one.node}: {one.why}" for one in wrong[:5])
    more = f"; and {len(wrong) - 5} more nodes" if len(wrong) > 5 else ""
    if len(states) == 1 and states < {State.NO, State.UNKNOWN}:
        return wrong[0].enforced, told + more
    if states == {State.NO, State.UNKNOWN}:
        return State.NO, told + more
    return State.PARTLY, told + more
