"""The agent's loop: one thread at a time owns the rules, the program and the node's packet filter.

Level-triggered: what the kernel should hold is a function of the latest known objects, and the loop makes the two equal
again whenever either moves. It wakes for four reasons: a watch delivered something, the kernel told that our table was
altered, the kernel logged a drop, or a moment has come that was waited for (a retry, a second look at connections, the
regular check). Other threads read values that are replaced whole, and hand things over. A watch that was silent makes
the change that it brings by itself, since handing over takes as long as half a change; whoever works has the lock.

Whatever goes wrong, the kernel keeps what it holds: a change is one transaction, and no error takes the table away.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from gatewright.agent.connections import Connections
from gatewright.agent.desired import Advance, Desired
from gatewright.agent.flows import Flows, flow
from gatewright.agent.log import LOGGER, Troubles
from gatewright.agent.metrics import Metrics
from gatewright.agent.node import Node
from gatewright.agent.retry import Retry
from gatewright.agent.settings import Settings
from gatewright.engine.addresses import IPAddress
from gatewright.kernel.change import NO_CHANGE, Change
from gatewright.kernel.errors import KernelError
from gatewright.kernel.nft import give_back
from gatewright.kernel.node import NodeProgram
from gatewright.sources.watch import NODE_KINDS, Delivery

HEARTBEAT = 5.0
"""Seconds the loop sleeps at most: it turns so often even where nothing happens."""
STALLED = 60.0
"""Seconds after which a loop that does not turn is taken for dead."""
SILENCE = 0.001
"""Seconds for which nothing was done before a watch's thread makes a change itself. Where changes follow each other
more closely they are handed over, so that those which come meanwhile are one step."""
PROGRAM, RULES, BRIDGE = "packet filter", "rules", "bridge"
"""What trouble can be about."""
COLLECT = (5_000, 20, 1_000)
"""Thresholds of the collector of cycles once the cluster is loaded."""
POLICY_KINDS = frozenset(kind for _, kind in NODE_KINDS if kind.endswith("NetworkPolicy"))


@dataclass(frozen=True, slots=True)
class Progress:
    """What the loop has done so far; replaced whole, so that other threads may read it. Times are of the wall clock."""

    transactions: int = 0
    repairs: int = 0
    failures: int = 0
    last_change: float = 0.0
    last_seconds: float = 0.0
    programmed: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """Where the loop tells what it sees and does."""

    flows: Flows
    metrics: Metrics
    troubles: Troubles


class Loop:
    """One agent at work. `deliver` and `stop` may be called from any thread, `run` from the one that made its parts."""

    def __init__(
        self,
        settings: Settings,
        desired: Desired,
        node: Node,
        telling: Telling,
        connections: Connections | None,
        look: Callable[[], None],
    ) -> None:
        """`connections` None: none is ever ended. `look` is called every few seconds, for who has to look elsewhere."""
        self.progress = Progress()
        self.turned = time.monotonic()
        self.failing_since = self.well_since = 0.0  # seconds since the epoch; 0 while it is not so
        self.unfiltered = False  # whether packets between pods of this node bypass the program
        self._settings = settings
        self._desired = desired
        self._node = node
        self._flows, self._metrics, self._troubles = telling.flows, telling.metrics, telling.troubles
        self._connections = connections
        self._deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._working = threading.Lock()
        self._rests = 0.0  # since when nothing was done
        self._sleeps_until = 0.0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._holds = False  # whether the kernel holds the program that the next change goes on from
        self._closed = False  # whether the time before the first list is taken care of
        self._retry = Retry()
        self._check_at = time.monotonic() + settings.check_every
        self._look = look
        self._look_at = 0.0

    # --- from other threads ---------------------------------------------------------------------------------------

    def deliver(self, delivery: Delivery) -> None:
        """Something a watch has heard. It may be in the kernel when this returns."""
        self._deliveries.put(delivery)
        silent = self._holds and delivery.received - self._rests >= SILENCE
        if not (silent and self._working.acquire(blocking=False)):
            self._rouse()
            return
        try:
            if not self._stopping:
                self._hear_deliveries()
                self._bring_up()
                self._rests = time.monotonic()
        finally:
            self._working.release()
        if time.monotonic() + self._pause() < self._sleeps_until:
            self._rouse()

    def stop(self) -> None:
        """End the loop soon. What is programmed stays."""
        self._stopping = True
        self._rouse()

    def _rouse(self) -> None:
        """Have the loop's own thread turn."""
        os.eventfd_write(self._wake, 1)

    @property
    def alive(self) -> bool:
        """Whether the loop has turned lately."""
        return time.monotonic() - self.turned < STALLED

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Turn until `stop`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ, self._woken)
            selector.register(self._node.monitor, selectors.EVENT_READ, self._hear_alterations)
            if self._node.log is not None:
                selector.register(self._node.log, selectors.EVENT_READ, self._hear_drops)
            while not self._stopping:
                ready = selector.select(max(self._sleeps_until - time.monotonic(), 0.0))
                with self._working:
                    for key, _ in ready:
                        key.data()
                    self._turn()
                    self._sleeps_until = time.monotonic() + self._pause()

    def _pause(self) -> float:
        """Seconds until something has to be done."""
        if self._retry.at is not None:
            soonest = self._retry.at
        elif self._holds:
            soonest = min(self._check_at, self._node.links_at or self._check_at)
        else:
            return HEARTBEAT
        return min(max(soonest - time.monotonic(), 0.0), HEARTBEAT)

    def _turn(self) -> None:
        """Do what is due."""
        self.turned = time.monotonic()
        self._bring_up()
        if self._holds and time.monotonic() >= self._check_at:
            self._check("regular check")
        if self.turned >= self._look_at:
            self._look_at = self.turned + HEARTBEAT / 2
            self._look()

    def _bring_up(self) -> None:
        """Bring the kernel to where the cluster is, unless that just failed."""
        if self._retry.may(time.monotonic()):
            self._program()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        self._hear_deliveries()
        self._rests = time.monotonic()

    def _hear_deliveries(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                delivery = self._deliveries.get_nowait()
                self._desired.take(delivery)
                changed = len(delivery.changes.put) + len(delivery.changes.gone)
                self._metrics.events.labels(delivery.kind).inc(changed)

    # --- the program ----------------------------------------------------------------------------------------------

    def _program(self) -> None:
        """Bring the kernel to where the cluster is. On failure it keeps what it has, until the next attempt."""
        began = time.monotonic()
        try:
            advance = self._desired.advance()
            committed = self._commit(advance)
        except KernelError as error:
            self._holds = False
            self._fail(PROGRAM, str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong with us, the node must stay policed
            self._holds = False
            self._desired.begin_anew()
            what = f"internal error: {type(error).__name__}: {error}; this is a bug, policies stay as they were"
            LOGGER.debug("traceback", exc_info=True)
            self._fail(RULES, what)
            return
        for about in (PROGRAM, RULES):
            self._troubles.end(about)
        self._retry.succeeded()
        if self.failing_since or not self.well_since:
            self.failing_since, self.well_since = 0.0, time.time()
        if advance is not None and self.progress.programmed:
            done = time.monotonic() if committed is None else committed
            self._metrics.change.labels("no" if committed is None else "yes").observe(done - advance.arrived)
        if committed is not None:
            self._note(began, advance)

    def _commit(self, advance: Advance | None) -> float | None:
        """Make the kernel hold the program; the moment from which it did, None where that took no transaction."""
        desired = self._desired.program
        if desired is None:
            self._close_early()
            return None
        if advance is not None and advance.moved:
            self._node.pods_moved()
        guarding, desired = self._guard(desired)
        if not self._holds or (advance is not None and advance.change is None):
            committed = self._node.replace(self._desired.tidy().program)
            self._holds = True
            self._look_at_bridges()
            self._suspect(self._desired.addresses)
            self._metrics.transactions.labels("replace").inc()
            return committed
        change = advance.change if advance is not None and advance.change is not None else NO_CHANGE
        change = replace(change, sets=(*change.sets, *guarding.sets))
        if not change:
            return None
        committed = self._make(change)
        self._metrics.transactions.labels("change").inc()
        self._suspect(desired.affected(change))
        if advance is not None and self._connections and self._connections.marked:
            self._suspect(advance.touched)
        return committed

    def _make(self, change: Change) -> float:
        """Make a change; the moment from which it was in force."""
        if change.is_torn:
            return self._node.exchange(self._desired.tidy().program)
        return self._node.change(change)

    def _suspect(self, pods: Iterable[IPAddress]) -> None:
        """The connections of these pods have to be looked at."""
        if self._connections:
            self._connections.suspect(pods)

    def _guard(self, program: NodeProgram) -> tuple[Change, NodeProgram]:
        """What the guards' sets have to lose and gain, and the program after it."""
        if not (self._settings.spoof_guard or self._settings.start_closed):
            return NO_CHANGE, program
        guards = self._node.guards(self._desired)
        if guards == program.guards:
            return NO_CHANGE, program
        return self._desired.guard(guards)

    def _look_at_bridges(self) -> None:
        """Say so where packets between pods of this node never meet the program: nobody must believe they do."""
        found = self._node.unfiltered(self._desired)
        self.unfiltered = bool(found)
        if found:
            self._troubles.begin(BRIDGE, "; ".join(found))
        else:
            self._troubles.end(BRIDGE)

    def _close_early(self) -> None:
        """Where it is asked for, cut this node's pods off until everything is listed; what was left stays in force."""
        if not self._settings.start_closed or self._closed:
            return
        program = self._desired.closed()
        if program is None:
            return
        if not self._node.is_policed():
            self._node.replace(program)
            LOGGER.info("pods of this node are cut off until everything is listed")
        self._closed = True

    def _fail(self, about: str, what: str) -> None:
        self._retry.failed(time.monotonic())
        self.failing_since = self.failing_since or time.time()
        self._troubles.begin(about, what)
        self._metrics.errors.labels(about).inc()
        self.progress = replace(self.progress, failures=self.progress.failures + 1)

    def _note(self, began: float, advance: Advance | None) -> None:
        """Count a transaction, and how long after its event it came."""
        now, wall, done = time.monotonic(), time.time(), self.progress
        self.progress = replace(
            done, transactions=done.transactions + 1, programmed=True, last_change=wall, last_seconds=now - began
        )
        if not done.programmed:
            LOGGER.info("everything is listed; the program is in the kernel")
            _settle_memory()
            return
        if advance is None:
            return
        for (kind, namespace, name), created in advance.created:
            if kind == "Pod" and self._desired.is_here(namespace, name):
                self._metrics.pod_reachability.observe(wall - created)
            elif kind in POLICY_KINDS:
                self._metrics.policy_enforcement.observe(wall - created)

    # --- the table altered by others ------------------------------------------------------------------------------

    def _hear_alterations(self) -> None:
        """One look is enough, however many transactions of others touched the table."""
        alterations = self._node.alterations()
        if alterations:
            self._check(str(alterations[-1]))

    def _check(self, reason: str) -> None:
        """Look whether the kernel still holds the program, and put it back where it does not."""
        self._check_at = time.monotonic() + self._settings.check_every
        self._suspect(self._desired.addresses)
        self._look_at_bridges()
        program = self._desired.program
        if not self._holds or program is None:
            return
        try:
            held = self._node.holds(program.program)
        except KernelError as error:
            self._fail(PROGRAM, str(error))
            self._holds = False
            return
        if not held:
            LOGGER.warning("the table %s was altered (%s); putting it back", self._settings.table, reason)
            self._holds = False
            self._metrics.repairs.inc()
            self.progress = replace(self.progress, repairs=self.progress.repairs + 1)

    # --- drops ----------------------------------------------------------------------------------------------------

    def _hear_drops(self) -> None:
        for denied in self._node.drops():
            one = flow(denied, self._desired.compiled)
            self._flows.tell(one)
            self._metrics.flows.labels(one.direction, one.action).inc()


def _settle_memory() -> None:
    """Keep the collector of cycles away from a cluster's objects: they stay, and make no cycles.

    What comes later is looked at in small portions, since each is a pause between an event and its transaction.
    """
    gc.collect()
    gc.freeze()
    give_back()
    gc.set_threshold(*COLLECT)
