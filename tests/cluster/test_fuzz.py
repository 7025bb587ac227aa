"""Random requests: whatever comes, the endpoint answers with a Status and no internal error, and stays whole.

Requests go to the ASGI application itself, so that thousands of them take seconds. Answers of 501 and 504 are words of
the API (not implemented, a revision from the future) and no faults.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.protobuf import from_protobuf
from gatewright.kubeapi.types import type_table
from gatewright.lab.api.app import App
from gatewright.lab.api.caretaker import found_cluster
from gatewright.lab.api.http import HTTP
from gatewright.lab.api.journal import Journal
from gatewright.lab.api.resources import RESOURCES
from gatewright.lab.api.store import Store
from gatewright.lab.api.verbs import PATCHES, Verbs

pytestmark = [pytest.mark.cluster]

T = TypeVar("T")
RELAXED = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Bare:
    """The application without a server."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = self.run(self._start(folder))

    async def _start(self, folder: Path) -> Store:
        store = Store(Journal(folder))
        verbs = Verbs(store, type_table())
        await found_cluster(verbs)
        self.http = HTTP(App(verbs), "t")
        return store

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        content_type: str = "application/json",
        **more: str,
    ) -> tuple[int, bytes]:
        """(status, body) of a request."""
        headers = {"authorization": "Bearer t", "content-type": content_type, **more}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"),
            "query_string": query.encode("utf-8", "surrogatepass"),
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()],
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if sent:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        self.run(self.http(scope, receive, send))
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    made = Bare(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.run(made.store.close())
    made.loop.close()


def check(status: int, body: bytes) -> None:
    assert status < 500 or status in (501, 504), body
    if status >= 400 and body and not body.startswith(b"404"):
        assert json.loads(body)["kind"] == "Status"


NAMES = st.one_of(
    st.sampled_from(("a", "b", "default", "kube-system", "x-1", "..", "", "%2F", "A")), st.text(max_size=8)
)
COLLECTIONS = st.sampled_from([
    f"{one.prefix}/namespaces/default/{one.plural}" if one.namespaced else f"{one.prefix}/{one.plural}"
    for one in RESOURCES
])  # fmt: skip
METHODS = st.sampled_from(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
VALUES = st.one_of(
    st.sampled_from(("1", "0", "true", "a=b", "All", "Strict", "m", "Exact", "Orphan", "-1")), st.text(max_size=12)
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector"),
                *(
                    "dryRun",
                    "fieldManager",
                    "fieldValidation",
                    "force",
                    "gracePeriodSeconds",
                    "propagationPolicy",
                    "hash",
                ),
                *("sendInitialEvents", "allowWatchBookmarks", "includeObject", "pretty"),
            )
        ),
        VALUES,
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**70), st.floats(allow_nan=False), st.text(max_size=6)),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.text(max_size=6), below, max_size=3)),
    max_leaves=12,
)
FIELDS = (
    "metadata",
    "spec",
    "status",
    "name",
    "labels",
    "template",
    "containers",
    "ports",
    "selector",
    "ingress",
    "from",
)
SHAPED = st.recursive(
    JSON,
    lambda below: st.one_of(
        st.dictionaries(st.sampled_from((*FIELDS, "$patch", "kind", "apiVersion", "finalizers")), below, max_size=4),
        st.lists(below, max_size=3),
    ),
    max_leaves=20,
)
BODIES = st.one_of(st.binary(max_size=40), SHAPED.map(lambda tree: json.dumps(tree).encode()))
TYPES = st.sampled_from(("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "", *PATCHES))
ACCEPTS = st.sampled_from((
    *("application/json", "*/*", "", "text/html", "application/json;as=Table;v=v1;g=meta.k8s.io"),
    *("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf"),
    ";;,,=;",
))  # fmt: skip


@RELAXED
@given(METHODS, st.lists(NAMES, max_size=6), QUERIES, BODIES, TYPES, ACCEPTS)
def test_random_paths(bare: Bare, method: str, parts: list[str], query: str, body: bytes, of: str, accept: str) -> None:
    check(*bare.ask(method, "/" + "/".join(parts), query, body, of, accept=accept))


HEADERS = st.tuples(TYPES, ACCEPTS)


@RELAXED
@given(METHODS, COLLECTIONS, st.lists(NAMES, max_size=2), QUERIES, BODIES, HEADERS)
def test_random_requests_for_resources(
    bare: Bare, method: str, path: str, more: list[str], query: str, body: bytes, headers: tuple[str, str]
) -> None:
    check(*bare.ask(method, "/".join([path, *more]), query, body, headers[0], accept=headers[1]))


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    one.kind: (f"{one.prefix}/namespaces/default/{one.plural}" if one.namespaced else f"{one.prefix}/{one.plural}", {})
    for one in RESOURCES
}
CONTAINER = {"name": "c", "image": "i", "ports": [{"containerPort": 80}]}
TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
SPECS: dict[str, dict[str, Any]] = {
    "Pod": TEMPLATE["spec"],
    "Deployment": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE},
    "Service": {"selector": {"a": "b"}, "ports": [{"port": 80, "name": "x"}]},
    "NetworkPolicy": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]},
    "ClusterNetworkPolicy": {
        "tier": "Admin",
        "priority": 1,
        "subject": {"namespaces": {}},
        "ingress": [{"action": "Accept", "from": [{"namespaces": {}}]}],
    },
    "CronJob": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}},
    "Ingress": {"rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix"}]}}]},
    "StatefulSet": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE},
    "Lease": {"holderIdentity": "x"},
}


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, below in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from _places(below, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """(kind, object) with one or two values replaced by something else."""
    kind = draw(st.sampled_from(sorted(SPECS)))
    tree: Any = {"metadata": {"name": "fuzzed", "labels": {"a": "b"}}, "spec": json.loads(json.dumps(SPECS[kind]))}
    for _ in range(draw(st.integers(0, 2))):
        *above, last = draw(st.sampled_from([path for path in _places(tree) if path]))
        holder = tree
        for step in above:
            holder = holder[step]
        holder[last] = draw(JSON)
    return kind, tree


@RELAXED
@given(mutated(), mutated(), st.sampled_from(PATCHES))
def test_objects_with_wrong_values(bare: Bare, first: tuple[str, Any], second: tuple[str, Any], how: str) -> None:
    """Made, patched by another one, read in every form, deleted."""
    kind, tree = first
    path = KINDS[kind][0]
    check(*bare.ask("POST", path, "", json.dumps(tree).encode()))
    patch: Any = second[1]
    if how == "application/json-patch+json":
        patch = [{"op": "replace", "path": "/spec", "value": second[1].get("spec")}]
    check(*bare.ask("PATCH", f"{path}/fuzzed", "fieldManager=m", json.dumps(patch).encode(), how))
    check(*bare.ask("PATCH", f"{path}/fuzzed", "fieldManager=m", json.dumps(tree).encode(), PATCHES[3]))
    check(*bare.ask("GET", path, "", accept="application/json;as=Table;v=v1;g=meta.k8s.io"))
    check(*bare.ask("GET", f"{path}/fuzzed/scale"))
    check(*bare.ask("DELETE", f"{path}/fuzzed", "gracePeriodSeconds=0"))


@given(st.binary(max_size=80), st.sampled_from(("Pod", "ConfigMap", "Namespace", "Deployment", "Event")))
def test_random_protobuf_is_read_or_refused(data: bytes, kind: str) -> None:
    version = {"Deployment": b"apps/v1"}.get(kind, b"v1")
    about = b"\x0a" + bytes([len(version)]) + version + b"\x12" + bytes([len(kind)]) + kind.encode()
    body = b"k8s\0\x0a" + bytes([len(about)]) + about + b"\x12" + bytes([len(data)]) + data
    try:
        tree = from_protobuf(body, type_table())
    except Failure:
        return
    assert tree["kind"] == kind
    json.dumps(tree)
