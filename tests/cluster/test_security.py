"""Who may ask, from where, and what hostile requests get: a 4xx, and nothing changes."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.cluster.endpoint import Endpoint, endpoint

pytestmark = [pytest.mark.cluster]

CMS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize("path", ["/api", "/healthz", "/openapi/v3", CMS, f"{CMS}?watch=1", "/nowhere"])
@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer wrong", "Basic YTpi", "bearer \xff"])
def test_nothing_is_answered_without_the_token(api: Endpoint, path: str, authorization: str) -> None:
    answer = api.request("GET", path, Authorization=authorization)
    assert (answer.status, answer.json()["reason"]) == (401, "Unauthorized")


def test_a_write_without_the_token_changes_nothing(api: Endpoint) -> None:
    answer = api.request("POST", CMS, {"metadata": {"name": "intruder"}}, Authorization="Bearer wrong")
    assert answer.status == 401
    assert api.request("GET", f"{CMS}/intruder").status == 404


def test_it_listens_on_loopback_alone_and_speaks_tls_alone(api: Endpoint) -> None:
    port = urlsplit(api.url).port
    assert port
    listening = [
        line.split()[1]
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.sendall(f"GET {CMS} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {api.token}\r\n\r\n".encode())
        assert not plain.recv(100).startswith(b"HTTP")


def test_keys_state_and_kubeconfig_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with endpoint(folder) as api:
        api.request("POST", CMS, {"metadata": {"name": "a"}})
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    private = ("token", "kubeconfig", "server.key", "ca.key", "state.db", "state.db-wal", "lock")
    assert {name: oct(modes[name]) for name in private} == dict.fromkeys(private, "0o600")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


HOSTILE_NAMES = (
    *(
        "..",
        ".",
        "../../etc/passwd",
        "a/b",
        "%2e%2e",
        "a%2Fb",
        "a\0b",
        "a b",
        "A",
        "-a",
        "a" * 254,
        "é",
        "*",
        "a'b",
        'a"b',
    ),
    *("a;DROP TABLE objects", "${HOME}", "a\nb", "a\r\nX: y"),
)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_with_tricks_are_refused(api: Endpoint, name: str) -> None:
    before = api.request("GET", CMS).json()["metadata"]["resourceVersion"]
    assert api.request("POST", CMS, {"metadata": {"name": name}}).status == 422
    assert 400 <= api.request("PUT", f"{CMS}/{quote(name, safe='')}", {"metadata": {"name": name}}).status < 500
    assert 400 <= api.request("GET", f"{CMS}/{quote(name, safe='')}").status < 500
    assert 400 <= api.request("DELETE", f"{CMS}/{quote(name, safe='')}").status < 500
    assert api.request("GET", CMS).json()["metadata"]["resourceVersion"] == before


def _nested(levels: int, what: str) -> bytes:
    opened, closed = ("[", "]") if what == "list" else ('{"a":', "}")
    inner = "1" if what == "map" else ""
    return ('{"metadata":{"name":"a"},"data":' + opened * levels + inner + closed * levels + "}").encode()


HOSTILE_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\xff\xfe",
    "a number": b"1",
    "null": b"null",
    "a list": b"[]",
    "deep lists": _nested(100_000, "list"),
    "deep maps": _nested(100_000, "map"),
    "a little too deep": _nested(150, "map"),
    "NaN": b'{"metadata":{"name":"a"},"data":NaN}',
    "a huge number": b'{"metadata":{"name":"a","generation":' + b"9" * 10_000 + b"}}",
    "a huge exponent": b'{"metadata":{"name":"a","generation":1e999999}}',
    "data that is a list": b'{"metadata":{"name":"a"},"data":[1]}',
    "data of numbers": b'{"metadata":{"name":"a"},"data":{"a":1}}',
    "metadata that is a text": b'{"metadata":"a"}',
    "labels that are a list": b'{"metadata":{"name":"a","labels":["a"]}}',
    "a lone surrogate": b'{"metadata":{"name":"a"},"data":{"a":"\\ud800"}}',
    "another kind": b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}',
    "another version": b'{"kind":"ConfigMap","apiVersion":"v2","metadata":{"name":"a"}}',
    "another namespace": b'{"metadata":{"name":"a","namespace":"kube-system"}}',
    "a resourceVersion": b'{"metadata":{"name":"a","resourceVersion":"1"}}',
    "too large": b'{"metadata":{"name":"a"},"data":{"a":"' + b"x" * 3_200_000 + b'"}}',
    "too many annotations": b'{"metadata":{"name":"a","annotations":{"a":"' + b"x" * 300_000 + b'"}}}',
}


@pytest.mark.parametrize("case", HOSTILE_BODIES)
@pytest.mark.parametrize("content_type", ["application/json", "application/yaml"])
def test_hostile_bodies_are_refused(api: Endpoint, case: str, content_type: str) -> None:
    before = api.request("GET", CMS).json()["metadata"]["resourceVersion"]
    answer = api.request("POST", CMS, HOSTILE_BODIES[case], content_type)
    assert 400 <= answer.status < 500, answer.body[:300]
    assert answer.json()["kind"] == "Status"
    assert api.request("GET", CMS).json()["metadata"]["resourceVersion"] == before


DEEP: dict[str, Any] = {}
"""An object that fits into a parser's stack, and not into that of whoever walks it with less care."""
for _ in range(800):
    DEEP = {"a": DEEP}


STAIRS = [
    {"op": "add", "path": "/metadata/managedFields/0/fieldsV1" + "/a" * level, "value": {}} for level in range(900)
]
"""A patch that builds what is nested deeply, one level at a time, where any JSON may stand."""


@pytest.mark.parametrize(
    ("content_type", "patch"),
    [
        ("application/json-patch+json", [{"op": "copy", "from": "", "path": "/data/a"}]),
        ("application/json-patch+json", [{"op": "add", "path": "/data/-1", "value": 1}] * 10_001),
        ("application/json-patch+json", [{"op": "move", "from": "/data", "path": "/data/a"}]),
        ("application/json-patch+json", [{"op": "remove", "path": ""}]),
        ("application/json-patch+json", STAIRS),
        ("application/json-patch+json", [*STAIRS, {"op": "copy", "from": "/metadata", "path": "/copied"}]),
        ("application/json-patch+json", {"op": "add"}),
        ("application/json-patch+json", [1]),
        ("application/merge-patch+json", [1]),
        ("application/merge-patch+json", DEEP),
        ("application/strategic-merge-patch+json", DEEP),
        ("application/apply-patch+yaml", DEEP),
        ("application/merge-patch+json", {"metadata": {"name": "other"}}),
        ("application/merge-patch+json", {"metadata": {"namespace": "kube-system"}}),
        ("application/merge-patch+json", {"metadata": {"uid": "other"}}),
        ("application/merge-patch+json", {"metadata": None}),
        ("application/strategic-merge-patch+json", {"metadata": {"$patch": "explode"}}),
        ("application/strategic-merge-patch+json", {"metadata": {"ownerReferences": [{"name": "no key"}]}}),
        ("application/strategic-merge-patch+json", {"$retainKeys": 1}),
        ("application/apply-patch+yaml", {"metadata": {"name": "victim", "managedFields": [{"manager": "x"}]}}),
        ("application/apply-patch+yaml", {"metadata": {"name": "other"}}),
        ("application/apply-patch+yaml", []),
        ("text/plain", {}),
    ],
)
def test_hostile_patches_are_refused(api: Endpoint, content_type: str, patch: Any) -> None:
    path = f"{CMS}/victim"
    api.request("POST", CMS, {"metadata": {"name": "victim"}, "data": {"a": "b"}})
    before = api.request("GET", path).body
    query = "?fieldManager=m" if "apply" in content_type else ""
    answer = api.request("PATCH", path + query, patch, content_type)
    assert 400 <= answer.status < 500, answer.body
    assert api.request("GET", path).body == before


def test_repeated_copies_that_would_grow_without_bound_are_refused(api: Endpoint) -> None:
    api.request("POST", CMS, {"metadata": {"name": "grows"}, "data": {"a": "b" * 100}})
    doubling = [{"op": "copy", "from": "/data", "path": f"/data/x{number}"} for number in range(40)]
    answer = api.request("PATCH", f"{CMS}/grows", doubling, "application/json-patch+json")
    assert 400 <= answer.status < 500


@pytest.mark.parametrize(
    "query",
    [
        *("limit=-1", "limit=x", "limit=" + "9" * 30, "continue=%00", "continue=bad", "resourceVersion=-1"),
        *("resourceVersion=abc", "labelSelector=" + quote("a=b,," * 50), "labelSelector=%28", "fieldSelector=a"),
        *("fieldSelector=spec.nothing%3D1", "watch=maybe", "watch=1&timeoutSeconds=-5", "watch=1&resourceVersion=x"),
        *("resourceVersionMatch=Exact", "resourceVersion=1&resourceVersionMatch=Never", "labelSelector=" + "a" * 300),
        *("&".join(f"a{number}=1" for number in range(500)), "labelSelector=%ff"),
    ],
)
def test_hostile_queries_are_refused(api: Endpoint, query: str) -> None:
    answer = api.request("GET", f"{CMS}?{query}")
    assert 400 <= answer.status < 500, answer.body
    assert answer.json()["kind"] == "Status"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"{CMS}/a", 405),
        ("PUT", CMS, 405),
        ("PATCH", CMS, 405),
        ("DELETE", "/api/v1/configmaps", 405),
        ("POST", "/api/v1/configmaps", 405),
        ("TRACE", CMS, 405),
        ("POST", "/version", 405),
        ("GET", "/api/v1/namespaces/default/nothing", 404),
        ("GET", "/apis/none/v1", 404),
        ("GET", "/api/v2", 404),
        ("GET", f"{CMS}/a/b/c", 404),
        ("GET", f"{PODS}/a/nothing", 404),
        ("GET", "/api/v1/namespaces/default/nodes/a", 404),
        ("GET", "/openapi/v3/apis/none/v1", 404),
        ("GET", "/api/v1/namespaces//configmaps/a", 404),
        ("GET", "/api/v1/namespaces/%2e%2e/configmaps", 400),
        ("GET", "/api/v1/namespaces/a%2Fb/configmaps", 400),
        ("GET", "/api/v1/namespaces/a%00b/configmaps", 400),
    ],
)
def test_what_is_not_there_is_not_there(api: Endpoint, method: str, path: str, status: int) -> None:
    assert api.request(method, path, {} if method in ("POST", "PUT", "PATCH") else None).status == status


def test_header_tricks_are_refused_or_harmless(api: Endpoint) -> None:
    body = {"metadata": {"name": "warned"}, "colour\r\nX-Evil: 1": 1}
    answer = api.request("POST", CMS, body)
    assert answer.status == 201
    assert "x-evil" not in {name.lower() for name in answer.headers}
    assert json.loads(answer.body)["metadata"]["name"] == "warned"
