"""What a real API server said, asked of the lab's endpoint again: every exchange, answer by answer.

Compared are the code and the whole body, without what differs by chance: uids, times, revisions, addresses. What
differs on purpose stands in `DIFFERENT`, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.endpoint import Endpoint, endpoint

RECORDED = Path(__file__).parents[2].parent / "shared" / "apiserver"
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="no ../shared/apiserver here"),
]

PATHS = {
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
    "ClusterNetworkPolicy": "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
    "Pod": "/api/v1/namespaces/default/pods",
    "Service": "/api/v1/namespaces/default/services",
    "Namespace": "/api/v1/namespaces",
}
LISTED = "the real one served more kinds, and had objects of other components"
ORDER = "the real one began this watch in no order; here it is by name"
DIFFERENT = {
    "list, bad continue token": "words of the decoder",
    "list at a future resourceVersion": "the newest revision stands in the message",
    "watch with a label selector: objects leaving it arrive as DELETED": ORDER,
    "streaming list: initial events, bookmark with annotation": "the real one's storage was too old for it",
    "watch from a very old resourceVersion": LISTED,
    "watch from 0": ORDER,
    "watch as Table": "the real one said that its cache lagged behind",
    "namespaces as Table": "ages",
    "pods as Table": "ages",
    "services as Table": LISTED,
    "bad JSON": "words of the decoder",
    "annotations too large": "the recording's body is cut",
    "body too large": "the recording's body is cut",
    "JSON patch, test fails": "the reason is added to the message",
    "JSON patch, path missing": "the reason is added to the message",
    "create in a terminating namespace": "no controller emptied the namespace of the real one",
    "aggregated discovery": LISTED,
    "aggregated discovery, core": LISTED,
    "resource list": LISTED,
    "version": "another program",
    "OpenAPI v3 index": LISTED,
    "root paths": LISTED,
}


def _lines(name: str) -> Iterator[dict[str, Any]]:
    with (RECORDED / name).open() as file:
        yield from (json.loads(line) for line in file)


def _validation() -> list[dict[str, Any]]:
    return list(_lines("validation.jsonl")) if RECORDED.is_dir() else []


@pytest.mark.parametrize("case", _validation(), ids=lambda case: f"{case['kind']} {case['case']}")
def test_validation(api: Endpoint, case: dict[str, Any]) -> None:
    path = f"{PATHS[case['kind']]}?dryRun=All&fieldValidation=Strict"
    answer = api.request("POST", path, case["object"].encode(), "application/yaml")
    body = answer.json()
    assert answer.status == case["code"], body
    if answer.status >= 400:
        said = (body["reason"], body["message"], body.get("details", {}).get("causes", []))
        assert said == (case["reason"], case["message"], case["causes"])
    elif "defaulted" in case:
        assert body["spec"] == case["defaulted"]


def _owner(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(entry.get(field, "") for field in ("operation", "manager", "subresource"))


def _scrubbed(value: Any) -> Any:
    if isinstance(value, dict):
        left = {key: below for key, below in value.items() if key not in ("time", "description", "resourceVersion")}
        if "managedFields" in left:  # by time, which the replay does not have, and then by name
            left["managedFields"] = sorted(left["managedFields"], key=_owner)
        return {key: "..." if key == "continue" else _scrubbed(below) for key, below in left.items()}
    if isinstance(value, list):
        return [_scrubbed(below) for below in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"\n@@.*\n", "", value, flags=re.S)  # a difference of Go structs, which only the real one adds
    value = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID", value)
    value = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", value)
    return re.sub(r"\bg-[a-z0-9]{5}\b", "g-xxxxx", re.sub(r"10\.96\.\d+\.\d+", "ADDRESS", value))


def _read(text: str) -> Any:
    """A body, or the lines of a watch."""
    try:
        if text.startswith('{"type"'):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text)
    except ValueError:
        return text


class _Replay:
    """Asks recorded requests, with the uids, revisions and tokens that this endpoint gave for the recorded ones."""

    def __init__(self, api: Endpoint, agent: str = "") -> None:
        self.api = api
        self.agent = agent
        self.names: dict[str, str] = {}
        self.revisions: dict[str, str] = {}

    def ask(self, exchange: dict[str, Any]) -> tuple[int, Any]:
        path, body = exchange["path"], exchange["body"]
        for old, new in self.names.items():
            path, body = path.replace(old, new), body.replace(old, new)
        path = re.sub(r"(?<=resourceVersion=)\d+", lambda match: self.revisions.get(match[0], match[0]), path)
        body = re.sub(
            r'("resourceVersion": ?")(\d+)', lambda match: match[1] + self.revisions.get(match[2], match[2]), body
        )
        headers = {"User-Agent": self.agent, **exchange["request"]}
        content_type = headers.pop("Content-Type", "application/json")
        answer = self.api.request(exchange["method"], path, body.encode() or None, content_type, **headers)
        got = _read(answer.body.decode())
        self._learn(_read(exchange["answer"]), got)
        return answer.status, got

    def _learn(self, recorded: Any, got: Any) -> None:
        if not (isinstance(recorded, dict) and isinstance(got, dict)):
            return
        old, new = recorded.get("metadata") or {}, got.get("metadata") or {}
        for field in ("uid", "continue"):
            if old.get(field) and new.get(field):
                self.names[old[field]] = new[field]
        if old.get("resourceVersion") and new.get("resourceVersion"):
            self.revisions[old["resourceVersion"]] = new["resourceVersion"]


def test_protocol(tmp_path: Path) -> None:
    wrong = []
    with endpoint(tmp_path) as api:
        replay = _Replay(api)
        for exchange in _lines("protocol.jsonl"):
            status, got = replay.ask(exchange)
            if exchange["command"] in DIFFERENT:
                continue
            wanted = _scrubbed(_read(exchange["answer"]))
            if (status, _scrubbed(got)) != (exchange["status"], wanted):
                wrong.append((exchange["command"], exchange["status"], wanted, status, _scrubbed(got)))
    assert wrong == []


UNLIKE = {
    "kubectl auth can-i create networkpolicies": LISTED,
    "kubectl delete ns shop --wait=false": "a request in protobuf made it, which the recording holds in part",
}


def _comparable(exchange: dict[str, Any]) -> bool:
    """Whether an exchange is about what both servers have: not documents, lists of the recorded cluster, protobuf."""
    path, headers = exchange["path"], exchange["request"]
    about = path.startswith(("/openapi", "/api?", "/apis?")) or "watch=true" in path or "limit=" in path
    forms = f"{headers.get('Content-Type')} {headers['Accept']}"
    return not about and exchange["status"] != 304 and "protobuf" not in forms


def test_what_kubectl_asks(tmp_path: Path) -> None:
    wrong, asked = [], 0
    with endpoint(tmp_path) as api:
        replay = _Replay(api, "kubectl/v1.37.0")
        for exchange in _lines("kubectl.jsonl"):
            exchange["request"] = {"Accept": "", **{k: v for k, v in exchange["request"].items() if v}}
            if not _comparable(exchange):
                continue
            status, got = replay.ask(exchange)
            if exchange["command"] in UNLIKE:
                continue
            asked += 1
            wanted = _scrubbed(_read(exchange["answer"]))
            if (status, _scrubbed(got)) != (exchange["status"], wanted):
                wrong.append((exchange["command"], exchange["status"], wanted, status, _scrubbed(got)))
    assert wrong == []
    assert asked > 40
