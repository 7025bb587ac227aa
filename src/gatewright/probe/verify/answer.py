"""What a verification found: structs whose JSON is the command's output."""

from __future__ import annotations

import msgspec

from gatewright.probe.doctor.solutions import State


class Tried(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One path with one canary.

    `closed_after` and `opened_after` are seconds from the request that created the policy to the last connection that
    came through, and to the first that did again; None where that did not happen.
    """

    direction: str
    source: str
    target: str
    address: str
    family: int
    result: State
    closed_after: float | None = None
    opened_after: float | None = None
    note: str = ""


class NodeMeasured(msgspec.Struct, frozen=True):
    """What packets say of one node: `no` and `partly` are leaks, `why` says which way."""

    node: str
    enforced: State
    why: str


class Measured(msgspec.Struct, frozen=True, rename="camel"):
    """The whole. `seconds` is how long it took, `left` what could not be removed."""

    enforced: State
    why: str
    nodes: tuple[NodeMeasured, ...]
    tried: tuple[Tried, ...]
    seconds: float
    left: tuple[str, ...] = ()
