"""Probes as values: when to ask, what answers come to. Pure; `checks.py` asks.

Rules and defaults: core/v1 Probe. A startup probe holds the others back; a readiness probe may change its mind for
ever; a startup or liveness probe that fails ends the container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatewright.lab.api.resources import Tree
from gatewright.lab.kubelet.podspec import Part, ports_of

Purpose = Literal["startup", "liveness", "readiness"]
_FIRST_LOOKS = (0.02, 0.05, 0.1, 0.1, 0.2, 0.2, 0.5)
SLOWEST_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of a container; times in seconds."""

    purpose: Purpose
    action: Tree
    """The handler: one of httpGet, tcpSocket, exec, grpc."""
    delay: float
    period: float
    timeout: float
    successes: int
    failures: int
    grace: float | None
    """What a container has to end after a failure, where the probe says so."""

    @property
    def kind(self) -> str:
        """httpGet, tcpSocket, exec or grpc."""
        return next((name for name in ("httpGet", "tcpSocket", "exec", "grpc") if name in self.action), "")


@dataclass(frozen=True, slots=True)
class Tally:
    """What the answers so far come to. `passed` is None until they have come to something."""

    passed: bool | None = None
    streak: int = 0
    last: bool | None = None


def probe_of(part: Part, purpose: Purpose) -> Probe | None:
    """A container's probe, None where it has none."""
    tree = part.tree.get(f"{purpose}Probe")
    if not tree:
        return None
    grace = tree.get("terminationGracePeriodSeconds")
    return Probe(
        purpose,
        tree,
        float(tree.get("initialDelaySeconds") or 0),
        float(tree.get("periodSeconds") or 10),
        float(tree.get("timeoutSeconds") or 1),
        int(tree.get("successThreshold") or 1),
        int(tree.get("failureThreshold") or 3),
        None if grace is None else float(grace),
    )


def counted(tally: Tally, probe: Probe, answer: bool) -> Tally:
    """The tally with one more answer."""
    streak = tally.streak + 1 if answer == tally.last else 1
    enough = streak >= (probe.successes if answer else probe.failures)
    return Tally(answer if enough else tally.passed, streak, answer)


def awaited_ports(container: Tree) -> frozenset[int]:
    """The TCP ports that must accept before a container without a readiness probe is ready (docs/design/0083)."""
    return frozenset(number for _, protocol, number in ports_of(container) if protocol == "TCP")


def pause(looks: int) -> float:
    """Seconds before the next look at ports that do not accept yet: soon at first, then once a second."""
    return _FIRST_LOOKS[looks] if looks < len(_FIRST_LOOKS) else SLOWEST_LOOK
