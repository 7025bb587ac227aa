"""An agent put together: the watch, the loop, what it tells. Runs until it is told to stop, and leaves the table."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from gatewright.agent.connections import Connections
from gatewright.agent.desired import Desired
from gatewright.agent.events import EventWriter
from gatewright.agent.flows import Flows
from gatewright.agent.http import HttpServer, Sources
from gatewright.agent.log import LOGGER, Troubles, timestamp
from gatewright.agent.loop import Loop, Telling
from gatewright.agent.metrics import Drops, Metrics
from gatewright.agent.node import Node
from gatewright.agent.settings import Settings
from gatewright.agent.status import AgentStatus, Conntrack, Programmed, State, Watched
from gatewright.errors import GatewrightError
from gatewright.kernel.classes import PodClass
from gatewright.kernel.conntrack import TableUse, table_use
from gatewright.kernel.counts import Counted, counts
from gatewright.kernel.errors import KernelError
from gatewright.kernel.names import policies_of
from gatewright.kernel.preflight import concerns, preflight
from gatewright.sources.creating import Creator
from gatewright.sources.kubeconfig import Where, configuration
from gatewright.sources.watch import NODE_KINDS, ClusterWatch, KindStatus

SILENT = 10.0
"""Seconds without a watch after which what is in the kernel counts as stale."""


SWITCH = 0.0005
"""Seconds after which a thread that computes lets the loop have the interpreter; ten times less than usual."""
CLOSING = 2.0
"""Seconds that a last Event may take."""
EVENTS = "Kubernetes Events"


class CannotRun(GatewrightError):
    """The node lacks something without which no policy can be enforced."""


class Agent:
    """One agent. `run` returns after `stop`."""

    def __init__(self, settings: Settings, where: Where) -> None:
        """Raises GatewrightError for what the node lacks, and for a cluster that cannot be found."""
        self._settings = settings
        self._started = time.time()
        self._desired = Desired(settings.node, [kind for _, kind in NODE_KINDS], settings.options)
        self._node = Node(settings)
        self._flows = Flows()
        self._metrics = Metrics()
        self._troubles, self._heard = Troubles(), Troubles()
        self._connections: Connections | None = None
        if not settings.keep_connections and not settings.audit:
            self._connections = Connections(self._node.revoke, lambda: self._desired, self._troubles)
        self._loop = Loop(
            settings,
            self._desired,
            self._node,
            Telling(self._flows, self._metrics, self._troubles),
            self._connections,
            self._log_watches,
        )
        self._watch = ClusterWatch(where, NODE_KINDS, self._loop.deliver)
        self._events: EventWriter | None = None
        if settings.events:
            self._events = EventWriter(self._flows, settings.node, Creator(where), time.monotonic, self._event_failed)
        self._metrics.describe(version("gatewright"), self.status, self._drops)
        self._server = HttpServer(Sources(self.status, self._is_alive, self._metrics.registry, self._flows))

    def run(self) -> None:
        """Enforce until `stop`."""
        settings = self._settings
        try:
            self._server.listen_on_socket(settings.socket)
            if settings.metrics:
                self._server.listen_on_port(settings.metrics)
            LOGGER.info("node %s: listing the cluster", settings.node)
            if self._connections:
                self._connections.start()
            self._watch.start()
            if self._events:
                self._events.thread.start()
            self._loop.run()
        finally:
            self._watch.stop()
            if self._connections:
                self._connections.close()
            self._server.close()
            self._node.close()
            if self._events and self._events.thread.is_alive():
                self._events.thread.join(CLOSING)
        LOGGER.info("stopped; the policies stay in force as they are")

    def stop(self) -> None:
        """End `run` soon. From any thread or signal handler."""
        self._loop.stop()

    def _is_alive(self) -> bool:
        """Whether every part is at work; where one has ended by a fault of ours, only a new start helps."""
        return self._loop.alive and not any(one.ended for one in self._watch.status())

    def _log_watches(self) -> None:
        """Log what is wrong with a watch, or with objects that it brings, when it begins and when it is over."""
        for one in self._watch.status():
            troubles = {f"watch of {one.kind}": "" if one.connected or one.absent else one.last_error}
            troubles[f"objects of kind {one.kind}"] = "; ".join(str(problem) for problem in one.problems)
            for about, what in troubles.items():
                if what:
                    self._heard.begin(about, what)
                else:
                    self._heard.end(about)

    def _event_failed(self, what: str) -> None:
        if what:
            self._troubles.begin(EVENTS, what)
            self._metrics.errors.labels(EVENTS).inc()
        else:
            self._troubles.end(EVENTS)

    # --- what it tells --------------------------------------------------------------------------------------------

    def status(self) -> AgentStatus:
        """Where it stands. From any thread."""
        watched, done, wall = self._watch.status(), self._loop.progress, time.time()
        state, since = self._state(watched)
        waiting = self._desired.waiting_since
        conntrack = _conntrack()
        program = self._desired.program
        missing = () if done.programmed else self._desired.missing
        classes = list(program.classes) if program else []
        return AgentStatus(
            node=self._settings.node,
            version=version("gatewright"),
            mode="audit: nothing is dropped" if self._settings.audit else "enforcing",
            state=state,
            since=timestamp(since),
            behind=round(time.monotonic() - waiting, 3) if waiting is not None and done.programmed else 0.0,
            started=timestamp(self._started),
            programmed=Programmed(
                pods=len({address for one in classes for address in one.addresses if address[0] == 4}),
                classes=len(classes),
                elements=program.element_count if program else 0,
                policies=len({policy for one in classes for policy in policies_of(one.rules)}),
                transactions=done.transactions,
                repairs=done.repairs,
                failures=done.failures,
                last_change=timestamp(done.last_change) if done.last_change else "",
                last_seconds=round(done.last_seconds, 6),
                connections_ended=self._connections.ended if self._connections else 0,
            ),
            watched=tuple(_watched(one, wall) for one in watched),
            problems=(*self._troubles.lines, *problems(missing, watched, conntrack), *unenforced(classes)),
            conntrack=Conntrack(conntrack.entries, conntrack.limit, conntrack.dropped) if conntrack else None,
            flows_lost=self._node.lost,
        )

    def _state(self, watched: tuple[KindStatus, ...]) -> tuple[State, float]:
        """The state, and since when (seconds since the epoch)."""
        loop, now, wall = self._loop, time.monotonic(), time.time()
        if loop.failing_since:
            return State.FAILING, loop.failing_since
        if loop.unfiltered:
            return State.FAILING, self._started
        if not loop.progress.programmed:
            return State.STARTING, self._started
        deaf = [one.since for one in watched if not one.connected and not one.absent and now - one.since >= SILENT]
        if deaf:
            return State.STALE, wall - (now - min(deaf))
        return State.IN_STEP, loop.well_since

    def _drops(self) -> Drops:
        """What was dropped, by direction and policies; from the kernel's counters."""
        program = self._desired.program
        names = {one.name: ",".join(policies_of(one.rules)) for one in program.classes} if program else {}
        found: dict[tuple[str, str], Counted] = {}
        for name, counted in counts(self._settings.table).items():
            where, _, why = name.rpartition("/")
            key = (where.partition("/")[0], names.get(where, why))
            before = found.get(key, Counted(0, 0))
            found[key] = Counted(before.packets + counted.packets, before.bytes + counted.bytes)
        return found


def problems(missing: tuple[str, ...], watched: tuple[KindStatus, ...], conntrack: TableUse | None) -> Iterator[str]:
    """What is wrong beside the loop's own troubles, one line each."""
    if missing:
        yield f"not listed yet: {', '.join(missing)}"
    for one in watched:
        if one.last_error:
            yield f"{one.kind}: {one.last_error}"
        yield from map(str, one.problems)
    if conntrack and conntrack.full:
        what = f"the kernel drops new connections ({conntrack.dropped} packets so far)"
        yield f"connection tracking is full: {what}; raise net.netfilter.nf_conntrack_max"


def unenforced(classes: Iterable[PodClass]) -> list[str]:
    """What policies of this node's pods say that no packet filter can know: a line for each policy."""
    rules = [rule for one in classes for tier in one.rules.tiers for rule in tier.rules]
    named = {rule.origin.policy: rule.peers.names for rule in rules if rule.peers.names}
    what = "domainNames are not enforced by the agent: the rule matches nothing"
    return [f"{policy}: {', '.join(names)}: {what}" for policy, names in sorted(named.items())]


def run_agent(settings: Settings, where: Where) -> None:
    """Run an agent until SIGTERM or SIGINT. Raises GatewrightError."""
    missing = preflight()
    if missing:
        raise CannotRun("\n".join(str(one) for one in missing))
    for one in concerns():
        LOGGER.warning("%s", one)
    configuration(where)
    sys.setswitchinterval(SWITCH)
    agent = Agent(settings, where)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()


def _watched(one: KindStatus, wall: float) -> Watched:
    since = timestamp(wall - (time.monotonic() - one.since))
    connected = one.connected or one.absent
    error = "the cluster has no such kind" if one.absent else one.last_error
    return Watched(
        one.kind, one.complete, connected, since, one.objects, one.relists, one.reconnects, error, one.resource_version
    )


def _conntrack() -> TableUse | None:
    try:
        return table_use()
    except KernelError:
        return None
