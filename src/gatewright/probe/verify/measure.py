"""Measuring: one canary after the other, connections all along, and nothing left behind however it ends.

Before any policy every path has to be open. Then, for each direction: a policy that denies, until the paths are closed
or the time is over; one that allows, until they are open again; and both away.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gatewright.errors import GatewrightError
from gatewright.probe import leastpods
from gatewright.probe.verify import judge, objects, programs
from gatewright.probe.verify.answer import Measured, Tried
from gatewright.probe.verify.cluster import Cluster, Started
from gatewright.probe.verify.objects import Trial
from gatewright.probe.verify.paths import Path, Paths
from gatewright.sources.executing import Executor, Place
from gatewright.sources.kubeconfig import Where
from gatewright.sources.progress import Progress
from gatewright.sources.stopping import deaf, terminated

DIRECTIONS = ("Ingress", "Egress")
REMOVED_WITHIN = 60.0
"""Seconds for a namespace to go."""
_LOOK = 0.02


class CannotMeasure(GatewrightError):
    """Nothing could be measured, and why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user chose. `within` are the seconds in which a policy has to be in force, `start` those for pods."""

    image: str = leastpods.DEFAULT_IMAGE
    pairs: int = 40
    within: float = 10.0
    start: float = 60.0


def nodes_of(where: Where) -> dict[str, str]:
    """Every node of a cluster, and why nothing can be measured there. Raises ClusterUnavailable, CannotMeasure."""
    with contextlib.closing(Cluster(where)) as cluster:
        found = cluster.nodes()
        if all(found.values()):
            reasons = ", ".join(dict.fromkeys(found.values())) or "it has no nodes"
            raise CannotMeasure(f"{cluster.name}: there is no node to measure on: {reasons}")
        return found


def trial(nodes: Sequence[str], wanted: Wanted) -> Trial:
    """What is going to be created on these nodes."""
    chosen, pairs = objects.ring(nodes, wanted.pairs)
    return Trial(f"{objects.PREFIX}{secrets.token_hex(4)}", wanted.image, chosen, pairs)


def verify(where: Where, one: Trial, every_node: dict[str, str], wanted: Wanted, say: Progress) -> Measured:
    """Do it. Raises CannotMeasure, ClusterUnavailable, Refused; nothing is left then either, or its name is told."""
    began = time.monotonic()
    with contextlib.closing(Cluster(where)) as cluster:
        for name in cluster.left_behind():
            cluster.remove(name, REMOVED_WITHIN, say)
        left: list[str] = []
        with terminated(), _removing(cluster, one, left, say):
            say(f"starting {2 * len(one.nodes)} pods in namespace {one.namespace}")
            cluster.create(one)
            started = cluster.started(one, wanted.start)
            paths = list(_paths(one, started))
            if not paths:
                reasons = "; ".join(dict.fromkeys(started.failed.values())) or "no pod has an address"
                raise CannotMeasure(f"{cluster.name}: nothing could be measured: {reasons}")
            with _watching(where, one, paths) as watch:
                tried = [
                    result
                    for direction in DIRECTIONS
                    for result in _canary(cluster, one, direction, watch, wanted, say)
                ]
    troubles = {node: started.failed.get(node) or why for node, why in every_node.items()}
    for node in every_node:
        if node not in one.nodes and not troubles[node]:
            troubles[node] = "not measured: more nodes than --max-pairs allows for"
    measured = judge.nodes(tried, troubles)
    enforced, why = judge.whole(measured)
    return Measured(enforced, why, measured, tuple(tried), round(time.monotonic() - began, 1), tuple(left))


def _paths(one: Trial, started: Started) -> Iterator[Path]:
    for pair in one.pairs:
        if pair.source in started.sources:
            for address in started.addresses.get(pair.target, ()):
                yield Path(pair, address)


# --- a canary ---------------------------------------------------------------------------------------------------------


def _canary(
    cluster: Cluster, one: Trial, direction: str, watch: _Watch, wanted: Wanted, say: Progress
) -> Sequence[Tried]:
    """One direction: denied, allowed, and both taken away again."""
    paths, every = watch.paths, frozenset(watch.expected)
    deny, allow = objects.deny(one, direction), objects.allow(one, direction)
    say("waiting for connections without a policy")
    since = paths.mark()
    before = watch.until(lambda: paths.opened(since), every, wanted.within)
    say(f"denying all {direction.lower()}")
    since = paths.mark()
    cluster.apply(one, deny)
    closed = watch.until(lambda: paths.closed(since), frozenset(before), wanted.within)
    say(f"allowing {direction.lower()} again")
    since = paths.mark()
    cluster.apply(one, allow)
    again = watch.until(lambda: paths.opened(since), frozenset(closed), wanted.within)
    cluster.withdraw(one, deny)
    cluster.withdraw(one, allow)
    return judge.tried(direction, watch.expected, before, closed, again)


@dataclass(slots=True)
class _Watch:
    """The programs that try all the time, and what they say."""

    paths: Paths
    expected: list[Path]
    failed: list[GatewrightError] = field(default_factory=list)

    def until(
        self, asked: Callable[[], dict[Path, float]], wanted: frozenset[Path], within: float
    ) -> dict[Path, float]:
        """The answer once it has all that are wanted, or once the time is over. Raises what a program failed with."""
        deadline = time.monotonic() + within
        while True:
            found = asked()
            if wanted <= found.keys() or time.monotonic() > deadline:
                return found
            if self.failed:
                raise self.failed[0]
            time.sleep(_LOOK)


@contextlib.contextmanager
def _watching(where: Where, one: Trial, expected: list[Path]) -> Iterator[_Watch]:
    """A program in every source pod, until the block ends."""
    watch = _Watch(Paths(time.monotonic), expected)
    watch.paths.expect(expected)
    executor, over = Executor(where), threading.Event()

    def run(node: str) -> None:
        by_address = {path.address: path for path in expected if path.pair.source == node}
        place = Place(one.namespace, one.pod(objects.SOURCE, node), leastpods.CONTAINER)
        command = programs.connect(list(by_address), objects.LIFE)
        try:
            code = executor.run(
                place, command, lambda data: watch.paths.feed(node, by_address, data), lambda: not over.is_set()
            )
            if not over.is_set():
                raise CannotMeasure(f"{place}: the program that opens connections ended with exit code {code}")
        except GatewrightError as error:
            if not over.is_set():
                watch.failed.append(error)

    nodes = dict.fromkeys(path.pair.source for path in expected)
    threads = [threading.Thread(target=run, args=(node,), name=f"verify {node}", daemon=True) for node in nodes]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        over.set()
        for thread in threads:
            thread.join(1.0)


# --- the end ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _removing(cluster: Cluster, one: Trial, left: list[str], say: Progress) -> Iterator[None]:
    """Remove the namespace when the block ends, however it does; who interrupts meanwhile is heard afterwards."""
    try:
        yield
    finally:
        with deaf():
            try:
                gone = cluster.remove(one.namespace, REMOVED_WITHIN, say)
            except GatewrightError as error:
                gone = False
                say(str(error))
            if not gone:
                left.append(one.namespace)
