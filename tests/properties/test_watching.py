"""Whatever happens to the objects and to the connection, in the end a watcher holds what the server holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, note

from tests.unit.kubeapi.driver import Driver, reflector
from tests.unit.kubeapi.store import EXPIRED, Store, bookmark, line, status

NAMES = st.sampled_from("abc")
CODES = st.sampled_from([401, 403, 404, 410, 429, 500, 503, 504])
USUAL: tuple[tuple[str, st.SearchStrategy[Any]], ...] = (
    ("put", NAMES),
    ("delete", NAMES),
    ("tell", st.integers(1, 4000)),
)
PUT, DELETE, TELL = (st.tuples(st.just(what), how) for what, how in USUAL)
STEPS = st.one_of(
    *(PUT, PUT, PUT, DELETE, TELL, TELL, TELL),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("repeat"), st.tuples(st.integers(0, 3), st.integers(1, 5))),
    st.tuples(st.just("bookmark"), st.none()),
    st.tuples(st.just("end"), st.booleans()),
    st.tuples(st.just("cut"), st.integers(0, 4000)),
    st.tuples(st.just("refuse"), CODES),
    st.tuples(st.just("restore"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 2.0, 20.0, 4000.0])),
)


class World:
    """A server and a watcher, and how much of its watch the watcher has been told."""

    def __init__(self, streams: str, limit: int) -> None:
        self.begin = 100_000
        self.driver = Driver(Store(version=self.begin, streams=streams), reflector(chance=lambda: 0.25))
        self.limit = limit
        self.told = 0

    def act(self, what: str, detail: Any) -> None:
        """Let something happen; where it would happen to a watch and none is open, a request is answered instead."""
        to_watch: dict[str, Callable[[Any], object]] = {
            "tell": self.tell,
            "repeat": self.repeat,
            "bookmark": self.bookmark,
            "end": self.end,
        }
        anyhow: dict[str, Callable[[Any], object]] = {
            "cut": self.cut,
            "restore": self.restore,
            "wait": self.wait,
            "refuse": self.refuse,
        }
        store = self.driver.store
        on_store: dict[str, Callable[[Any], object]] = {
            "put": store.put,
            "delete": store.delete,
            "compact": lambda _: store.compact(),
        }
        found = {**to_watch, **anyhow, **on_store}[what]
        if what in to_watch and not self.driver.machine.connected:
            self.ask()
        else:
            found(detail)

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

    def tell(self, chunk: int) -> None:
        """The open watch tells all that is new, in chunks, or that it has expired."""
        said = self.news() if self.told >= self.driver.store.compacted else line("ERROR", EXPIRED)
        for begin in range(0, len(said), chunk):
            self.driver.say(said[begin : begin + chunk])
        self.told = self.driver.store.version

    def repeat(self, place: tuple[int, int]) -> None:
        """The watch says again some of what it said before."""
        since, count = place
        events = [event for event in reversed(self.driver.store.events) if event[0] <= self.told][since:]
        self.driver.say(b"".join(line(kind, item) for _, kind, item in reversed(events[:count])))

    def bookmark(self, _: None) -> None:
        """The watch says how far it is."""
        if self.told >= self.driver.store.compacted:
            self.driver.say(bookmark(self.told))

    def end(self, late: bool) -> None:
        """The watch ends as it should."""
        self.driver.now += 20.0 * late
        self.driver.end()

    def cut(self, length: int) -> None:
        """The watch breaks after some bytes of what is new, or a request after some bytes of its answer."""
        driver, store = self.driver, self.driver.store
        if driver.machine.connected:
            driver.say(self.news()[:length])
        else:
            query = driver.due().query
            if "watch" in query:
                code, lines, _ = store.watch(query)
                said = b"".join(lines)
            else:
                code, body = store.page(query)
                said = json.dumps(body).encode()
            driver.machine.answered(code, None, driver.now)
            driver.say(said[: min(length, len(said) - 1)])
        if driver.machine.wants_more:
            driver.fail()

    def refuse(self, code: int) -> None:
        """The next request is refused, and so the watch ends."""
        if self.driver.machine.connected:
            self.driver.fail()
        self.driver.refuse(status(code, "", "no"))

    def restore(self, count: int) -> None:
        """The server comes back from an older backup, with other objects and smaller versions."""
        self.begin -= 1000
        self.driver.store = Store(version=self.begin, streams=self.driver.store.streams)
        for name in "abcde"[:count]:
            self.driver.store.put(name)
        if self.driver.machine.connected:
            self.driver.fail()

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.driver.now += seconds


@given(
    st.sampled_from(["yes", "refused", "disabled", "ignored"]),
    st.integers(1, 3),
    st.lists(STEPS, min_size=25, max_size=60),
)
def test_a_watcher_ends_with_what_the_server_holds(streams: str, limit: int, steps: list[tuple[str, Any]]) -> None:
    world = World(streams, limit)
    for what, detail in steps:
        world.act(what, detail)
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
