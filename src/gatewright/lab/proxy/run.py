"""The proxy of one node at work: what the watch tells of Services goes in, transactions come out.

One thread owns the table and the kernel's packet filter; it wakes when something was delivered, when somebody else
altered the table, or when a moment has come to try again. What came together is one transaction, and so is what comes
shortly after another. Nothing is programmed
before everything is listed: half a list would be a cluster in which Services are missing. Whatever goes wrong, the
kernel keeps what it holds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from gatewright.agent.retry import Retry
from gatewright.engine.addresses import IPAddress
from gatewright.errors import line
from gatewright.kernel.conntrack import forget
from gatewright.kernel.errors import KernelError
from gatewright.lab.backing import ENDPOINT_SLICE, SERVICE, Backing, Owner
from gatewright.lab.network.links import HOST_LINK
from gatewright.lab.network.routes import keep_routes
from gatewright.lab.proxy.fronts import Front, Target, fronts
from gatewright.lab.proxy.kernel import Kernel
from gatewright.lab.proxy.pieces import Piece, piece
from gatewright.lab.proxy.stale import UDP, is_stale, leave_behind, places
from gatewright.lab.proxy.table import Delta, Table
from gatewright.sources.kubeconfig import Where
from gatewright.sources.watch import ClusterWatch, Delivery

LOGGER = logging.getLogger("gatewright.lab.proxy")
HEARTBEAT = 1.0
"""Seconds the loop sleeps at most: that often it looks whether to stop."""
APART = 0.05
"""Seconds between two transactions, at least: while a cluster starts, not every pod keeps every node busy."""
REPAIRS_APART = 1.0
"""Seconds between two repairs, at least: who alters the table again and again does not keep the node busy."""


class Proxy:
    """The proxy of one node. `deliver` may be called from any thread, all else happens in the one that makes it."""

    def __init__(self, node: str, addresses: Iterable[IPAddress], heartbeat: float = HEARTBEAT) -> None:
        """`addresses` are the node's own. In the network namespace of the node. Raises KernelError."""
        self._heartbeat = heartbeat
        self.transactions = 0
        self.repairs = 0
        self._node = node
        self._addresses = tuple(addresses)
        self._kernel = Kernel()
        self._table = Table(self._addresses)
        self._backing = Backing()
        self._deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._awaited = {kind for _, kind in (SERVICE, ENDPOINT_SLICE)}
        self._touched: set[Owner] = set()
        self._reached: dict[Owner, dict[Target, frozenset[Target]]] = {}
        self._holds = False
        self._stale = True
        self._retry = Retry()
        self._repaired = self._next = 0.0

    def deliver(self, delivery: Delivery) -> None:
        """Something a watch has heard."""
        self._deliveries.put(delivery)
        os.eventfd_write(self._wake, 1)

    def run(self, stop: threading.Event) -> None:
        """Turn until `stop`, and a heartbeat longer. What is programmed stays."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ, self._hear_deliveries)
            selector.register(self._kernel.monitor, selectors.EVENT_READ, self._hear_alterations)
            while not stop.is_set():
                for key, _ in selector.select(self._pause()):
                    key.data()
                if self._retry.may(time.monotonic()) and self._next <= time.monotonic():
                    self._turn()

    def close(self) -> None:
        """Hear no more: nothing is delivered after it."""
        self._kernel.close()
        os.close(self._wake)

    def _pause(self) -> float:
        if self._awaited or (self._holds and not self._touched):
            return self._heartbeat
        return min(max((self._retry.at or self._next) - time.monotonic(), 0.0), self._heartbeat)

    def _hear_deliveries(self) -> None:
        os.eventfd_read(self._wake)
        while not self._deliveries.empty():
            delivery = self._deliveries.get()
            self._touched |= self._backing.take(delivery.changes)
            if delivery.complete:
                self._awaited.discard(delivery.kind)

    def _hear_alterations(self) -> None:
        alterations = self._kernel.alterations()
        if not alterations or not self._holds:
            return
        LOGGER.warning("%s; putting it back", alterations[-1])
        self._holds = False
        self.repairs += 1
        now = time.monotonic()
        if now - self._repaired < REPAIRS_APART:
            self._retry.failed(now)
        self._repaired = now

    def _turn(self) -> None:
        """Make the kernel hold what it should."""
        if self._awaited:
            return
        delta = self._work_out()
        try:
            if not self._holds:
                self._kernel.replace(self._table)
            elif delta:
                self._kernel.change(delta)
            if delta or not self._holds:
                self.transactions += 1
                self._next = time.monotonic() + APART
            self._holds = True
            if self._stale:
                self._forget_stale()
            self._retry.succeeded()
        except KernelError as error:
            LOGGER.error("services: %s", line(error))
            self._holds = False
            self._retry.failed(time.monotonic())

    def _work_out(self) -> Delta:
        """The Services that were touched, again."""
        touched, self._touched = self._touched, set()
        pieces: dict[Owner, Piece] = {}
        for owner in touched:
            found = self._fronts(owner)
            pieces[owner] = piece(found)
            before, after = self._reached.pop(owner, {}), places(found, self._addresses)
            if after:
                self._reached[owner] = after
            self._stale = self._stale or leave_behind(before, after)
        return self._table.change(pieces)

    def _fronts(self, owner: Owner) -> tuple[Front, ...]:
        service = self._backing.service(owner)
        if service is None:
            return ()
        return fronts(service, self._backing.slices(owner), self._node, self._table.versions)

    def _forget_stale(self) -> None:
        reached = {place: kept for own in self._reached.values() for place, kept in own.items()}
        if reached:
            forget(lambda flow: is_stale(flow, reached), UDP)
        self._stale = False


def run_proxy(
    where: Where,
    node: str,
    addresses: Iterable[IPAddress],
    stop: threading.Event,
    ready: Callable[[], None] | None = None,
) -> None:
    """Keep the Services of a cluster and the ways to its pods working on this node until `stop`.

    In the network namespace of the caller. `addresses` are the node's own, the first of each family the one that
    masqueraded packets come from. `ready` is called when the routes stand first. Raises KernelError for what is missing
    or not permitted, ClusterUnavailable for a configuration that cannot be used.
    """
    own = tuple(addresses)
    with contextlib.closing(Proxy(node, own)) as proxy:
        watch = ClusterWatch(where, (SERVICE, ENDPOINT_SLICE), proxy.deliver, fields={})
        routing = _Routing(where, node, {one.version for one in own}, stop, ready)
        watch.start()
        routing.start()
        try:
            proxy.run(stop)
        finally:
            stop.set()
            watch.stop()
            routing.join()
    if routing.failure is not None:
        raise routing.failure


class _Routing(threading.Thread):
    """Keeps the routes; what ends it ends the proxy too, so that whoever started both may start them again."""

    def __init__(
        self, where: Where, node: str, families: Iterable[int], stop: threading.Event, ready: Callable[[], None] | None
    ) -> None:
        super().__init__(name="routes", daemon=True)
        self.failure: BaseException | None = None
        self._stop_event = stop
        self._keep = partial(keep_routes, where, node, HOST_LINK, tuple(families), stop, ready)

    def run(self) -> None:
        try:
            self._keep()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self.failure = error
        finally:
            self._stop_event.set()
