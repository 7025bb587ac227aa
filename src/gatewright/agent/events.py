"""Denied connections as Kubernetes Events, beside the pod that they are about: `kubectl describe pod` shows them.

The API server is no log: of connections that are alike one Event in ten minutes is written, and no more than some a
minute in all. It happens on a thread of its own, and whatever goes wrong with it is told and passed over.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gatewright.agent.flows import Flow, Flows
from gatewright.errors import GatewrightError
from gatewright.sources.creating import Creator

ALIKE = 600.0
"""Seconds in which connections that are alike make one Event."""
MOST, PERIOD = 20, 60.0
"""Events in so many seconds, at most."""
REMEMBERED = 10_000
CONTROLLER = "gatewright.io/agent"
LONGEST_NOTE = 1024
"""Characters of a note (events.k8s.io/v1)."""


class Quota:
    """Which flows become Events. Changed in place; knows no clock."""

    def __init__(self) -> None:
        self._told: dict[tuple[object, ...], float] = {}
        self._spent: list[float] = []

    def admits(self, one: Flow, now: float) -> bool:
        """Whether to write an Event for it: it is about a pod, none was written of its like, and there are not many."""
        alike = (one.pod, one.direction, one.source.pod or one.source.address, _far(one), one.protocol, one.reason)
        self._spent = [at for at in self._spent if now - at < PERIOD]
        known = self._told.get(alike)
        if not one.pod or len(self._spent) >= MOST or (known is not None and now - known < ALIKE):
            return False
        if len(self._told) >= REMEMBERED:
            self._told = {key: at for key, at in self._told.items() if now - at < ALIKE}
        if len(self._told) >= REMEMBERED:
            return False
        self._told[alike] = now
        self._spent.append(now)
        return True


def _far(one: Flow) -> tuple[str, int]:
    return one.destination.pod or one.destination.address, one.destination.port


def event(one: Flow, node: str, name: str) -> dict[str, Any]:
    """The Event of a flow (events.k8s.io/v1)."""
    namespace, _, pod = one.pod.partition("/")
    peer = one.source if one.direction == "Ingress" else one.destination
    port = f" port {one.destination.port}" if one.destination.port else ""
    who = peer.pod or peer.address
    way = f"from {who} to{port or ' it'}" if one.direction == "Ingress" else f"to {who}{port}"
    because = one.rule or ", ".join(one.policies)
    note = f"{one.protocol} connection {way} {one.action}: {one.reason}{f' ({because})' if because else ''}"
    made: dict[str, Any] = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{pod}.{name}", "namespace": namespace},
        "eventTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": CONTROLLER,
        "reportingInstance": node[:128],
        "action": "Audit" if one.action != "dropped" else "Drop",
        "reason": "ConnectionDenied",
        "type": "Warning",
        "note": note[:LONGEST_NOTE],
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod},
    }
    if peer.pod:
        space, _, other = peer.pod.partition("/")
        made["related"] = {"apiVersion": "v1", "kind": "Pod", "namespace": space, "name": other}
    return made


class EventWriter:
    """Writes Events of the flows that it hears of, on a thread of its own, until the flows end."""

    def __init__(
        self, flows: Flows, node: str, creator: Creator, clock: Callable[[], float], failed: Callable[[str], None]
    ) -> None:
        """`failed` is told in one line what goes wrong, and an empty one when it is over."""
        self._flows, self._node, self._creator = flows, node, creator
        self._clock, self._failed = clock, failed
        self._quota = Quota()
        self.thread = threading.Thread(target=self._run, name="events", daemon=True)

    def _run(self) -> None:
        with self._flows.listening() as (_, coming):
            while (one := coming.get()) is not None:
                if self._quota.admits(one, self._clock()):
                    self._write(one)
        self._creator.close()

    def _write(self, one: Flow) -> None:
        made = event(one, self._node, uuid.uuid4().hex[:16])
        namespace = made["metadata"]["namespace"]
        try:
            self._creator.create(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", made)
        except GatewrightError as error:
            self._failed(str(error))
        else:
            self._failed("")
