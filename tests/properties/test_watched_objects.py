"""No object stops a node: whatever stands in it, it is read, or said to be unreadable, and the engine takes the rest.

Anybody who may write a pod or a policy writes what every node reads, so one that raised an error would stop them all.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.objects.kinds import POLICY_GROUP
from gatewright.objects.watched import Item, NotAnEvent, Reader

Json = dict[str, Any]
LABELS = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
PEERS = [
    {"podSelector": LABELS, "namespaceSelector": {}},
    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
]
PORTS = [{"protocol": "TCP", "port": 80, "endPort": 90}, {"port": "http"}]
METADATA = {
    "name": "web",
    "namespace": "shop",
    "resourceVersion": "5",
    "labels": {"app": "web"},
    "creationTimestamp": "x",
}
KINDS: dict[str, tuple[str, Json]] = {
    "Pod": ("", {
        "spec": {"nodeName": "n", "hostNetwork": False, "containers": [
            {"image": "i", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]}],
            "initContainers": [{"image": "i", "restartPolicy": "Always", "ports": [{"containerPort": 81}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "hostIP": "192.0.2.1",
                   "hostIPs": [{"ip": "192.0.2.1"}]},
    }),
    "Node": ("", {"spec": {"podCIDRs": ["10.0.0.0/24"]}, "status": {"addresses": [{"address": "192.0.2.1"}]}}),
    "Namespace": ("", {}),
    "NetworkPolicy": ("networking.k8s.io", {"spec": {
        "podSelector": LABELS, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": PEERS, "ports": PORTS}], "egress": [{"to": PEERS, "ports": PORTS}],
    }}),
    "ClusterNetworkPolicy": (POLICY_GROUP, {"spec": {
        "tier": "Admin", "priority": 1, "subject": {"pods": {"namespaceSelector": {}, "podSelector": LABELS}},
        "ingress": [{"action": "Deny", "name": "r", "from": [{"namespaces": LABELS}],
                     "protocols": [{"tcp": {"destinationPort": {"range": {"start": 1, "end": 9}}}}]}],
        "egress": [{"action": "Accept", "to": [{"networks": ["10.0.0.0/8"]}, {"nodes": {}}, {"domainNames": ["a.b"]}]}],
    }}),
    "AdminNetworkPolicy": (POLICY_GROUP, {"spec": {
        "priority": 1, "subject": {"namespaces": LABELS},
        "ingress": [{"action": "Allow", "from": [{"pods": {"namespaceSelector": {}, "podSelector": LABELS}}],
                     "ports": [{"portNumber": {"protocol": "UDP", "port": 53}}, {"namedPort": "http"}]}],
    }}),
}  # fmt: skip
ODD = ("10.0.0.999", "::ffff:1.2.3.4", "10.0.0.0/99", "fe80::1%eth0", "SCTP", "Pass", "\ud800", "a/b/c", "0")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(ODD),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a tree."""
    yield path
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield from places(value, (*path, key))


def changed(tree: Json, path: tuple[Any, ...], value: Any, how: str) -> Any:
    """The tree with something else at a place, or without it, or with one more field there."""
    tree = copy.deepcopy(tree)
    if not path:
        return value
    holder = tree
    for step in path[:-1]:
        holder = holder[step]
    if how == "drop":
        del holder[path[-1]]
    elif how == "add" and isinstance(holder, dict):
        holder["newer"] = value
    else:
        holder[path[-1]] = value
    return tree


def ascii_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_an_object_with_anything_in_it(kind: str, data: st.DataObject) -> None:
    group, fields = KINDS[kind]
    tree: Any = {"metadata": METADATA, **fields}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(tree))))
        tree = changed(tree, path, data.draw(ANYTHING), data.draw(st.sampled_from(["put", "put", "drop", "add"])))
        if not isinstance(tree, dict):
            break
    reader = Reader(group, kind)
    line = ascii_json({"type": "ADDED", "object": tree})
    try:
        item = reader.event(line).item
    except NotAnEvent:
        return
    assert item is not None
    check(item, reader, tree)


def check(item: Item, reader: Reader, tree: Json) -> None:
    """It has an object or says why not; the engine takes what there is; a page reads the same."""
    assert item.object is not None or item.problems
    found = item.object or item.closed
    if found is not None:
        assert found.key == item.key
        following = Snapshot.of([]).step(Changes((found,)))
        compile_snapshot(following.snapshot)
    page = reader.page(ascii_json({"metadata": {"resourceVersion": "1"}, "items": [tree]}))
    assert page.items == [item]
