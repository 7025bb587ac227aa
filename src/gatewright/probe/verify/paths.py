"""What was heard of each path: when connections came through, and when attempts failed. For several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gatewright.probe.verify.objects import Pair

QUIET = 1.0
"""Seconds in which no connection may come through before a path counts as closed."""
FAILURES = 2
"""Attempts that must have failed since: silence of the program that tries is no closed path."""


@dataclass(frozen=True, slots=True)
class Path:
    """From a node's source pod to an address of a node's target pod."""

    pair: Pair
    address: str

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


@dataclass(slots=True)
class _Heard:
    """The state of one path. Times are of the clock."""

    opened: float | None = None
    first: float | None = None
    failures: int = 0


@dataclass(slots=True)
class Paths:
    """Everything heard. Each question is about what happened since a moment that `mark` set."""

    clock: Callable[[], float]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _heard: dict[Path, _Heard] = field(default_factory=dict)
    _rest: dict[str, bytes] = field(default_factory=dict)

    def expect(self, paths: Iterable[Path]) -> None:
        """Paths of which something is going to be heard."""
        with self._lock:
            self._heard |= {path: _Heard() for path in paths}

    def feed(self, source: str, by_address: Mapping[str, Path], data: bytes) -> None:
        """Output of the program in a node's source pod, cut anywhere."""
        now = self.clock()
        with self._lock:
            *lines, rest = (self._rest.get(source, b"") + data).split(b"\n")
            self._rest[source] = rest[-256:]
            for line in lines:
                address, _, said = line.decode("ascii", "replace").strip().partition(" ")
                path = by_address.get(address)
                if path is not None:
                    self._note(self._heard[path], said == "ok", now)

    def _note(self, heard: _Heard, opened: bool, now: float) -> None:
        if opened:
            heard.opened, heard.failures = now, 0
            heard.first = now if heard.first is None else heard.first
        else:
            heard.failures += 1

    def mark(self) -> float:
        """Forget everything; the moment from which is counted."""
        with self._lock:
            for path in self._heard:
                self._heard[path] = _Heard()
        return self.clock()

    def opened(self, since: float) -> dict[Path, float]:
        """Seconds after which each path came through first, for those that did."""
        with self._lock:
            return {path: one.first - since for path, one in self._heard.items() if one.first is not None}

    def closed(self, since: float) -> dict[Path, float]:
        """Seconds after which each path came through for the last time (0: never), for those that are closed now."""
        now = self.clock()
        with self._lock:
            return {
                path: max(0.0, (one.opened or since) - since)
                for path, one in self._heard.items()
                if one.failures >= FAILURES and now - max(one.opened or since, since) >= QUIET
            }
