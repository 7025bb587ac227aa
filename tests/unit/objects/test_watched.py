"""What a node keeps of an object, and what stands for one that it cannot read: never more than was written allows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import verdict
from gatewright.kubeapi.held import Held
from gatewright.objects import slim
from gatewright.objects.api import NotAList, read_page
from gatewright.objects.cluster_policy import ClusterNetworkPolicy
from gatewright.objects.core import Node, Pod
from gatewright.objects.kinds import KINDS, POLICY_GROUP
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy
from gatewright.objects.watched import Event, Item, NotAnEvent, Reader

Json = dict[str, Any]
NETWORK_POLICY = ("networking.k8s.io", "NetworkPolicy")
CLUSTER_POLICY = (POLICY_GROUP, "ClusterNetworkPolicy")

POD: Json = {
    "metadata": {
        "name": "web-1", "namespace": "shop", "uid": "u", "resourceVersion": "7", "labels": {"app": "web"},
        "annotations": {"a": "b"}, "managedFields": [{"manager": "m"}], "creationTimestamp": "2026-11-26T10:00:00Z",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "x"}],
    },
    "spec": {
        "nodeName": "n1", "volumes": [{"name": "v"}], "newField": {"x": 1},
        "containers": [
            {"name": "c", "image": "i", "command": ["sh"], "env": [{"name": "A", "value": "b"}],
             "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]},
            {"name": "quiet", "image": "i"},
        ],
        "initContainers": [
            {"name": "once", "image": "i", "ports": [{"containerPort": 1}]},
            {"name": "sidecar", "image": "i", "restartPolicy": "Always", "ports": [{"containerPort": 9000}]},
        ],
    },
    "status": {
        "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
        "hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}], "conditions": [{"type": "Ready"}],
    },
}  # fmt: skip


def read(item: Json, kind: tuple[str, str] = ("", "Pod"), reader: Reader | None = None) -> Item:
    event = (reader or Reader(*kind)).event(json.dumps({"type": "ADDED", "object": item}).encode())
    assert event.item is not None
    return event.item


def merged(**changes: Any) -> Json:
    """The pod with other fields in its metadata, spec or status."""
    return {part: {**POD[part], **changes.get(part, {})} for part in POD}


def test_of_a_pod_is_kept_what_a_policy_sees() -> None:
    item = read(POD)
    pod = item.object
    assert isinstance(pod, Pod)
    assert (item.key, item.resource_version, item.created) == (("Pod", "shop", "web-1"), "7", "2026-11-26T10:00:00Z")
    assert (pod.key, pod.api_version, pod.labels, pod.ips) == (item.key, "v1", {"app": "web"}, ("10.0.0.1", "fd00::1"))
    assert (pod.host_ips, pod.spec.node_name, pod.status.phase) == (("192.0.2.1",), "n1", "Running")
    metadata = pod.metadata
    assert (metadata.annotations, metadata.owner_references, metadata.uid) == ({}, (), "")
    assert [(one.name, one.image, one.command, one.env) for one in pod.spec.containers] == [("", "", (), ())]
    assert [port.container_port for one in pod.spec.containers for port in one.ports] == [8080]
    assert [port.container_port for one in pod.spec.init_containers for port in one.ports] == [9000]
    assert pod.spec.volumes == ()


def test_the_engine_sees_in_a_slim_pod_what_it_sees_in_the_whole_one() -> None:
    for given in (
        POD,
        merged(spec={"hostNetwork": True}),
        merged(status={"podIPs": None}),
        merged(status={"phase": "Failed"}),
    ):
        page = read_page(json.dumps({"items": [given]}).encode(), "Pod", KINDS["", "Pod"], "v1")
        slim_pod = read(given).object
        assert slim_pod is not None
        whole, small = (Snapshot.of([one]).endpoints for one in (page.objects[0], slim_pod))
        assert [msgspec.structs.astuple(one) for one in small] == [msgspec.structs.astuple(one) for one in whole]


def test_pods_of_one_workload_share_what_is_equal() -> None:
    reader = Reader("", "Pod")
    second = merged(metadata={"name": "web-2"}, spec={"nodeName": "n2"})
    one, other = (read(given, reader=reader).object for given in (POD, second))
    assert isinstance(one, Pod)
    assert isinstance(other, Pod)
    assert one.labels is other.labels
    assert one.spec.containers is other.spec.containers
    assert one.metadata.namespace is other.metadata.namespace
    third = read(merged(metadata={"name": "web-3"}), reader=reader).object
    assert isinstance(third, Pod)
    assert third.spec is one.spec


def test_what_is_remembered_for_sharing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slim, "MOST_SHARED", 3)
    reader = Reader("", "Pod")
    for number in range(10):
        spec = {"nodeName": f"n{number}", "containers": [{"ports": [{"containerPort": number + 1}]}]}
        pod = read(merged(metadata={"labels": {"n": str(number)}}, spec=spec), reader=reader).object
        assert isinstance(pod, Pod)
        assert (pod.labels, pod.spec.node_name) == ({"n": str(number)}, f"n{number}")
    held = reader._slimming
    assert max(len(held._labels), len(held._containers), len(held._specs)) <= 3


def test_a_page_with_an_unusual_pod_is_read_as_well() -> None:
    odd = {**merged(metadata={"name": "odd", "labels": None}), "status": {"phase": "Pending", "podIPs": None}}
    data = json.dumps({"metadata": {"resourceVersion": "9", "continue": "x"}, "items": [POD, odd, POD]}).encode()
    page = Reader("", "Pod").page(data)
    assert (page.following, page.resource_version) == ("x", "9")
    assert [item.object.labels for item in page.items if item.object] == [{"app": "web"}, {}, {"app": "web"}]
    assert [item.problems for item in page.items] == [(), (), ()]


ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
UNREADABLE_PODS: dict[str, tuple[Json, str, tuple[str, ...]]] = {
    "an address that is none": (
        merged(status={"podIP": "10.0.0.999", "podIPs": [{"ip": "10.0.0.999"}, {"ip": "fd00::1"}]}),
        f'status.podIPs[0].ip: Invalid value: "10.0.0.999": {ADDRESS}',
        ("fd00::1",),
    ),
    "an address of its node that is none": (
        merged(status={"hostIPs": [{"ip": "x"}]}),
        f'status.hostIPs[0].ip: Invalid value: "x": {ADDRESS}',
        ("10.0.0.1", "fd00::1"),
    ),
    "an address of one machine alone": (
        merged(status={"podIP": "", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fe80::1%eth0"}]}),
        f'status.podIPs[1].ip: Invalid value: "fe80::1%eth0": {ADDRESS}',
        ("10.0.0.1",),
    ),
    "a protocol that nobody knows": (
        merged(spec={"containers": [{"image": "i", "ports": [{"containerPort": 1, "protocol": "QUIC"}]}]}),
        'spec.containers[0].ports[0].protocol: Unsupported value: "QUIC": supported values: "SCTP", "TCP", "UDP"',
        ("10.0.0.1", "fd00::1"),
    ),
    "containers of another type": (
        merged(spec={"containers": {}}),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ("10.0.0.1", "fd00::1"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE_PODS)
def test_a_pod_that_cannot_be_read_whole_still_has_its_labels_and_addresses(name: str) -> None:
    given, problem, addresses = UNREADABLE_PODS[name]
    item = read(given)
    assert item.object is None
    assert item.problems[0] == problem
    assert isinstance(item.closed, Pod)
    assert (item.closed.key, item.closed.labels, item.closed.ips) == (item.key, {"app": "web"}, addresses)
    [endpoint] = Snapshot.of([item.closed]).endpoints
    assert endpoint.node == "n1"


def test_a_pod_whose_labels_cannot_be_read_is_a_problem_alone() -> None:
    item = read(merged(metadata={"labels": {"app": 3}}))
    assert (item.object, item.closed) == (None, None)
    assert item.problems == (
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    )


def test_of_other_kinds_annotations_are_not_kept() -> None:
    node = read(
        {"metadata": {"name": "n1", "labels": {"zone": "a"}, "annotations": {"x": "y"}},
         "spec": {"podCIDRs": ["10.0.0.0/24"]},
         "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "images": [{}]}}, ("", "Node"),
    ).object  # fmt: skip
    assert isinstance(node, Node)
    assert (node.key, node.labels, node.metadata.annotations) == (("Node", "", "n1"), {"zone": "a"}, {})
    assert (node.spec.pod_cidrs, node.status.addresses[0].address) == (("10.0.0.0/24",), "192.0.2.1")


# Policies that cannot be read.


def policy(spec: Any, name: str = "p") -> Json:
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": "5"}, "spec": spec}


SELECTS_WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
CLOSED: dict[str, tuple[Any, tuple[str, ...] | None]] = {
    "a rule of another type": ({**SELECTS_WEB, "ingress": [3]}, ("Ingress",)),
    "rules of another type": ({**SELECTS_WEB, "egress": {"x": 1}}, ("Ingress", "Egress")),
    "a port that is none": ({**SELECTS_WEB, "ingress": [{"ports": [{"port": 99999}]}]}, ("Ingress",)),
    "a CIDR that is none": (
        {**SELECTS_WEB, "egress": [{"to": [{"ipBlock": {"cidr": "x"}}]}], "policyTypes": ["Egress"]}, ("Egress",)
    ),
    "types that nobody knows": ({**SELECTS_WEB, "policyTypes": ["Ingress", "Forward"]}, ("Ingress", "Egress")),
    "types of another type": ({**SELECTS_WEB, "policyTypes": "Ingress"}, ("Ingress", "Egress")),
    "a wrong rule and an unknown field of the subject": (
        {"podSelector": {"matchLabels": {"app": "web"}, "matchNames": ["x"]}, "ingress": 3}, ("Ingress",)
    ),
    "a subject of another type": ({"podSelector": 3}, None),
    "a subject that is not valid": ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}, None),
    "a spec of another type": ([], None),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_what_stands_for_a_network_policy_that_cannot_be_read(name: str) -> None:
    spec, types = CLOSED[name]
    item = read(policy(spec), NETWORK_POLICY)
    assert item.object is None
    assert item.problems
    if types is None:
        assert item.closed is None
        return
    assert isinstance(item.closed, NetworkPolicy)
    assert (item.closed.key, item.closed.policy_types) == (("NetworkPolicy", "shop", "p"), types)
    assert (item.closed.spec.ingress, item.closed.spec.egress) == ((), ())
    assert allowed([item.closed], 8080) is ("Ingress" not in types)


def allowed(policies: list[Object], port: int) -> bool:
    """Whether another pod reaches the pod of these cases."""
    client = merged(metadata={"name": "client", "labels": {"app": "client"}}, status={"podIPs": [{"ip": "10.0.0.2"}]})
    pods = [one for given in (POD, client) if (one := read(given).object) is not None]
    compiled = compile_snapshot(Snapshot.of([*policies, *pods]))
    by_name = {endpoint.name: endpoint for endpoint in compiled.endpoints}
    return verdict(compiled, by_name["client"], by_name["web-1"], Protocol.TCP, port).allowed


CLUSTER: dict[str, tuple[Json, bool | None]] = {
    "a peer of another type under Accept": ({"action": "Accept", "from": [3]}, True),
    "a peer of another type under Deny": ({"action": "Deny", "from": [{"namespaces": 3}]}, False),
    "ports of another type under Deny": (
        {"action": "Deny", "from": [{"namespaces": {}}], "protocols": [{"tcp": {"destinationPort": 3}}]}, False
    ),
    "an action of another type": ({"action": 3, "from": [{"namespaces": {}}]}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CLUSTER)
def test_what_stands_for_a_cluster_policy_that_cannot_be_read(name: str) -> None:
    """True: as if the rule were not there; False: it denies; None: nothing can stand for it."""
    rule, left = CLUSTER[name]
    spec = {"subject": {"namespaces": {}}, "tier": "Admin", "priority": 1, "ingress": [rule]}
    item = read({"metadata": {"name": "p"}, "spec": spec}, CLUSTER_POLICY)
    assert item.object is None
    assert item.problems
    if left is None:
        assert item.closed is None
        return
    assert isinstance(item.closed, ClusterNetworkPolicy)
    assert allowed([item.closed], 8080) is left


def test_an_unknown_field_of_a_policy_is_said_and_what_holds_it_matches_nothing() -> None:
    item = read(policy({**SELECTS_WEB, "ingress": [{"from": [{"serviceAccount": "x"}]}]}), NETWORK_POLICY)
    [problem] = item.problems
    assert problem.startswith("spec.ingress[0].from[0].serviceAccount is newer than this version of gatewright: ")
    assert item.object is not None
    assert not allowed([item.object], 8080)


# What is held.

GOOD = policy({**SELECTS_WEB, "ingress": [{}]})
BAD = policy({**SELECTS_WEB, "ingress": [3]})
BAD_OTHERWISE = policy({"podSelector": {}, "ingress": [3]})
HOPELESS = policy({"podSelector": 3})


def test_the_last_good_version_of_an_object_stays_in_force() -> None:
    held = Held()
    assert held.put(read(GOOD, NETWORK_POLICY)) is not None
    assert held.put(read(BAD, NETWORK_POLICY)) is None
    assert list(held.problems) == [("NetworkPolicy", "shop", "p")]
    assert held.put(read(HOPELESS, NETWORK_POLICY)) is None
    assert held.put(read(GOOD, NETWORK_POLICY)) is not None
    assert (held.problems, held.poor) == ({}, set())


def test_where_no_version_was_good_what_may_stand_for_it_follows_the_object() -> None:
    held = Held()
    assert held.put(read(HOPELESS, NETWORK_POLICY)) is None
    first = held.put(read(BAD, NETWORK_POLICY))
    second = held.put(read(BAD_OTHERWISE, NETWORK_POLICY))
    assert isinstance(first, NetworkPolicy)
    assert isinstance(second, NetworkPolicy)
    assert (first.spec.pod_selector.match_labels, second.spec.pod_selector.match_labels) == ({"app": "web"}, {})
    held.drop(("NetworkPolicy", "shop", "p"))
    assert (held.versions, held.problems, held.poor) == ({}, {}, set())


# Lines and pages that are none.

LINES = {
    "a bookmark": (
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}, Event("BOOKMARK", None, "9")
    ),
    "the end of a streaming list": (
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9", "annotations": {
            "k8s.io/initial-events-end": "true"}}}},
        Event("BOOKMARK", None, "9", True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_events_without_an_object(name: str) -> None:
    given, event = LINES[name]
    assert Reader("", "Pod").event(json.dumps(given).encode()) == event


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"type": "ADDED"}', b'{"type": "X", "object": {}}', b"\xff", b"[" * 9999]
)
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(NotAnEvent, match="not an event as API servers give it: "):
        Reader("", "Pod").event(line)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"items": {}}', b'{"items": [{}]}', b'{"items": [3]}', b"\xff", b"[" * 9999]
)
def test_what_is_no_list(data: bytes) -> None:
    for kind in (("", "Pod"), NETWORK_POLICY):
        with pytest.raises(NotAList, match="not a list as API servers give it: "):
            Reader(*kind).page(data)


def test_an_empty_list() -> None:
    page = Reader("", "Pod").page(b'{"metadata": {"resourceVersion": "3"}, "items": null}')
    assert (page.items, page.following, page.resource_version) == ([], "", "3")


PATHS = {
    ("", "Pod"): "/api/v1/pods",
    ("networking.k8s.io", "NetworkPolicy"): "/apis/networking.k8s.io/v1/networkpolicies",
    CLUSTER_POLICY: "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
}


@pytest.mark.parametrize("kind", PATHS)
def test_where_a_kind_is_served(kind: tuple[str, str]) -> None:
    assert Reader(*kind).path == PATHS[kind]


RECORDED = Path(__file__).parents[4] / "shared" / "apiserver" / "protocol.jsonl"


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded answers are not beside this checkout")
def test_pods_of_a_real_server_lose_nothing_that_the_engine_sees() -> None:
    answers = [json.loads(one)["answer"] for one in RECORDED.read_text().splitlines()]
    pages = [one.encode() for one in answers if one.startswith('{"kind":"PodList"')]
    assert len(pages) > 3
    for data in pages:
        whole = Snapshot.of(read_page(data, "Pod", KINDS["", "Pod"], "v1").objects).endpoints
        small = Snapshot.of([item.object for item in Reader("", "Pod").page(data).items if item.object]).endpoints
        assert [msgspec.structs.astuple(one) for one in small] == [msgspec.structs.astuple(one) for one in whole]


_TYPES_OF_STREAMS = """
import msgspec, threading
from gatewright.objects.watched import NotAList, NotAnEvent, Reader
from gatewright.sources.watch import NODE_KINDS
readers = [Reader(*kind) for kind in (*NODE_KINDS, ("", "Service"), ("discovery.k8s.io", "EndpointSlice"))]
looked = []
def profile(frame, event, argument):
    if event != "call" or frame.f_code.co_name != "get_class_annotations":
        return
    if frame.f_back.f_code.co_filename != msgspec.structs.__file__:  # who asks for fields changes nothing
        looked.append(frame.f_locals["obj"])
def read(reader, item):
    for what in ("ADDED", "BOOKMARK", "ERROR"):
        try: reader.event(b'{"type":"%s","object":%s}' % (what.encode(), item))
        except NotAnEvent: pass
    for answer in (b'{"items":[%s]}' % item, b'{"versions":[{"version":"v1"}]}'):
        try: reader.page(answer), reader.versions(answer)
        except NotAList: pass
threading.setprofile(profile)
for reader in readers:
    for spec in (b'{}', b'{"unknown":1}', b'7'):
        item = b'{"metadata":{"name":"a","namespace":"b","resourceVersion":"1"},"spec":%s,"status":{}}' % spec
        thread = threading.Thread(target=read, args=(reader, item))
        thread.start()
        thread.join()
class Canary(msgspec.Struct): pass
thread = threading.Thread(target=msgspec.json.decode, args=(b"{}",), kwargs={"type": Canary})
thread.start()
thread.join()
print(*(one.__name__ for one in looked))
"""


def test_what_streams_read_is_worked_out_before_they_begin() -> None:
    """Msgspec looks at a type at its first use, without a lock: two streams that did so at once ended the process.

    A process meets each type only once, so it is another one that is watched; the last type is to be seen.
    """
    done = subprocess.run(
        [sys.executable, "-c", _TYPES_OF_STREAMS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["Canary"], "")
