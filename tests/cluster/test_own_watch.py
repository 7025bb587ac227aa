"""Our own watching client against the lab's endpoint: the same objects at both ends, whatever happens between."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gatewright.objects.meta import Key, Object
from gatewright.sources.kubeconfig import Where
from gatewright.sources.watch import NODE_KINDS, ClusterWatch, Delivery
from tests.cluster.endpoint import Endpoint, endpoint, process

pytestmark = [pytest.mark.cluster]

PODS = "/api/v1/namespaces/default/pods"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
MERGE = "application/merge-patch+json"
WAIT = 30.0


@dataclass
class Known:
    """What the deliveries come to."""

    objects: dict[Key, Object] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def deliver(self, delivery: Delivery) -> None:
        with self.changed:
            for key in delivery.changes.gone:
                self.objects.pop(key, None)
            self.objects.update({item.key: item for item in delivery.changes.put})
            if delivery.complete:
                self.complete.add(delivery.kind)
            self.changed.notify_all()

    def revisions(self, kind: str) -> dict[str, str]:
        return {key[2]: item.metadata.resource_version for key, item in self.objects.items() if key[0] == kind}

    def agrees(self, api: Endpoint) -> bool:
        """Whether the pods and policies are those of the API, at the same revisions, within some seconds."""
        wanted = {}
        for kind, path in (("Pod", PODS), ("NetworkPolicy", POLICIES)):
            items = api.request("GET", path).json()["items"]
            wanted[kind] = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}
        with self.changed:
            return self.changed.wait_for(
                lambda: all(self.revisions(kind) == names for kind, names in wanted.items()), WAIT
            )


def change_at_random(api: Endpoint, chance: random.Random, count: int) -> None:
    """Make, change and delete pods and policies."""
    for _ in range(count):
        path = chance.choice((PODS, POLICIES))
        name = f"x{chance.randrange(8)}"
        spec = {"containers": [{"name": "c", "image": "i"}]} if path == PODS else {}
        action = chance.random()
        if action < 0.3:
            api.request("DELETE", f"{path}/{name}")
        elif api.request("POST", path, {"metadata": {"name": name}, "spec": spec}).status == 409:
            api.request("PATCH", f"{path}/{name}", {"metadata": {"labels": {"n": str(chance.random())}}}, MERGE)


@pytest.mark.parametrize("streaming", [True, False])
def test_the_watch_follows_random_changes(tmp_path: Path, streaming: bool) -> None:
    with endpoint(tmp_path) as api:
        known = Known()
        watch = ClusterWatch(Where(str(api.kubeconfig)), NODE_KINDS, known.deliver, streaming=streaming)
        watch.start()
        try:
            change_at_random(api, random.Random(1), 80)
            assert known.agrees(api)
            assert known.complete == {kind for _, kind in NODE_KINDS}
            assert [status.last_error for status in watch.status()] == [""] * len(NODE_KINDS)
        finally:
            watch.stop()


def test_the_watch_survives_kills_of_the_endpoint(tmp_path: Path) -> None:
    with process(tmp_path) as api:
        port = urlsplit(api.url).port
        assert port
        change_at_random(api, random.Random(2), 10)
    known = Known()
    watch = ClusterWatch(Where(str(tmp_path / "kubeconfig")), NODE_KINDS, known.deliver)
    watch.start()
    try:
        for seed in range(3):
            with process(tmp_path, port) as api:
                change_at_random(api, random.Random(seed), 20)
                assert known.agrees(api)
        pods = next(status for status in watch.status() if status.kind == "Pod")
        assert pods.reconnects >= 2
    finally:
        watch.stop()


def test_a_watch_that_was_away_too_long_lists_again(tmp_path: Path) -> None:
    data, known = tmp_path / "data", Known()
    with endpoint(data, window=20) as api:
        port = urlsplit(api.url).port
        assert port
        change_at_random(api, random.Random(3), 10)
        watch = ClusterWatch(Where(str(api.kubeconfig)), NODE_KINDS, known.deliver)
        watch.start()
        assert known.agrees(api)
    try:
        with endpoint(data, window=20, kubeconfig=tmp_path / "elsewhere") as api:
            change_at_random(api, random.Random(4), 60)
        with endpoint(data, window=20, port=port) as api:
            assert known.agrees(api)
        pods = next(status for status in watch.status() if status.kind == "Pod")
        assert pods.relists >= 1
    finally:
        watch.stop()
