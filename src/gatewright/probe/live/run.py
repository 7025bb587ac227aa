"""Measuring a cluster: reads it, predicts, opens connections from pods, and compares.

Where connections are opened from: `stand-ins` (made and removed again), `pods` (the existing containers, nothing is
made; their image must have a shell and something that connects), or `inside` (the networks of a lab's pods).
"""

from __future__ import annotations

import contextlib
import enum
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import GatewrightError
from gatewright.objects.core import Pod
from gatewright.objects.meta import Object
from gatewright.probe import connect
from gatewright.probe.live import choose, program
from gatewright.probe.live.choose import Question
from gatewright.probe.live.standins import StandIn, StandIns, wanted
from gatewright.probe.matrix import Connection, Row, measured, requests
from gatewright.probe.verify.objects import DEFAULT_IMAGE
from gatewright.sources.executing import LEFT, Executor, Place
from gatewright.sources.kubeconfig import Where
from gatewright.sources.stopping import deaf, terminated

BATCH = 150
"""Targets of one program: they stand in the request's URL, together with the program."""
LONGEST = 30.0
"""Seconds that a program may take besides its attempts."""
SETTLED = 1.0
"""Seconds after which new stand-ins are taken to be policed."""
ANSWERING = ("stand-in", "name server")
"""What a lab's containers run that answers datagrams."""
Result = Mapping[str, Any]


class Means(enum.StrEnum):
    """From where connections are opened."""

    STAND_INS = "stand-ins"
    PODS = "pods"
    INSIDE = "inside"


@dataclass(frozen=True, slots=True)
class How:
    """How to measure. `parallel` programs run at once; `start` are the seconds that stand-ins have to start.

    `lab` names the lab of this machine that is measured from inside.
    """

    means: Means = Means.STAND_INS
    image: str = DEFAULT_IMAGE
    parallel: int = 8
    start: float = 60.0
    lab: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be tried, and the pods that it is tried from."""

    compiled: Compiled
    connections: tuple[Connection, ...]

    @property
    def sources(self) -> list[Endpoint]:
        """The pods from which connections are opened."""
        paths = dict.fromkeys(one.source for one in self.connections)
        return [one for one in self.compiled.endpoints if one.path in paths and one.kind == "Pod"]


def plan(objects: Iterable[Object], question: Question, namespace: str, how: How) -> Plan:
    """What to try in a cluster of these objects. Raises UnknownTarget, NothingToProbe."""
    compiled = compile_snapshot(Snapshot.of(objects))
    answering = _answering(how.lab) if how.means is Means.INSIDE else frozenset()
    return Plan(compiled, choose.connections(compiled, question, namespace, answering))


def _answering(lab: str) -> frozenset[str]:
    """The pods of a lab that answer datagrams: those that run what the lab has in place of programs."""
    from gatewright.lab import client

    pods = client.status(lab)["pods"]
    return frozenset(f"{one['namespace']}/{one['name']}" for one in pods if one["runs"] in ANSWERING)


Told = Callable[[int], None]
"""Is told of each number of connections that have been tried."""


def measure(where: Where, one: Plan, question: Question, how: How, told: Told) -> tuple[Row, ...]:
    """The rows of a plan, those that differ first. Raises GatewrightError where nothing could be measured."""
    if how.means is Means.INSIDE:
        return _inside(one, question, how, told)
    if how.means is Means.PODS:
        return _measured(where, one, question, how, _containers(one), told)
    with contextlib.closing(StandIns(where, how.image)) as made:
        made.remove(made.left_behind())
        stand_ins = wanted(one.sources, made.run)
        with terminated(), _removing(made, stand_ins):
            made.create(stand_ins)
            places = made.started(stand_ins, how.start)
            time.sleep(SETTLED)
            return _measured(where, one, question, how, places, told)


def _inside(one: Plan, question: Question, how: How, told: Told) -> tuple[Row, ...]:
    """Measure a lab of this machine from inside of its pods' networks."""
    from gatewright.lab import client

    pids = client.pids(how.lab)
    reachable = [each for each in one.connections if each.source in pids]
    asked = {"timeout": question.timeout, "attempts": question.attempts, "targets": requests(reachable, pids)}
    answers = json.loads(client.on_node(how.lab, connect.measure, json.dumps(asked).encode()))
    found = dict(zip(reachable, answers, strict=True))
    told(len(one.connections))
    missing = {"result": connect.UNKNOWN, "seconds": 0.0, "detail": "its pod does not run in the lab"}
    return measured(one.connections, [found.get(each, missing) for each in one.connections])


def _containers(one: Plan) -> dict[str, Place | str]:
    """The first container of each source itself."""
    pods = {f"{pod.namespace}/{pod.name}": pod for pod in one.compiled.snapshot.all(Pod)}
    found: dict[str, Place | str] = {}
    for source in one.sources:
        containers = pods[source.path].spec.containers
        found[source.path] = Place(source.namespace, source.name, containers[0].name) if containers else "no container"
    return found


@contextlib.contextmanager
def _removing(made: StandIns, stand_ins: Sequence[StandIn]) -> Iterator[None]:
    """Remove the stand-ins when the block ends, however it does. Raises GatewrightError for what is left."""
    try:
        yield
    finally:
        with deaf():
            left = made.remove_own(stand_ins)
    if left:
        raise GatewrightError(f"ConfigMaps {', '.join(left)} could not be deleted; delete them, the pods go with them")


def _measured(
    where: Where, one: Plan, question: Question, how: How, places: Mapping[str, Place | str], told: Told
) -> tuple[Row, ...]:
    """Open the connections, several sources at once. Raises NothingToProbe where no source can be used."""
    if not any(isinstance(place, Place) for place in places.values()):
        reasons = "; ".join(dict.fromkeys(str(place) for place in places.values()))
        raise choose.NothingToProbe(f"nothing could be measured: {reasons}")
    executor, over = Executor(where), threading.Event()
    results: dict[Connection, Result] = {}

    def work(batch: tuple[Connection, ...]) -> None:
        place = places[batch[0].source]
        found = _refused(batch, place) if isinstance(place, str) else _run(executor, place, batch, question, over)
        results.update(zip(batch, found, strict=True))
        told(len(batch))

    with ThreadPoolExecutor(how.parallel) as pool:
        try:
            for _ in pool.map(work, _batches(one.connections)):
                pass
        finally:
            over.set()
            pool.shutdown(cancel_futures=True)
    return measured(one.connections, [results[each] for each in one.connections])


def _batches(connections: Sequence[Connection]) -> Iterator[tuple[Connection, ...]]:
    by_source: dict[str, list[Connection]] = {}
    for one in connections:
        by_source.setdefault(one.source, []).append(one)
    for several in by_source.values():
        for start in range(0, len(several), BATCH):
            yield tuple(several[start : start + BATCH])


def _refused(batch: Sequence[Connection], why: str) -> list[Result]:
    return [{"result": connect.UNKNOWN, "seconds": 0.0, "detail": why} for _ in batch]


def _run(
    executor: Executor, place: Place, batch: Sequence[Connection], question: Question, over: threading.Event
) -> list[Result]:
    """The results of one program; what it does not tell is unknown, with the reason."""
    output = bytearray()
    targets = [(one.protocol.value, one.address, one.port, one.answers) for one in batch]
    command = program.command(targets, question.timeout, question.attempts)
    until = time.monotonic() + LONGEST + question.timeout * question.attempts * (len(batch) / program.AT_ONCE + 1)
    try:
        code = executor.run(place, command, output.extend, lambda: not over.is_set() and time.monotonic() < until)
        ended = "did not end in time" if code == LEFT else f"ended with exit code {code}"
        why = f"the program in {place} {ended}"
    except GatewrightError as error:
        why = str(error)
    found = program.results(bytes(output), len(batch))
    silent = _refused(batch, why)
    return [
        other if one is None else {"result": one[0], "seconds": one[1], "detail": one[2]}
        for one, other in zip(found, silent, strict=True)
    ]
