"""Each state and each turn of the list-and-watch state machine, as named cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewright.kubeapi.backoff import FIRST
from gatewright.kubeapi.reflector import (
    ABSENT_CONFIRMED,
    ABSENT_FOR,
    PAGE,
    PATIENCE,
    STEADY,
    STREAM_AGAIN,
    WATCH_PATIENCE,
    Phase,
    Reflector,
)
from gatewright.objects.watched import Reader
from tests.unit.kubeapi.driver import Driver, reflector, settled
from tests.unit.kubeapi.store import EXPIRED, Store, bookmark, line, status, too_large

STREAM = {
    "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "450", "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
}  # fmt: skip


def keys(driver: Driver) -> list[str]:
    return sorted(name for _, _, name in driver.objects)


def test_what_is_asked_first_and_then() -> None:
    driver = settled()
    fresh = reflector().request()
    assert (fresh.path, fresh.query, fresh.patience) == ("/api/v1/pods", STREAM, PATIENCE)
    driver.now += STEADY
    driver.end()
    request = driver.due()
    watch = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "450", "resourceVersion": "12"}
    assert (request.query, request.patience, request.due) == (watch, WATCH_PATIENCE, driver.now)
    pages = reflector(streaming=False).request()
    assert (pages.query, pages.patience) == ({"limit": str(PAGE)}, PATIENCE)


def test_a_first_list_is_one_update() -> None:
    for streaming in (True, False):
        driver = settled(streaming=streaming)
        [update] = driver.updates
        assert (len(update.changes.put), update.changes.gone, update.created) == (2, (), ())
        assert (driver.machine.complete, driver.machine.connected) == (True, True)


def test_nothing_is_handed_on_of_a_list_that_is_not_whole() -> None:
    store = Store()
    for number in range(7):
        store.put(f"p{number}")
    driver = Driver(store, reflector(streaming=False))
    driver.machine._limit = 3
    for _ in range(2):
        driver.open()
        assert (driver.updates, driver.machine.complete) == ([], False)
        driver.machine._limit = 3
    driver.open()
    assert (driver.versions, driver.machine.complete) == (store.state, True)


def test_events_in_order() -> None:
    driver = settled()
    driver.say(line("ADDED", driver.store.put("c", metadata={"creationTimestamp": "2026-11-26T10:00:00Z"})))
    driver.say(line("MODIFIED", driver.store.put("a")))
    driver.store.delete("b")
    driver.say(line("DELETED", driver.store.events[-1][2]))
    assert driver.versions == driver.store.state
    assert [update.created for update in driver.updates] == [
        (),
        ((("Pod", "shop", "c"), "2026-11-26T10:00:00Z"),),
        (),
        (),
    ]
    assert driver.machine.resource_version == str(driver.store.version)


def test_events_of_one_chunk_are_one_update_and_the_last_of_an_object_counts() -> None:
    driver = settled()
    store = driver.store
    store.put("c")
    store.delete("c")
    store.delete("a")
    store.put("a")
    driver.say(b"".join(line(kind, item) for _, kind, item in store.events[2:]))
    update = driver.updates[-1]
    assert len(driver.updates) == 2
    assert [item.name for item in update.changes.put] == ["a"]
    assert (update.changes.gone, update.created) == (
        (("Pod", "shop", "c"),),
        ((("Pod", "shop", "a"), "2026-11-23T04:49:10Z"),),
    )


def test_every_cut_of_a_stream_is_the_same_as_none() -> None:
    """The connection breaks after every possible byte; the watch goes on from what had come whole."""
    store = settled().store
    before = dict(store.objects)
    store.put("c")
    store.delete("a")
    store.put("b")
    said = b"".join(line(kind, item) for _, kind, item in store.events[2:]) + bookmark(store.version)
    for cut in range(len(said) + 1):
        driver = Driver(Store(version=12, objects=dict(before)), reflector())
        driver.settle()
        driver.say(said[:cut])
        assert len(driver.updates) == 1 + (b"\n" in said[:cut]), cut
        driver.fail()
        driver.store = store
        driver.settle()
        assert (driver.versions, driver.machine.relists) == (store.state, 0), cut


def test_every_cut_into_two_chunks_is_the_same_as_none() -> None:
    base = settled()
    store = base.store
    store.put("c")
    store.delete("a")
    said = b"".join(line(kind, item) for _, kind, item in store.events[2:])
    for cut in range(len(said) + 1):
        driver = settled()
        driver.say(said[:cut])
        driver.say(said[cut:])
        assert driver.versions == store.state, cut


def test_a_streaming_list_cut_anywhere_begins_anew() -> None:
    store = Store()
    store.put("a")
    store.put("b")
    _, lines, _ = store.watch({"sendInitialEvents": "true"})
    said = b"".join(lines)
    for cut in range(len(said)):
        driver = Driver(store, reflector())
        driver.due()
        driver.machine.answered(200, None, driver.now)
        driver.say(said[:cut])
        driver.fail()
        assert (driver.updates, driver.machine.complete) == ([], False), cut
        driver.settle()
        assert driver.versions == store.state, cut


STREAMS: dict[str, tuple[Callable[[Driver], None], str]] = {
    "refused with 422": (lambda driver: driver.refuse(status(422, "Invalid", "forbidden")), "pages"),
    "refused with 400": (lambda driver: driver.refuse(status(400, "BadRequest", "forbidden for watch")), "pages"),
    "an ERROR event, as with an old etcd": (
        lambda driver: driver.answer(200, line("ERROR", status(500, "InternalError", "feature is disabled"))), "pages"
    ),
    "busy": (lambda driver: driver.refuse(status(429, "TooManyRequests", "too many requests"), 3.0), "stream"),
    "no connection": (lambda driver: driver.fail(), "stream"),
    "broken off once": (lambda driver: driver.answer(200, b""), "stream"),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_a_streaming_list_that_does_not_come(name: str) -> None:
    happen, then = STREAMS[name]
    store = Store()
    store.put("a")
    driver = Driver(store, reflector())
    happen(driver)
    asked = driver.due().query
    assert ("limit" in asked) is (then == "pages")
    assert ("sendInitialEvents" in asked) is (then == "stream")
    driver.settle()
    assert driver.versions == store.state


@pytest.mark.parametrize("code", [500, 504])
def test_pages_are_asked_for_when_streaming_lists_break_off_again_and_again(code: int) -> None:
    driver = Driver(Store(), reflector())
    driver.refuse(status(code, "", "internal"))
    assert "sendInitialEvents" in driver.due().query
    driver.refuse(status(code, "", "internal"))
    assert "limit" in driver.due().query


def test_a_server_that_ignores_the_streaming_list_is_asked_for_pages_at_last() -> None:
    store = Store(streams="ignored")
    store.put("a")
    driver = Driver(store, reflector())
    for _ in range(2):
        driver.open()
        assert driver.updates == []
        driver.now += PATIENCE
        driver.fail(silent=True)
    assert driver.machine.phase is Phase.LISTING
    driver.settle()
    assert driver.versions == store.state


def test_changes_during_a_streaming_list_count() -> None:
    store = Store()
    first = store.put("a")
    second = store.put("b")
    driver = Driver(store, reflector())
    driver.due()
    driver.machine.answered(200, None, driver.now)
    driver.say(line("ADDED", first) + line("ADDED", second))
    store.delete("a")
    driver.say(line("DELETED", store.events[-1][2]) + bookmark(13) + bookmark(13, end=True))
    assert driver.versions == store.state
    assert driver.machine.resource_version == "13"


def test_events_behind_the_end_of_a_streaming_list_are_an_update_of_their_own() -> None:
    store = Store()
    store.put("a")
    driver = Driver(store, reflector())
    driver.due()
    driver.machine.answered(200, None, driver.now)
    _, lines, _ = store.watch({"sendInitialEvents": "true"})
    driver.say(b"".join(lines) + line("ADDED", store.put("b")))
    assert [len(update.changes.put) for update in driver.updates] == [1, 1]
    assert driver.versions == store.state


def test_a_refused_streaming_list_is_tried_again_at_a_relist_after_an_hour() -> None:
    driver = Driver(Store(streams="refused"), reflector())
    driver.settle()
    driver.say(line("ERROR", EXPIRED))
    assert "limit" in driver.due().query
    driver.settle()
    driver.now += STREAM_AGAIN
    driver.say(line("ERROR", EXPIRED))
    assert "sendInitialEvents" in driver.due().query


def refused_after_a_break(driver: Driver) -> None:
    driver.fail()
    driver.refuse(EXPIRED)


GONE: dict[str, Callable[[Driver], None]] = {
    "an ERROR event": lambda driver: driver.say(line("ERROR", EXPIRED)),
    "an ERROR event behind others": lambda driver: driver.say(
        line("ADDED", driver.store.put("z")) + line("ERROR", EXPIRED) + line("ADDED", driver.store.put("y"))
    ),
    "a refusal": refused_after_a_break,
}


@pytest.mark.parametrize("name", GONE)
@pytest.mark.parametrize("streaming", [True, False])
def test_410_lists_again_and_deletions_are_not_lost(name: str, streaming: bool) -> None:
    driver = settled(streaming=streaming)
    driver.store.delete("a")
    driver.store.put("c")
    driver.store.compact()
    before = len(driver.updates)
    GONE[name](driver)
    assert (driver.machine.relists, driver.machine.complete, driver.machine.connected) == (1, True, False)
    assert not driver.machine.wants_more
    driver.settle()
    assert driver.versions == driver.store.state
    update = driver.updates[-1]
    assert update.changes.gone == (("Pod", "shop", "a"),)
    assert len(driver.updates) - before <= 2


def test_a_relist_hands_on_only_what_is_different() -> None:
    driver = settled()
    driver.store.put("b")
    driver.store.compact()
    driver.say(line("ERROR", EXPIRED))
    driver.settle()
    assert [item.name for item in driver.updates[-1].changes.put] == ["b"]


def test_410_again_and_again_waits_longer_each_time() -> None:
    driver = settled()
    waits = []
    for _ in range(4):
        driver.say(line("ERROR", EXPIRED))
        waits.append(driver.machine.request().due - driver.now)
        driver.settle()
    assert waits == pytest.approx([FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST])


def test_a_watch_that_worked_forgets_failures() -> None:
    driver = settled()
    for _ in range(3):
        driver.fail()
        driver.settle()
    driver.now += STEADY
    driver.fail()
    assert driver.machine.request().due - driver.now == pytest.approx(FIRST)


def test_pages_that_expire_are_asked_for_in_larger_ones_and_at_last_at_once() -> None:
    store = Store()
    for number in range(3):
        store.put(f"p{number}")
    driver = Driver(store, reflector(streaming=False))
    limits = []
    for _ in range(4):
        limits.append(driver.due().query.get("limit"))
        if limits[-1] is None:
            break
        driver.answer(200, json.dumps({"items": [], "metadata": {"resourceVersion": "13", "continue": "x"}}).encode())
        assert driver.due().query["continue"] == "x"
        driver.refuse(EXPIRED)
    assert limits == ["500", "5000", "50000", None]
    driver.settle()
    assert driver.versions == store.state
    driver.say(line("ERROR", EXPIRED))
    assert driver.due().query["limit"] == "500"


def test_a_page_that_breaks_off_is_asked_for_again() -> None:
    store = Store()
    store.put("a")
    driver = Driver(store, reflector(streaming=False))
    driver.answer(200, json.dumps({"items": [], "metadata": {"resourceVersion": "11", "continue": "x"}}).encode())
    driver.due()
    driver.machine.answered(200, None, driver.now)
    driver.say(b'{"items": [')
    driver.fail()
    assert driver.due().query == {"limit": "500", "continue": "x"}


NO_LIST = {
    "HTML": (b"<html>log in</html>", "an HTML page instead of a list, as proxies and login pages give it"),
    "half a page": (b'{"items": [', "not a list as API servers give it: Input data was truncated"),
    "an object without a name": (
        b'{"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {}}]}',
        "not a list as API servers give it: Object missing required field `name` - at `$.metadata`",
    ),
    "an empty name": (
        b'{"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {"name": ""}}]}',
        "not a list as API servers give it: Expected `str` of length >= 1 - at `$.metadata.name`",
    ),
    "no version": (b'{"metadata": {}, "items": []}', "a list without resourceVersion"),
}


@pytest.mark.parametrize("name", NO_LIST)
def test_what_is_no_list_changes_nothing_and_is_asked_for_again(name: str) -> None:
    body, said = NO_LIST[name]
    driver = settled(streaming=False)
    known = dict(driver.objects)
    driver.say(line("ERROR", EXPIRED))
    driver.answer(200, body)
    assert (driver.objects, driver.machine.last_error) == (known, said)
    assert driver.machine.request().due > driver.now
    driver.settle()
    assert driver.machine.last_error == ""


def test_a_list_that_does_not_end_is_begun_anew() -> None:
    driver = Driver(Store(), reflector(streaming=False))
    body = json.dumps({"items": [], "metadata": {"resourceVersion": "1", "continue": "x"}}).encode()
    driver.answer(200, body)
    driver.answer(200, body)
    assert driver.machine.last_error == "a list that does not come to an end"
    assert "continue" not in driver.due().query


NO_EVENT = {
    "no JSON": b"HTTP/1.1 502 Bad Gateway\n",
    "no object": b'{"type": "ADDED"}\n',
    "no name": b'{"type": "ADDED", "object": {"metadata": {}}}\n',
    "a type nobody knows": b'{"type": "RENAMED", "object": {}}\n',
    "a bookmark without version": b'{"type": "BOOKMARK", "object": {"metadata": {}}}\n',
    "an error without status": b'{"type": "ERROR", "object": 3}\n',
    "an internal error": line("ERROR", status(500, "InternalError", "etcdserver: leader changed")),
    "a version that the server has not seen": line("ERROR", too_large(12, 9)),
}


@pytest.mark.parametrize("name", NO_EVENT)
def test_what_is_no_event_goes_on_from_the_same_version_and_at_last_lists_again(name: str) -> None:
    driver = settled()
    known = dict(driver.objects)
    for _ in range(2):
        driver.say(NO_EVENT[name])
        assert not driver.machine.wants_more
        assert driver.due().query["resourceVersion"] == "12"
        driver.machine.answered(200, None, driver.now)
    assert driver.machine.relists == 0
    driver.say(NO_EVENT[name])
    assert (driver.machine.relists, driver.objects) == (1, known)
    driver.settle()
    assert driver.versions == driver.store.state


def test_a_bookmark_moves_the_version() -> None:
    driver = settled()
    driver.say(bookmark(99))
    driver.fail()
    assert driver.due().query["resourceVersion"] == "99"
    assert len(driver.updates) == 1


def test_repeated_events_change_nothing() -> None:
    driver = settled()
    driver.store.put("c")
    driver.store.delete("a")
    said = b"".join(line(kind, item) for _, kind, item in driver.store.events[2:])
    driver.say(said)
    count = len(driver.updates)
    driver.say(said)
    assert (len(driver.updates), driver.machine.relists, driver.versions) == (count, 0, driver.store.state)


OLDER: dict[str, Callable[[Store], bytes]] = {
    "an object that was changed since": lambda store: line(*store.events[0][1:]),
    "an object that was deleted since": lambda store: line(*store.events[1][1:]),
    "a deletion before it was created again": lambda store: line("DELETED", store.events[1][2]),
}


@pytest.mark.parametrize("name", OLDER)
def test_events_older_than_what_is_known_are_not_applied_but_asked_about(name: str) -> None:
    driver = settled()
    driver.say(line("MODIFIED", driver.store.put("a")))
    driver.store.delete("b")
    driver.say(line("DELETED", driver.store.events[-1][2]))
    if "again" in name:
        driver.say(line("ADDED", driver.store.put("b")))
    known = driver.versions
    driver.say(OLDER[name](driver.store))
    assert (driver.versions, driver.machine.relists) == (known, 1)
    driver.settle()
    assert driver.versions == driver.store.state


@pytest.mark.parametrize("streaming", [True, False])
def test_a_server_that_went_back_in_time_is_listed_and_all_of_it_counts(streaming: bool) -> None:
    """Restored from a backup: versions are smaller, and the same version may mean another object."""
    driver = settled(streaming=streaming)
    restored = Store(version=10)
    restored.put("a", metadata={"labels": {"app": "restored"}})
    driver.store = restored
    driver.fail()
    for _ in range(10):
        driver.open()
        if driver.machine.connected and driver.machine.relists:
            break
    driver.settle()
    assert {item.name: item.labels for item in driver.objects.values()} == {"a": {"app": "restored"}}
    assert driver.machine.resource_version == str(restored.version)


def test_versions_that_are_no_numbers_are_taken_in_the_order_in_which_they_come() -> None:
    driver = settled()
    metadata = {"name": "a", "namespace": "shop", "resourceVersion": "abc"}
    driver.say(line("MODIFIED", {"metadata": metadata}))
    assert driver.versions["shop", "a"] == "abc"
    driver.fail()
    assert driver.due().query["resourceVersion"] == "abc"


# What is not there.

NOT_FOUND = status(404, "NotFound", "the server could not find the requested resource")


@pytest.mark.parametrize("body", [json.dumps(NOT_FOUND).encode(), b"404 page not found\n"])
def test_a_kind_that_is_not_there_is_complete_with_nothing_and_asked_for_every_half_minute(body: bytes) -> None:
    driver = Driver(Store(), reflector(optional=True))
    driver.answer(404, body)
    [update] = driver.updates
    assert (update.changes.put, update.changes.gone, driver.machine.complete) == ((), (), True)
    assert (driver.machine.absent, driver.machine.last_error) == (True, "")
    assert driver.machine.request().due == driver.now
    for _ in range(3):
        assert (driver.due().path, driver.due().query) == ("/apis/", {})
        driver.answer(404, body)
        assert driver.machine.request().due == driver.now + ABSENT_FOR
    assert len(driver.updates) == 1
    driver.store.put("a")
    driver.settle()
    assert driver.versions == driver.store.state


def test_a_group_that_is_served_without_the_kind_is_not_asked_about_in_a_loop() -> None:
    driver = Driver(Store(), reflector(optional=True))
    driver.answer(404, b"")
    driver.open()
    for _ in range(3):
        assert driver.due().path == "/api/v1/pods"
        driver.answer(404, b"")
        assert (driver.machine.absent, driver.machine.request().due) == (True, driver.now + ABSENT_FOR)
        driver.open()
    assert len(driver.updates) == 1


def test_a_kind_that_is_served_in_newer_versions_alone_is_said() -> None:
    """It would otherwise look as if the cluster had no such policies."""
    driver = Driver(Store(versions=("v3", "v2")), reflector(optional=True))
    driver.answer(404, b"")
    driver.open()
    assert driver.machine.absent
    assert driver.machine.last_error == (
        " is served in v3, v2 alone, which this version of gatewright does not know: its policies are not enforced"
    )
    assert driver.machine.request().due == driver.now + ABSENT_FOR
    driver.store.versions = ("v2", "v1")
    driver.settle()
    assert (driver.machine.absent, driver.machine.last_error) == (False, "")


NO_GROUP = {
    "rights": (403, json.dumps(status(403, "Forbidden", "forbidden")).encode(), "/api/v1/pods"),
    "busy": (429, json.dumps(status(429, "TooManyRequests", "too many")).encode(), "/apis/"),
    "HTML": (200, b"<html>", "/apis/"),
}


@pytest.mark.parametrize("name", NO_GROUP)
def test_who_is_not_told_the_versions_asks_again(name: str) -> None:
    code, body, then = NO_GROUP[name]
    driver = Driver(Store(), reflector(optional=True))
    driver.answer(404, b"")
    driver.answer(code, body)
    assert driver.due().path == then
    driver.settle()


def test_a_kind_whose_definition_is_deleted_loses_its_objects_once_that_is_certain() -> None:
    driver = settled(optional=True)
    driver.fail()
    begin = driver.now
    while not driver.machine.absent:
        assert keys(driver) == ["a", "b"]
        driver.refuse(NOT_FOUND)
    assert (keys(driver), driver.machine.complete) == ([], True)
    assert ABSENT_CONFIRMED <= driver.now - begin < 3 * ABSENT_CONFIRMED


def test_404_by_mistake_takes_nothing_away() -> None:
    driver = settled(optional=True)
    for _ in range(5):
        driver.fail()
        driver.refuse(NOT_FOUND)
        driver.refuse(NOT_FOUND)
        driver.settle()
        driver.now += ABSENT_CONFIRMED
    assert (keys(driver), driver.machine.absent, len(driver.updates)) == (["a", "b"], False, 1)


def test_a_kind_that_every_cluster_has_is_never_taken_for_missing() -> None:
    driver = settled()
    driver.fail()
    for _ in range(5):
        driver.refuse(NOT_FOUND)
    assert (keys(driver), driver.machine.absent) == (["a", "b"], False)
    assert driver.machine.last_error == "not a Kubernetes API: the server could not find the requested resource (404)"


# Refusals that pass.

REFUSALS = {
    "credentials": (status(401, "Unauthorized", "Unauthorized"), None, FIRST),
    "rights": (status(403, "Forbidden", 'pods is forbidden: User "u" cannot watch'), None, FIRST),
    "busy": (status(429, "TooManyRequests", "too many requests"), 4.0, 5.0),
    "busy in the body": (status(429, "TooManyRequests", "too many", retryAfterSeconds=4), None, 5.0),
    "starting": (status(503, "ServiceUnavailable", "apiserver not ready"), None, FIRST),
    "broken": (status(500, "InternalError", "panic"), None, FIRST),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_keeps_what_is_known_and_is_tried_again(name: str) -> None:
    given, asked, wait = REFUSALS[name]
    driver = settled()
    driver.now += STEADY
    driver.end()
    driver.refuse(given, asked)
    assert driver.machine.request().due - driver.now == pytest.approx(wait)
    assert (keys(driver), driver.machine.complete, driver.machine.connected) == (["a", "b"], True, False)
    assert driver.machine.last_error == f"{given['message']} ({given['code']})"
    driver.settle()
    assert (driver.machine.last_error, driver.machine.relists, len(driver.updates)) == ("", 0, 1)


def test_an_api_server_that_is_away_for_an_hour_is_not_listed_again() -> None:
    driver = settled()
    until = driver.now + 3600
    attempts = 0
    while driver.now < until:
        driver.fail()
        driver.due()
        attempts += 1
    assert attempts < 140
    driver.store.delete("a")
    driver.settle()
    assert (driver.versions, driver.machine.relists) == (driver.store.state, 0)


def test_a_watch_that_ends_as_asked_goes_on_at_once() -> None:
    driver = settled()
    driver.now += 300
    driver.end()
    assert (driver.machine.request().due, driver.machine.last_error) == (driver.now, "")
    assert driver.machine.reconnects == 1


def test_a_watch_that_always_ends_at_once_is_not_asked_for_in_a_loop() -> None:
    driver = settled()
    waits = []
    for _ in range(3):
        driver.end()
        waits.append(driver.machine.request().due - driver.now)
        driver.settle()
    assert waits == pytest.approx([FIRST, 2 * FIRST, 4 * FIRST])


def test_a_watch_that_stays_silent_goes_on_from_the_same_version_and_at_last_lists_again() -> None:
    """A proxy that keeps events back would otherwise leave the node behind without anybody knowing."""
    driver = settled()
    driver.store.put("c")
    for _ in range(2):
        driver.now += WATCH_PATIENCE
        driver.fail(silent=True)
        assert driver.due().query["resourceVersion"] == "12"
        driver.machine.answered(200, None, driver.now)
    driver.now += WATCH_PATIENCE
    driver.fail(silent=True)
    assert driver.machine.relists == 1
    driver.settle()
    assert driver.versions == driver.store.state


def test_a_bookmark_says_that_a_watch_is_not_silent() -> None:
    driver = settled()
    for _ in range(5):
        driver.say(bookmark(12))
        driver.now += WATCH_PATIENCE
        driver.fail(silent=True)
        driver.settle()
    assert driver.machine.relists == 0


def test_a_field_selector_is_in_every_question() -> None:
    machine = Reflector(Reader("", "Pod"), lambda: 0.5, optional=False, fields="status.phase!=Failed")
    assert machine.request().query["fieldSelector"] == "status.phase!=Failed"
    driver = Driver(Store(streams="refused"), machine)
    driver.open()
    assert driver.due().query["fieldSelector"] == "status.phase!=Failed"
    driver.settle()
    driver.fail()
    assert driver.due().query["fieldSelector"] == "status.phase!=Failed"


# What a real server said.

RECORDED = Path(__file__).parents[4] / "shared" / "apiserver" / "protocol.jsonl"


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded answers are not beside this checkout")
def test_the_pages_and_watches_of_a_real_server() -> None:
    exchanges = {}
    for one in map(json.loads, RECORDED.read_text().splitlines()):
        exchanges[one["command"]] = one
    driver = Driver(Store(), reflector())
    driver.answer(200, exchanges["streaming list: initial events, bookmark with annotation"]["answer"].encode())
    assert driver.machine.phase is Phase.LISTING
    for page in ("list, first page", "list, second page"):
        told = exchanges[page]
        assert ("continue=" in told["path"]) is ("continue" in driver.due().query)
        driver.answer(told["status"], told["answer"].encode(), cut=1000)
    refused = exchanges["list, bad continue token"]
    driver.answer(refused["status"], refused["answer"].encode())
    assert "continue" not in driver.due().query
    whole = exchanges["list at an exact resourceVersion"]
    driver.answer(200, whole["answer"].encode())
    assert (keys(driver), driver.machine.resource_version) == (["p0", "p1", "p2", "p3", "p4"], "312")
    watch = exchanges["watch from a resourceVersion"]
    assert driver.due().query["resourceVersion"] in watch["path"]
    driver.answer(200, watch["answer"].encode(), cut=777)
    assert keys(driver) == ["p0", "p1", "p2", "p3"]
    assert int(driver.machine.resource_version) > 312
    late = exchanges["watch as Table"]
    driver.answer(200, late["answer"].encode())
    assert (driver.machine.last_error, driver.machine.relists) == (
        "Timeout: Too large resource version: 327, current: 286 (504)",
        0,
    )
