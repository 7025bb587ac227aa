"""Runs cases on a cluster: makes each step so, holds three tables beside each other, and says where they differ.

The expected table is the case's own, the engine's comes from the objects as the API gives them back, the measured one
from packets. A table has to hold within a bounded time, and then once more; the cluster is cleaned up in any case.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from gatewright.engine import ports
from gatewright.errors import GatewrightError
from gatewright.probe import connect
from gatewright.probe.conformance.expectation import ALLOWED, DENIED, BadExpectation, decide, filled, parse
from gatewright.probe.conformance.model import Case, Cell, Operation, Step
from gatewright.probe.conformance.seen import Seen
from gatewright.probe.conformance.table import Attempt, attempts
from gatewright.report.conformance import BROKEN, FAILED, PASSED, SKIPPED, CaseRow, ConnectionRow

_SAYS = {connect.OPEN: ALLOWED, connect.DROPPED: DENIED, connect.REJECTED: DENIED}
"""What packets say, in the words of a table; what is not here shows as it is."""
_PAUSE = 0.1


class Held(Protocol):
    """An open connection."""

    def close(self) -> None:
        """Let go."""


H = TypeVar("H", bound=Held)


class Cluster(Protocol[H]):
    """Where cases run. Every method raises GatewrightError for what goes wrong."""

    agents: str

    def perform(self, operation: Operation) -> None:
        """Make one call of the API; what is deleted is gone afterwards."""

    def look(self) -> Seen:
        """The objects as they are now."""

    def settle(self) -> None:
        """Wait until every pod that is to run is ready."""

    def programmed(self, patience: float) -> None:
        """Wait, so long at most, until every agent says that the newest objects are in its kernel."""

    def measure(self, attempts: Sequence[Attempt], timeout: float) -> list[str]:
        """What became of each attempt: `open`, `refused`, `dropped` ..., or an error in words."""

    def kill_agents(self) -> None:
        """Kill the agent of every node, without a warning; something starts them again."""

    def hold(self, cell: Cell, address: str) -> H:
        """Open a connection and keep it."""

    def alive(self, held: Sequence[H]) -> list[bool]:
        """Of each connection whether data still gets through, both ways."""

    def ended(self, pod: str) -> str:
        """Wait until a pod has ended; its phase."""

    def not_ready(self, pods: Iterable[str], seconds: float) -> list[str]:
        """The pods of these that are not ready at some moment of the next seconds."""

    def program(self, name: str) -> list[str]:
        """Run something that is no table; what is wrong."""

    def clean(self) -> None:
        """Bring everything back to the nine pods of the model."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds: `table` until a table holds, `attempt` until silence counts as a drop.

    `second` is for a connection that held and then seemed not to: silence may have been a busy machine. `watched` is
    how long pods are watched that must stay ready.
    """

    table: float = 10.0
    attempt: float = 0.4
    second: float = 1.5
    watched: float = 3.5


@dataclass(frozen=True, slots=True)
class Result:
    """One attempt with what was measured; empty where nothing was."""

    attempt: Attempt
    measured: str

    @property
    def differs(self) -> bool:
        """Whether the three tables are not the same here."""
        return len({self.attempt.expected, self.attempt.predicted, self.measured}) > 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case. `step` is the one (from 1) that failed, `results` its whole table, `problems` the rest."""

    case: Case
    outcome: str
    seconds: float
    step: int = 0
    problems: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()

    @property
    def differences(self) -> list[Result]:
        """Where the tables differ."""
        return [one for one in self.results if one.differs]

    @property
    def row(self) -> CaseRow:
        """The same as reports take it."""
        rows = tuple(_row(one) for one in self.results)
        return CaseRow(self.case.title, self.outcome, self.seconds, self.step, self.problems, rows)


def _row(result: Result) -> ConnectionRow:
    attempt, cell = result.attempt, result.attempt.cell
    return ConnectionRow(
        source=cell.source,
        destination=cell.destination,
        port=f"{cell.protocol}/{cell.port}",
        family=cell.family,
        way=attempt.way,
        expected=attempt.expected,
        engine=attempt.predicted,
        measured=result.measured,
    )


def unfit(case: Case, cluster: Cluster[H], seen: Seen) -> str:
    """Why a case cannot be run on a cluster; empty where it can."""
    if case.agents != cluster.agents:
        needed = f"agents with {case.agents}" if case.agents else "agents set as they are by default"
        return f"needs {needed}"
    if seen.nodes < case.nodes:
        return f"needs {case.nodes} nodes, the cluster has {seen.nodes}"
    written = json.dumps([[one.body for one in step.operations] for step in case.steps])
    missing = [family for family in (4, 6) if family not in seen.families and f":{family}" in written]
    return f"needs IPv{missing[0]}, which the cluster has not" if missing else ""


def run_case(cluster: Cluster[H], case: Case, patience: Patience) -> Outcome:
    """Run one case, and clean up after it whatever happens."""
    started = time.monotonic()
    held: dict[Cell, H] = {}
    try:
        outcome = _run(cluster, case, patience, held)
    except (GatewrightError, BadExpectation) as error:
        outcome = Outcome(case, BROKEN, 0, problems=(str(error),))
    finally:
        problem = _tidied(cluster, held)
    if problem:
        outcome = replace(outcome, outcome=BROKEN, problems=(*outcome.problems, problem))
    return replace(outcome, seconds=round(time.monotonic() - started, 2))


def _tidied(cluster: Cluster[H], held: dict[Cell, H]) -> str:
    """Leave nothing of a case behind; why that did not succeed, empty where it did."""
    for one in held.values():
        one.close()
    try:
        cluster.clean()
    except GatewrightError as error:
        return f"cannot clean up: {error}"
    return ""


def run_cases(
    cluster: Cluster[H], cases: Iterable[Case], patience: Patience, told: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run cases one after the other; `told` hears of each when it is done."""
    found = []
    for case in cases:
        found.append(run_case(cluster, case, patience))
        told(found[-1])
    return found


def _run(cluster: Cluster[H], case: Case, patience: Patience, held: dict[Cell, H]) -> Outcome:
    if reason := unfit(case, cluster, cluster.look()):
        return Outcome(case, SKIPPED, 0, problems=(reason,))
    if case.program and (problems := cluster.program(case.program)):
        return Outcome(case, FAILED, 0, 1, tuple(problems))
    for number, step in enumerate(case.steps, start=1):
        results, problems = _step(cluster, case, step, patience, held)
        if problems or any(one.differs for one in results):
            return Outcome(case, FAILED, 0, number, tuple(problems), results)
    return Outcome(case, PASSED, 0)


def _step(
    cluster: Cluster[H], case: Case, step: Step, patience: Patience, held: dict[Cell, H]
) -> tuple[tuple[Result, ...], list[str]]:
    before = cluster.look().addresses
    if step.kill_agents:
        cluster.kill_agents()
    for operation in step.operations:
        cluster.perform(replace(operation, body=filled(operation.body, before)))
    cluster.settle()
    if not step.at_once:
        cluster.programmed(patience.table)
    problems = [
        f"pod {pod} ended as {phase}, expected {wanted}"
        for pod, wanted in step.phases.items()
        if (phase := cluster.ended(pod)) != wanted
    ]
    seen = cluster.look()
    asked = attempts(case, step.expected, seen)
    results, more = _table(cluster, asked, patience, 0.0 if step.at_once else patience.table)
    problems += more
    if not problems and not any(one.differs for one in results):
        problems += _connections(cluster, step, seen, held, patience)
        unsteady = cluster.not_ready(step.ready, patience.watched) if step.ready else []
        problems += [f"pod {one} does not stay ready" for one in unsteady]
    return results, problems


def _table(
    cluster: Cluster[H], asked: Sequence[Attempt], patience: Patience, budget: float
) -> tuple[tuple[Result, ...], list[str]]:
    """Measure until the table holds, then once more. The results, and what went wrong beside them."""
    until = time.monotonic() + budget
    said = _measured(cluster, asked, patience.attempt)
    wrong = _wrong(asked, said)
    while wrong and time.monotonic() < until:
        time.sleep(_PAUSE)
        said = _again(cluster, asked, said, wrong, patience.attempt)
        wrong = _wrong(asked, said)
    if wrong:
        return _results(asked, said), []
    said = _measured(cluster, asked, patience.attempt)
    wrong = [index for index in _wrong(asked, said) if asked[index].expected == ALLOWED]
    if wrong:
        said = _again(cluster, asked, said, wrong, patience.second)
    problems = ["the table held, and then held no more"] if _wrong(asked, said) else []
    return _results(asked, said), problems


def _again(
    cluster: Cluster[H], asked: Sequence[Attempt], said: Sequence[str], which: Sequence[int], timeout: float
) -> list[str]:
    """The same with some attempts made once more."""
    answers = iter(_measured(cluster, [asked[index] for index in which], timeout))
    once_more = set(which)
    return [next(answers) if index in once_more else one for index, one in enumerate(said)]


def _measured(cluster: Cluster[H], asked: Sequence[Attempt], timeout: float) -> list[str]:
    return [_meant(one, what) for one, what in zip(asked, cluster.measure(asked, timeout), strict=True)]


def _meant(attempt: Attempt, what: str) -> str:
    """A refusal has got through where nobody listens. Elsewhere a Service has no pods, or a server is gone."""
    if what == connect.REFUSED and not attempt.answers:
        return ALLOWED
    return _SAYS.get(what, what)


def _wrong(asked: Sequence[Attempt], said: Sequence[str]) -> list[int]:
    return [index for index, (one, what) in enumerate(zip(asked, said, strict=True)) if one.expected != what]


def _results(asked: Sequence[Attempt], said: Sequence[str]) -> tuple[Result, ...]:
    return tuple(Result(one, what) for one, what in zip(asked, said, strict=True))


def _connections(cluster: Cluster[H], step: Step, seen: Seen, held: dict[Cell, H], patience: Patience) -> Iterator[str]:
    """Look after the connections that are kept: what became of those held, then open those that are to be."""
    if step.held:
        yield from _outlived(cluster, filled(step.held, seen.addresses), seen, held, patience)
    for text in step.hold:
        line = parse(text)
        for family in sorted(seen.families):
            source, destination = line.source[0], line.destination[0]
            cell = Cell(source, destination, ports.Protocol(line.protocol), line.ports[0][0], family)
            held[cell] = cluster.hold(cell, seen.addresses[destination][family])


def _outlived(
    cluster: Cluster[H], texts: Sequence[str], seen: Seen, held: dict[Cell, H], patience: Patience
) -> Iterator[str]:
    """Which connections live that should have ended, or the other way round. To end may take as long as a table."""
    lines = [parse(one) for one in texts]
    expected = {cell: lines[decide(lines, cell, seen.addresses)].answer == ALLOWED for cell in held}
    until = time.monotonic() + patience.table
    while True:
        lives = dict(zip(held, cluster.alive(list(held.values())), strict=True))
        late = [cell for cell in held if lives[cell] and not expected[cell]]
        if not late or time.monotonic() > until:
            break
        time.sleep(_PAUSE)
    for cell in held:
        if lives[cell] != expected[cell]:
            words = {True: "lives", False: "has ended"}
            yield f"the established connection {cell} {words[lives[cell]]}; expected that it {words[expected[cell]]}"
