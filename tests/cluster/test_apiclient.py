"""The client of the lab's components against the endpoint: followed, written, seen at once, worked on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gatewright.lab.api.resources import BY_PLURAL, Resource
from gatewright.lab.apiclient.following import Change, Follower, Name
from gatewright.lab.apiclient.working import Cluster, Queue, run_controllers
from gatewright.lab.apiclient.writing import Refused, Writer
from gatewright.sources.kubeconfig import Where
from tests.cluster.endpoint import Endpoint, kubectl

pytestmark = pytest.mark.cluster
MAPS, PODS, EVENTS = BY_PLURAL["", "configmaps"], BY_PLURAL["", "pods"], BY_PLURAL["", "events"]
WITHIN = 20.0


def where(api: Endpoint) -> Where:
    return Where(str(api.kubeconfig))


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def followed(api: Endpoint, *resources: Resource, **fields: str) -> Iterator[tuple[Follower, list[Change]]]:
    heard: list[Change] = []
    follower = Follower(where(api), resources, heard.extend, fields=fields)
    follower.start()
    try:
        assert follower.wait(WITHIN)
        yield follower, heard
    finally:
        follower.stop()


def test_whole_objects_are_followed_as_they_change(api: Endpoint) -> None:
    with followed(api, MAPS) as (follower, heard):
        kubectl(api.kubeconfig, "create", "configmap", "seen", "--from-literal=a=1")
        until(lambda: follower.get(MAPS, "default", "seen") is not None)
        kubectl(api.kubeconfig, "patch", "configmap", "seen", "-p", '{"data":{"a":"2"}}')
        until(lambda: (follower.get(MAPS, "default", "seen") or {})["data"] == {"a": "2"})
        kubectl(api.kubeconfig, "delete", "configmap", "seen")
        until(lambda: follower.get(MAPS, "default", "seen") is None)
        about = [one for one in heard if one.name == ("default", "seen")]
        assert [(one.before is None, one.after is None) for one in about] == [
            (True, False),
            (False, False),
            (False, True),
        ]
        assert about[0].tree["kind"] == "ConfigMap"


def test_a_field_selector_limits_what_is_followed(api: Endpoint) -> None:
    with followed(api, MAPS, ConfigMap="metadata.name=one") as (follower, _):
        with_writer = Writer(where(api))
        for name in ("one", "two"):
            with_writer.create(MAPS, "default", config_map(name))
        until(lambda: follower.get(MAPS, "default", "one") is not None)
        assert [one["metadata"]["name"] for one in follower.all(MAPS)] == ["one"]
        for name in ("one", "two"):
            with_writer.delete(MAPS, "default", name)


def test_what_is_written_is_seen_at_once_and_told_once(api: Endpoint) -> None:
    with followed(api, MAPS) as (follower, heard):
        writer = Writer(where(api), follower)
        for number in range(20):
            name = f"mine-{number}"
            made = writer.create(MAPS, "default", config_map(name, n="0"))
            assert follower.get(MAPS, "default", name) == made
            writer.patch(MAPS, "default", name, {"data": {"n": "1"}})
            assert (follower.get(MAPS, "default", name) or {})["data"] == {"n": "1"}
            writer.delete(MAPS, "default", name, uid=made["metadata"]["uid"])
            assert follower.get(MAPS, "default", name) is None
        writer.create(MAPS, "default", config_map("last"))
        until(lambda: any(one.name[1] == "last" for one in heard))
        time.sleep(0.3)
        assert [one["metadata"]["name"] for one in follower.all(MAPS, "default")] == ["last"]
        writer.delete(MAPS, "default", "last")


def test_an_older_version_never_replaces_a_newer_one(api: Endpoint) -> None:
    with followed(api, MAPS) as (follower, _):
        writer = Writer(where(api), follower)
        old = writer.create(MAPS, "default", config_map("aged", n="0"))
        new = writer.patch(MAPS, "default", "aged", {"data": {"n": "1"}})
        follower.put(MAPS, old)
        assert follower.get(MAPS, "default", "aged") == new
        writer.delete(MAPS, "default", "aged")


def test_an_answer_that_comes_after_the_end_brings_nothing_back(api: Endpoint) -> None:
    with followed(api, MAPS) as (follower, _):
        writer = Writer(where(api))
        made = writer.create(MAPS, "default", config_map("brief"))
        until(lambda: follower.get(MAPS, "default", "brief") is not None)
        last = writer.patch(MAPS, "default", "brief", {"data": {"n": "1"}})
        writer.delete(MAPS, "default", "brief")
        until(lambda: follower.get(MAPS, "default", "brief") is None)
        for late in (made, last):
            follower.put(MAPS, late)
        assert follower.get(MAPS, "default", "brief") is None
        again = writer.create(MAPS, "default", config_map("brief"))
        follower.put(MAPS, again)
        assert follower.get(MAPS, "default", "brief") == again
        writer.delete(MAPS, "default", "brief")


def test_a_refusal_says_its_reason(api: Endpoint) -> None:
    writer = Writer(where(api))
    made = writer.create(MAPS, "default", config_map("twice"))
    with pytest.raises(Refused) as twice:
        writer.create(MAPS, "default", config_map("twice"))
    assert twice.value.reason == "AlreadyExists"
    writer.patch(MAPS, "default", "twice", {"data": {"n": "1"}})
    with pytest.raises(Refused) as stale:
        writer.update(MAPS, made)
    assert stale.value.reason == "Conflict"
    with pytest.raises(Refused) as other:
        writer.delete(MAPS, "default", "twice", uid="another")
    assert other.value.reason == "Conflict"
    writer.delete(MAPS, "default", "twice")
    with pytest.raises(Refused) as gone:
        writer.get(MAPS, "default", "twice")
    assert gone.value.reason == "NotFound"


@dataclass
class Copies:
    """A controller: of every ConfigMap named `x` there is to be a copy named `x-copy`."""

    failing: int = 0
    name: str = "copies"
    resources: tuple[Resource, ...] = (MAPS,)
    looked: list[Name] = field(default_factory=list)

    def keys(self, change: Change) -> Iterable[Name]:
        namespace, name = change.name
        if name.startswith("source-"):
            yield namespace, name.removesuffix("-copy")

    def reconcile(self, cluster: Cluster, key: Name) -> float | None:
        self.looked.append(key)
        namespace, name = key
        source = cluster.follower.get(MAPS, namespace, name)
        copy = cluster.follower.get(MAPS, namespace, f"{name}-copy")
        if self.failing and source:
            self.failing -= 1
            cluster.writer.get(MAPS, namespace, "never-there")
        if source and not copy:
            cluster.event(source, "Normal", "Copied", "made a copy")
            cluster.event(source, "Normal", "Copied", "made a copy")
            cluster.writer.create(MAPS, namespace, config_map(f"{name}-copy"))
        if copy and not source:
            cluster.writer.delete(MAPS, namespace, f"{name}-copy")
        return None


@contextmanager
def working(api: Endpoint, controller: Copies) -> Iterator[None]:
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=run_controllers, args=(where(api), [controller], stop, ready.set, "copier"))
    thread.start()
    try:
        assert ready.wait(WITHIN)
        yield
    finally:
        stop.set()
        thread.join(WITHIN)
    assert not thread.is_alive()


def test_a_controller_makes_it_so_and_repairs_it(api: Endpoint) -> None:
    writer = Writer(where(api))

    def there() -> bool:
        return any(one["metadata"]["name"] == "source-a-copy" for one in writer.list(MAPS, "default"))

    with working(api, Copies(failing=2)):
        writer.create(MAPS, "default", config_map("source-a"))
        until(there)
        writer.delete(MAPS, "default", "source-a-copy")
        until(there)
        writer.delete(MAPS, "default", "source-a")
        until(lambda: not there())
    events = writer.list(EVENTS, "default", fieldSelector="involvedObject.name=source-a")
    assert {(one["reason"], one["count"], one["source"]["component"]) for one in events} == {("Copied", 4, "copier")}


def test_what_changed_while_nobody_worked_is_looked_at_afterwards(api: Endpoint) -> None:
    writer = Writer(where(api))
    writer.create(MAPS, "default", config_map("source-b"))
    controller = Copies()
    with working(api, controller):
        until(lambda: ("default", "source-b") in controller.looked)
        until(lambda: any(one["metadata"]["name"] == "source-b-copy" for one in writer.list(MAPS, "default")))
    for name in ("source-b", "source-b-copy"):
        writer.delete(MAPS, "default", name)


def test_the_endpoint_may_be_killed_and_come_back(tmp_path: Path) -> None:
    from tests.cluster.endpoint import process

    with process(tmp_path) as first:
        port = int(first.url.rsplit(":", 1)[1])
        controller = Copies()
        with working(first, controller):
            assert first.process is not None
            first.process.kill()
            first.process.wait()
            with process(tmp_path, port=port) as second:
                Writer(where(second)).create(MAPS, "default", config_map("source-c"))
                until(lambda: any("copy" in one["metadata"]["name"] for one in Writer(where(second)).list(MAPS)))


def test_a_queue_holds_nothing_twice_and_the_earlier_time_counts() -> None:
    queue = Queue()
    now = time.monotonic()
    late, soon = (0, ("", "late")), (0, ("", "soon"))
    queue.add([late], now + 60)
    queue.add([soon], now + 0.05)
    queue.add([soon], now + 60)
    assert queue.take(0) is None
    assert queue.take(5) == soon
    assert queue.take(0.05) is None
    queue.add([late, late], now)
    assert queue.take(0) == late
    assert queue.take(0) is None
