"""Puts a reflector and a store together without sockets: requests are answered, the changes make a set of objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from gatewright.kubeapi.reflector import Reflector, Request
from gatewright.kubeapi.updates import Update
from gatewright.objects.meta import Key, Object
from gatewright.objects.watched import Reader
from tests.unit.kubeapi.store import Json, Store


def reflector(
    *, optional: bool = False, streaming: bool = True, chance: Callable[[], float] = lambda: 0.5
) -> Reflector:
    """A reflector of pods. Half of all chances makes waits the average ones."""
    return Reflector(Reader("", "Pod"), chance, optional=optional, streaming=streaming)


@dataclass
class Driver:
    """A watcher of a store: its clock, what it was handed on (`updates`), and the objects that this comes to."""

    store: Store
    machine: Reflector
    now: float = 100.0
    updates: list[Update] = field(default_factory=list)
    objects: dict[Key, Object] = field(default_factory=dict)

    @property
    def versions(self) -> dict[tuple[str, str], str]:
        """The version of every object, as `Store.state` tells them."""
        return {(key[1], key[2]): item.metadata.resource_version for key, item in self.objects.items()}

    def due(self) -> Request:
        """The next request, at its time."""
        request = self.machine.request()
        self.now = max(self.now, request.due)
        return request

    def answer(self, status: int, body: bytes, asked: float | None = None, cut: int = 1 << 30) -> None:
        """A whole answer to the request that is due, in chunks."""
        self.due()
        self.machine.answered(status, asked, self.now)
        for begin in range(0, len(body), cut):
            self.say(body[begin : begin + cut])
        self.end()

    def refuse(self, item: Json, asked: float | None = None) -> None:
        """A Status as an answer."""
        self.answer(item["code"], json.dumps(item).encode(), asked)

    def open(self) -> list[bytes]:
        """Send the request and take what is due at once; a watch stays open. What was said."""
        request = self.due()
        if request.path == self.machine._reader.group_path:
            code, said = 200, [json.dumps(self.store.group()).encode()]
        elif "watch" not in request.query:
            code, body = self.store.page(request.query)
            said = [json.dumps(body).encode()]
        else:
            code, said, _ = self.store.watch(request.query)
        self.machine.answered(code, None, self.now)
        for one in said:
            self.say(one)
        if code != 200 or "watch" not in request.query:
            self.end()
        return said

    def settle(self, most: int = 30) -> None:
        """Ask until a watch is open."""
        for _ in range(most):
            self.open()
            if self.machine.connected:
                return
        raise AssertionError(f"no watch after {most} requests: {self.machine.phase} {self.machine.last_error}")

    def say(self, data: bytes) -> None:
        self._take(self.machine.received(data, self.now))

    def end(self) -> None:
        self._take(self.machine.ended(self.now))

    def fail(self, *, silent: bool = False) -> None:
        self.machine.failed("connection reset", self.now, silent=silent)

    def _take(self, updates: list[Update]) -> None:
        for update in updates:
            self.updates.append(update)
            for key in update.changes.gone:
                self.objects.pop(key, None)
            for item in update.changes.put:
                self.objects[item.key] = item


def settled(*, optional: bool = False, streaming: bool = True) -> Driver:
    """A watcher of two pods, a and b, with its watch open."""
    store = Store()
    store.put("a")
    store.put("b")
    driver = Driver(store, reflector(optional=optional, streaming=streaming))
    driver.settle()
    assert driver.versions == store.state
    return driver
