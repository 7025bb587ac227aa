"""Whatever happens to the objects and to the connection, in the end a watcher holds what the server holds."""

from __future__ import annotations

import json

import hypothesis.strategies as st
from hypothesis import given, note

from tests.unit.kubeapi.driver import Driver, reflector
from tests.unit.kubeapi.store import EXPIRED, Store, bookmark, line, status

CODES = (401, 403, 404, 410, 429, 500, 503, 504)
USUAL = ("put", "put", "put", "delete", "tell", "tell", "tell", "repeat", "bookmark", "end", "wait")
FAULTS = ("compact", "cut", "refuse", "restore")
STEPS = st.lists(st.tuples(st.sampled_from(USUAL * 2 + FAULTS), st.integers(0, 4000)), min_size=30, max_size=60)
"""What happens, and a number that says more about it."""


class World:
    """A server and a watcher, and how much of its watch the watcher has been told."""

    def __init__(self, streams: str, limit: int, optional: bool) -> None:
        self.begin = 100_000
        self.driver = Driver(
            Store(version=self.begin, streams=streams), reflector(chance=lambda: 0.25, optional=optional)
        )
        self.limit = limit
        self.told = 0

    def act(self, what: str, number: int) -> None:
        """Let something happen; where it would happen to a watch and none is open, one is opened first."""
        if what in ("tell", "repeat", "bookmark", "end"):
            for _ in range(5):
                if not self.driver.machine.connected:
                    self.ask()
            if not self.driver.machine.connected:
                return
        getattr(self, what)(number)

    def put(self, number: int) -> None:
        """An object comes or changes."""
        self.driver.store.put("abc"[number % 3])

    def delete(self, number: int) -> None:
        """An object goes, if it is there."""
        self.driver.store.delete("abc"[number % 3])

    def compact(self, _: int) -> None:
        """The server forgets what has happened."""
        self.driver.store.compact()

    def ask(self) -> None:
        """Send the request that is due; a watch that opens has told all that was due at once."""
        self.driver.machine._limit = min(self.driver.machine._limit, self.limit)
        self.driver.open()
        self.told = self.driver.store.version

    def news(self) -> bytes:
        """What the open watch has not told yet; nothing where it has expired."""
        store = self.driver.store
        events = store.events if self.told >= store.compacted else []
        return b"".join(line(kind, item) for version, kind, item in events if version > self.told)

    def tell(self, number: int) -> None:
        """The open watch tells all that is new, in chunks, or that it has expired."""
        said = self.news() if self.told >= self.driver.store.compacted else line("ERROR", EXPIRED)
        for begin in range(0, len(said), number + 1):
            self.driver.say(said[begin : begin + number + 1])
        self.told = self.driver.store.version

    def repeat(self, number: int) -> None:
        """The watch says again some of what it said before."""
        events = [event for event in self.driver.store.events if event[0] <= self.told]
        begin = number % (len(events) + 1)
        self.driver.say(b"".join(line(kind, item) for _, kind, item in events[begin : begin + 1 + number % 2]))

    def bookmark(self, _: int) -> None:
        """The watch says how far it is."""
        if self.told >= self.driver.store.compacted:
            self.driver.say(bookmark(self.told))

    def end(self, number: int) -> None:
        """The watch ends as it should, at once or later."""
        self.driver.now += 20.0 * (number % 2)
        self.driver.end()

    def cut(self, length: int) -> None:
        """The watch breaks after some bytes of what is new, or a request after some bytes of its answer."""
        driver, store = self.driver, self.driver.store
        if driver.machine.connected:
            driver.say(self.news()[:length])
        else:
            query = driver.due().query
            if driver.machine.absent:
                said, code = json.dumps(store.group()).encode(), 200
            elif "watch" in query:
                code, lines, _ = store.watch(query)
                said = b"".join(lines)
            else:
                code, body = store.page(query)
                said = json.dumps(body).encode()
            driver.machine.answered(code, None, driver.now)
            driver.say(said[: min(length, len(said) - 1)])
        if driver.machine.wants_more:
            driver.fail()

    def refuse(self, number: int) -> None:
        """The next request is refused, and so the watch ends."""
        if self.driver.machine.connected:
            self.driver.fail()
        self.driver.refuse(status(CODES[number % len(CODES)], "", "no"))

    def restore(self, number: int) -> None:
        """The server comes back from an older backup, with other objects and smaller versions."""
        self.begin -= 1000
        self.driver.store = Store(version=self.begin, streams=self.driver.store.streams)
        for name in "abc"[: number % 4]:
            self.driver.store.put(name)
        if self.driver.machine.connected:
            self.driver.fail()

    def wait(self, number: int) -> None:
        """Time passes, up to more than an hour."""
        self.driver.now += number


@given(st.sampled_from(["yes", "refused", "disabled", "ignored"]), st.integers(1, 3), st.booleans(), STEPS)
def test_a_watcher_ends_with_what_the_server_holds(
    streams: str, limit: int, optional: bool, steps: list[tuple[str, int]]
) -> None:
    world = World(streams, limit, optional)
    for what, number in steps:
        world.act(what, number)
    driver = world.driver
    if driver.machine.connected:
        driver.fail()
    for _ in range(80):
        if driver.machine.connected:
            break
        world.ask()
        if driver.machine.wants_more and not driver.machine.connected:
            driver.fail(silent=True)
    note(f"{driver.machine.phase} {driver.machine.last_error}")
    assert driver.machine.connected
    held = {(key[1], key[2]): version for key, version in driver.machine.held.versions.items()}
    assert driver.versions == held
    assert held == driver.store.state
