"""What the node's kernel dropped, in words: which pod, which peer, which port, which policy.

The kernel logs a packet and the class that dropped it. Who the addresses are, and which policies isolate the pod, is
asked of the rules that are in force: the same question, to the same engine, that `gatewright explain` asks. A flow is
told to whoever listens; the last ones are kept for who comes later.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from gatewright.agent.parties import holder, party
from gatewright.engine.addresses import IPAddress
from gatewright.engine.compile import Compiled
from gatewright.engine.model import Direction, Endpoint
from gatewright.engine.verdict import Outcome, Reason, judge_side
from gatewright.kernel.cover import PROTOCOLS
from gatewright.kernel.denylog import Denied
from gatewright.kernel.guards import SPOOFED, UNKNOWN

OTHERS = {1: "ICMP", 58: "ICMPv6"}
GUARDS = {SPOOFED: "the source address is not the pod's own", UNKNOWN: "no policy is in the kernel for this pod yet"}
"""Why the guards deny, in words."""
KEPT = 1000
"""Flows that are remembered for whoever asks later."""
BACKLOG = 1000
"""Flows that may wait for one listener; what comes beyond is dropped for it, and counted."""
STALE = "no longer denied: the packet met the rules before the latest change"


class End(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One side of a flow: its address, and the pod that has it."""

    address: str
    pod: str = ""
    port: int = 0


class Flow(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One packet that was dropped, or would have been (`audit`).

    `pod` is the pod of this node whose rules decided, `direction` which of its sides. `policies` isolate it, `rule` is
    the rule that denies, where a cluster policy has one; `reason` says it in a phrase. `time` is RFC 3339, UTC.
    """

    time: str
    action: str
    direction: str
    pod: str
    source: End
    destination: End
    protocol: str
    reason: str
    policies: tuple[str, ...] = ()
    rule: str = ""


def flow(denied: Denied, compiled: Compiled | None) -> Flow:
    """The flow of a logged packet."""
    packet = denied.packet
    subject, reason, policies, rule = (
        _why(denied, compiled) if compiled else (None, f"denied by {denied.where}", (), "")
    )
    return Flow(
        datetime.fromtimestamp(denied.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "would be dropped" if denied.audit else "dropped",
        denied.direction.value,
        subject.path if subject else "",
        _end(packet.source, packet.source_port, compiled),
        _end(packet.destination, packet.port, compiled),
        protocol_name(packet.protocol),
        reason,
        policies,
        rule,
    )


def protocol_name(number: int) -> str:
    """What an IP protocol number is called; the number itself where policies have no name for it."""
    known = PROTOCOLS.get(number)
    return known.value if known else OTHERS.get(number, f"protocol {number}")


def _end(address: IPAddress, port: int | None, compiled: Compiled | None) -> End:
    pod = holder(compiled, address) if compiled else None
    return End(str(address), pod.path if pod else "", port or 0)


def _why(denied: Denied, compiled: Compiled) -> tuple[Endpoint | None, str, tuple[str, ...], str]:
    """(the pod of this node, reason, isolating policies, denying rule) as the rules in force have it."""
    packet = denied.packet
    near, far = packet.source, packet.destination
    if denied.direction is Direction.INGRESS:
        near, far = far, near
    subject = holder(compiled, near)
    if denied.why in GUARDS:
        return subject, GUARDS[denied.why], (), ""
    if subject is None or not compiled.is_subject(subject.index):
        return subject, f"denied by {denied.where}", (), ""
    protocol, port = PROTOCOLS.get(packet.protocol), packet.port or 0
    side = judge_side(compiled, subject, party(compiled, far), denied.direction, protocol, port, near.version)
    if side.outcome is not Outcome.DENIED:
        return subject, STALE, (), ""
    policies = tuple(origin.policy for origin in side.policies)
    if side.rule is None:
        return subject, Reason.ISOLATED.value, policies, ""
    return subject, "a rule denies it", policies, f"{side.rule.policy} {side.rule.field}"


class Flows:
    """The flows of late, and everybody who listens. Told by the agent's loop, read by other threads."""

    def __init__(self) -> None:
        self._kept: deque[Flow] = deque(maxlen=KEPT)
        self._listeners: list[queue.Queue[Flow | None]] = []
        self._lock = threading.Lock()
        self._ended = False
        self.missed = 0
        """Flows that a slow listener was not told."""

    def tell(self, one: Flow) -> None:
        """A flow to keep, and to tell everybody. Never waits for a slow listener."""
        with self._lock:
            self._kept.append(one)
            for listener in self._listeners:
                try:
                    listener.put_nowait(one)
                except queue.Full:
                    self.missed += 1

    @contextlib.contextmanager
    def listening(self) -> Iterator[tuple[tuple[Flow, ...], queue.Queue[Flow | None]]]:
        """(flows that are kept, oldest first; a queue that gets every flow from now on, and None at the end)."""
        listener: queue.Queue[Flow | None] = queue.Queue(BACKLOG)
        with self._lock:
            kept = tuple(self._kept)
            self._listeners.append(listener)
            if self._ended:
                listener.put(None)
        try:
            yield kept, listener
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def end(self) -> None:
        """Let every listener go."""
        with self._lock:
            self._ended = True
            for listener in self._listeners:
                with contextlib.suppress(queue.Full):
                    listener.put_nowait(None)
