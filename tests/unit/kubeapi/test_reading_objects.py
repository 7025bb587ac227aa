"""What clients send: JSON and protobuf along the type table, and the table itself."""

from __future__ import annotations

from typing import Any

import pytest

from gatewright.kubeapi.decoding import decode, parse
from gatewright.kubeapi.failure import Failure
from gatewright.kubeapi.protobuf import from_protobuf
from gatewright.kubeapi.types import type_table
from gatewright.lab.api.resources import RESOURCES
from gatewright.lab.api.tables import age, cells, definitions, duration, moment_of, selector_text

TYPES = type_table()


def test_every_served_kind_has_its_type_and_its_columns() -> None:
    for resource in RESOURCES:
        assert {"metadata", "kind", "apiVersion"} <= TYPES[resource.type].fields.keys()
        assert len(definitions(resource.kind)) == len(cells(resource.kind, {"metadata": {"name": "a"}}))


def test_the_table_knows_how_lists_merge() -> None:
    ports = TYPES["core.v1.Container"].fields["ports"]
    assert (ports.type.keys, ports.patch_key) == (("containerPort", "protocol"), "containerPort")
    assert TYPES["core.v1.PodSpec"].fields["tolerations"].type.atomic
    assert TYPES["meta.v1.ObjectMeta"].fields["finalizers"].type.unique


def _decoded(kind: str, tree: Any) -> Any:
    return decode(tree, TYPES[kind], kind.rpartition(".")[2], "v1")


def test_nulls_and_empty_maps_are_no_values() -> None:
    tree = {"metadata": {"name": "a", "labels": {}, "annotations": None}, "data": {"a": None}}
    assert _decoded("core.v1.ConfigMap", tree).tree == {"metadata": {"name": "a"}, "data": {"a": ""}}


def test_an_empty_selector_is_a_value() -> None:
    spec: Any = {"podSelector": {}, "ingress": []}
    assert _decoded("networking.v1.NetworkPolicy", {"spec": spec}).tree == {"spec": {"podSelector": {}}}


def test_unknown_fields_are_dropped_and_named() -> None:
    read = _decoded("core.v1.Pod", {"spec": {"containers": [{"name": "c", "imagee": "i"}]}, "colour": 1})
    assert read.tree == {"spec": {"containers": [{"name": "c"}]}}
    assert read.objections == ['unknown field "spec.containers[0].imagee"', 'unknown field "colour"']


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"hostNetwork": "yes"}, "cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        (
            {"containers": {}},
            "cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            {"containers": [1]},
            "cannot unmarshal number into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        ({"terminationGracePeriodSeconds": 1.5}, "number 1.5 into Go struct field PodSpec.spec.terminationGracePeriod"),
        (
            {"priority": 2**31},
            "cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority of type int32",
        ),
    ],
)
def test_wrong_types_are_refused_in_the_servers_words(spec: Any, said: str) -> None:
    with pytest.raises(Failure) as refused:
        _decoded("core.v1.Pod", {"spec": spec})
    assert said in str(refused.value)


def test_fields_that_stand_twice_are_named() -> None:
    assert parse(b'{"a": 1, "a": 2}', "application/json", "Pod") == ({"a": 2}, ['duplicate field "a"'])


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def _enveloped(api_version: str, kind: str, raw: bytes) -> bytes:
    about = _field(1, api_version.encode()) + _field(2, kind.encode())
    return b"k8s\0" + _field(1, about) + _field(2, raw)


def test_an_object_in_protobuf() -> None:
    metadata = _field(1, b"x") + _field(11, _field(1, b"app") + _field(2, b"web"))
    raw = _field(1, metadata) + _field(2, _field(1, b"a") + _field(2, b"b"))
    assert from_protobuf(_enveloped("v1", "ConfigMap", raw), TYPES) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "x", "labels": {"app": "web"}},
        "data": {"a": "b"},
    }


def test_numbers_inlined_structs_and_ports_in_protobuf() -> None:
    port = _field(1, b"http") + bytes([3 << 3, 80])
    target = bytes([1 << 3, 1]) + _field(3, b"web")
    service_port = bytes([3 << 3, 80]) + _field(4, target)
    assert from_protobuf(_enveloped("v1", "Service", _field(2, _field(1, service_port))), TYPES)["spec"] == {
        "ports": [{"port": 80, "targetPort": "web"}]
    }
    volume = _field(1, b"v") + _field(2, _field(1, _field(1, b"/tmp")))
    pod = _field(2, _field(1, volume) + _field(2, _field(1, b"c") + _field(6, port)))
    spec = from_protobuf(_enveloped("v1", "Pod", pod), TYPES)["spec"]
    assert spec["volumes"] == [{"name": "v", "hostPath": {"path": "/tmp"}}]
    assert spec["containers"][0]["ports"] == [{"name": "http", "containerPort": 80}]


@pytest.mark.parametrize(
    "body", [b"", b"k8s\0", b"json", b"k8s\0\xff\xff\xff", _enveloped("v1", "Nothing", b""), b"k8s\0\x0a\x05ab"]
)
def test_protobuf_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(Failure) as refused:
        from_protobuf(body, TYPES)
    assert refused.value.status.code == 400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (47 * 3600, "47h"),
        (3 * 86400 + 3600, "3d1h"),
        (100 * 86400, "100d"),
        (800 * 86400, "2y70d"),
    ],
)
def test_ages_are_said_as_kubectl_says_them(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_an_age_from_a_time() -> None:
    assert age("2026-01-01T00:00:00Z", moment_of("2026-01-01T00:00:42Z")) == "42s"
    assert age(None) == "<unknown>"


def test_selectors_as_kubectl_prints_them() -> None:
    expressions = [{"key": "b", "operator": "In", "values": ["1", "2"]}, {"key": "c", "operator": "DoesNotExist"}]
    assert selector_text({"matchLabels": {"a": "x"}, "matchExpressions": expressions}) == "a=x,b in (1,2),!c"
    assert selector_text({}) == "<none>"
