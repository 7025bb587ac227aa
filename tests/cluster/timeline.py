"""Which states of a cluster could be in force between two moments, and what they say of a packet decided on then.

Every kind of object is watched on its own, so an agent may be further with one kind than with another; a state is a
version of each kind. A version can be in force from the moment it was sent on, until its successor is known to be.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.kernel.node import NodeProgram
from gatewright.kernel.options import Options
from gatewright.kernel.table import Program
from gatewright.objects.read import decode
from tests.cluster.random_changes import KINDS, NODE, Json, Objects, manifest
from tests.packets.steady import Flow
from tests.reference.evaluator import End, Reference
from tests.subjects import Engine

State = tuple[int, ...]
"""A version of each kind."""


@dataclass
class History:
    """The versions of one kind: what they are, when they were sent, and since when they are known to be in force."""

    versions: list[Objects] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)

    def possible(self, began: int, ended: int) -> range:
        """The versions that can have been in force between two moments."""
        return range(max(bisect_left(self.settled, began) - 1, 0), bisect_right(self.sent, ended))


@dataclass
class Timeline:
    """Everything that was said of a cluster, and when. `pods` are its pods, `addresses` what they have."""

    pods: Sequence[End]
    addresses: Sequence[tuple[str, ...]]
    histories: dict[str, History] = field(default_factory=lambda: {kind: History() for kind in KINDS})
    _answers: dict[tuple[State, Flow], bool] = field(default_factory=dict)
    _engines: dict[State, Engine] = field(default_factory=dict)

    def sending(self, kind: str, objects: Objects) -> None:
        """A version of a kind is about to be sent."""
        history = self.histories[kind]
        history.versions.append({key: item for key, item in objects.items() if key[0] == kind})
        history.sent.append(time.monotonic_ns())

    def settle(self) -> None:
        """All that was sent is in force."""
        now = time.monotonic_ns()
        for history in self.histories.values():
            history.settled += [now] * (len(history.sent) - len(history.settled))

    def states(self, began: int, ended: int) -> list[State]:
        """The states that can have been in force between two moments."""
        return list(itertools.product(*(one.possible(began, ended) for one in self.histories.values())))

    @property
    def asked(self) -> list[State]:
        """The states that were asked something."""
        return list(self._engines)

    def manifests(self, state: State) -> list[Json]:
        """The objects of a state."""
        versions = zip(self.histories.values(), state, strict=True)
        return [manifest(key, item) for one, version in versions for key, item in one.versions[version].items()]

    def question(self, flow: Flow) -> tuple[End, End, str, int, int]:
        """What a packet asks."""
        destination = next(number for number, own in enumerate(self.addresses) if flow.destination in own)
        return self.pods[flow.source], self.pods[destination], "UDP", flow.port, flow.family

    def allows(self, state: State, flow: Flow) -> bool:
        """Whether a state allows a packet, by the engine."""
        if state not in self._engines:
            self._engines[state] = Engine(self.manifests(state))
        if (state, flow) not in self._answers:
            self._answers[state, flow] = self._engines[state].connection(*self.question(flow)) == "allowed"
        return self._answers[state, flow]

    def disagreements(self, state: State, flows: Sequence[Flow]) -> list[str]:
        """Where the reference says something else of a state than the engine."""
        reference = Reference(self.manifests(state))
        said = [(flow, reference.connection(*self.question(flow)) == "allowed") for flow in flows]
        return [f"{state}: {flow}" for flow, allowed in said if self.allows(state, flow) != allowed]


def expected_program(objects: Objects, options: Options) -> Program:
    """The program that a node has to have for a cluster, without what guards hold (`without_guards`)."""
    decoded = [item for item in (decode(manifest(key, fields)) for key, fields in objects.items()) if item is not None]
    compiled = compile_snapshot(Snapshot.of(decoded), lambda one: one.node == NODE and not one.host_network)
    return without_guards(NodeProgram.of(compiled, options)[1])


def without_guards(program: Program) -> Program:
    """A program without the contents of the guards' sets: they are about links, not about the cluster."""
    sets = [part for part in program.sets if not part.name.startswith("guard/")]
    return dataclasses.replace(program, sets=tuple(sets))
