"""What a pod's spec becomes: environment, files, volumes, addresses. Every rule as a case."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.downward import Facts, Unresolved, field_value, quantity, resource_value
from gatewright.lab.kubelet.environment import environment, expand, service_variables
from gatewright.lab.kubelet.podfiles import hosts, pod_files, resolv_conf
from gatewright.lab.kubelet.podspec import port_number, read_pod, references, seconds_of, stamp_of
from gatewright.lab.kubelet.ranges import Ranges
from gatewright.lab.kubelet.setup import container_setup, pod_setup
from gatewright.lab.kubelet.volumes import MountFailure, replaced, volumes

Tree = dict[str, Any]
OBJECTS: dict[tuple[str, str], Tree] = {
    ("ConfigMap", "settings"): {
        "data": {"a": "1", "b": "2"},
        "binaryData": {"raw": base64.b64encode(b"\0\1").decode()},
    },
    ("Secret", "keys"): {"data": {"token": base64.b64encode(b"secret").decode()}},
}
MISSING = ("ConfigMap", "none")


def lookup(kind: str, name: str) -> Tree | None:
    return OBJECTS.get((kind, name))


def pod(**spec: Any) -> Tree:
    metadata = {
        "name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"app": "web", "a": "1"},
        "annotations": {"k": 'a"b'},
    }  # fmt: skip
    return {"metadata": metadata, "spec": {"containers": [{"name": "c"}], "nodeName": "node-1", **spec}}


def facts(tree: Tree) -> Facts:
    return Facts(tree, ("10.244.0.5", "fd00::5"), ("172.31.255.11", "fd00:31::b"), {"cpu": "2", "memory": "4Gi"})


def values(container: Tree, **spec: Any) -> dict[str, str]:
    found = environment(facts(pod(**spec)), {"name": "c", **container}, lookup, (), "web-0")
    return {name: value for name, value in found.items() if name not in ("PATH", "HOME", "HOSTNAME", "LANG")}


FIELDS = {
    "metadata.name": "web-0",
    "metadata.namespace": "shop",
    "metadata.uid": "u1",
    "metadata.labels['app']": "web",
    "metadata.annotations['k']": 'a"b',
    "metadata.labels['none']": "",
    "metadata.labels": 'a="1"\napp="web"',
    "metadata.annotations": 'k="a\\"b"',
    "spec.nodeName": "node-1",
    "status.podIP": "10.244.0.5",
    "status.podIPs": "10.244.0.5,fd00::5",
    "status.hostIP": "172.31.255.11",
    "status.hostIPs": "172.31.255.11,fd00:31::b",
}


@pytest.mark.parametrize("path", FIELDS)
def test_fields(path: str) -> None:
    assert field_value(facts(pod()), path) == FIELDS[path]


def test_a_field_that_is_none_is_refused() -> None:
    with pytest.raises(Unresolved, match=r"unsupported fieldPath: spec\.magic"):
        field_value(facts(pod()), "spec.magic")


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.cpu"}, "1"),
        ({"resource": "requests.cpu", "divisor": "1m"}, "250"),
        ({"resource": "requests.memory"}, "0"),
        ({"resource": "limits.cpu", "containerName": "other"}, "3"),
    ],
)
def test_resources(reference: Tree, wanted: str) -> None:
    container = {"name": "c", "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}
    other = {"name": "other", "resources": {"limits": {"cpu": "3"}}}
    assert resource_value(facts(pod(containers=[container, other])), container, reference) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"), [("1k", 1000), ("1Ki", 1024), ("1e3", 1000), ("2E", 2 * 10**18), ("-1", -1)]
)
def test_quantities(text: str, wanted: int) -> None:
    assert quantity(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "1q", "1.2.3"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(Unresolved):
        quantity(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("x$(A)y$(A)", "x1y1"), ("$", "$"), ("$$", "$"), ("$(", "$(")],
)
def test_references_in_texts(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1"}) == wanted


def test_variables_refer_to_those_before_them() -> None:
    env = [{"name": "B", "value": "$(A)"}, {"name": "A", "value": "1"}, {"name": "C", "value": "$(A)2"}]
    assert values({"env": env}) == {"A": "1", "B": "$(A)", "C": "12"}


def test_variables_come_from_objects_and_fields() -> None:
    sources = {
        "NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "CPU": {"resourceFieldRef": {"resource": "limits.cpu"}},
        "A": {"configMapKeyRef": {"name": "settings", "key": "a"}},
        "TOKEN": {"secretKeyRef": {"name": "keys", "key": "token"}},
        "LEFT_OUT": {"secretKeyRef": {"name": "none", "key": "token", "optional": True}},
    }
    env = [{"name": name, "valueFrom": source} for name, source in sources.items()]
    assert values({"env": env}) == {"NAME": "web-0", "CPU": "2", "A": "1", "TOKEN": "secret"}


def test_whole_objects_come_before_single_variables() -> None:
    every = [{"configMapRef": {"name": "settings"}, "prefix": "P_"}, {"secretRef": {"name": "keys"}}]
    found = values({"envFrom": every, "env": [{"name": "P_a", "value": "own"}]})
    assert (found["P_a"], found["P_b"], found["token"]) == ("own", "2", "secret")


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'configmap "none" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x"}}}]},
            'secret "none" not found',
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "x"}}}]},
            "couldn't find key x in ConfigMap shop/settings",
        ),
        ({"env": [{"name": "A", "valueFrom": {"fileKeyRef": {}}}]}, "the lab does not know valueFrom.fileKeyRef"),
    ],
)
def test_what_leads_nowhere_is_told(container: Tree, words: str) -> None:
    with pytest.raises(Unresolved) as told:
        values(container)
    assert str(told.value) == words


def service(name: str, namespace: str = "shop", **spec: Any) -> Tree:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns-udp", "port": 53, "protocol": "UDP"}]
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "10.96.0.7", "ports": ports, **spec},
    }


def test_services_of_the_namespace_are_told() -> None:
    found = service_variables(pod(), [service("my-db"), service("far", "other"), service("headless", clusterIP="None")])
    assert found == {
        "MY_DB_SERVICE_HOST": "10.96.0.7",
        "MY_DB_SERVICE_PORT": "80",
        "MY_DB_SERVICE_PORT_HTTP": "80",
        "MY_DB_SERVICE_PORT_DNS_UDP": "53",
        "MY_DB_PORT": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_PORT_80_TCP_PORT": "80",
        "MY_DB_PORT_80_TCP_ADDR": "10.96.0.7",
        "MY_DB_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.96.0.7",
    }


def test_without_service_links_only_the_api_is_told() -> None:
    found = service_variables(pod(enableServiceLinks=False), [service("my-db"), service("kubernetes", "default")])
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.7"
    assert not [name for name in found if name.startswith("MY_DB")]


RESOLV_CONFS: dict[str, tuple[Tree, str]] = {
    "the cluster's names first": (
        {},
        "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
    ),
    "on the node's network as the node": ({"hostNetwork": True}, "nameserver 10.96.0.10\n"),
    "on the node's network with the cluster's names": (
        {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
        "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
    ),
    "as the node": ({"dnsPolicy": "Default"}, "nameserver 10.96.0.10\n"),
    "nothing but its own": (
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"], "searches": ["a.example"]}},
        "search a.example\nnameserver 192.0.2.1\n",
    ),
    "its own besides": (
        {
            "dnsConfig": {
                "nameservers": ["192.0.2.1", "10.96.0.10"],
                "searches": ["a.example", "cluster.local"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
            }
        },
        (
            "search shop.svc.cluster.local svc.cluster.local cluster.local a.example\n"
            "nameserver 10.96.0.10\nnameserver 192.0.2.1\noptions ndots:2 edns0\n"
        ),
    ),
}


@pytest.mark.parametrize("name", RESOLV_CONFS)
def test_resolv_conf(name: str) -> None:
    spec, wanted = RESOLV_CONFS[name]
    assert resolv_conf(read_pod(pod(**spec)), "10.96.0.10") == wanted


def test_hosts() -> None:
    spec = {"subdomain": "db", "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["far", "far.example"]}]}
    text = hosts(read_pod(pod(**spec)), ("10.244.0.5",), "web-0")
    assert "10.244.0.5\tweb-0.db.shop.svc.cluster.local\tweb-0\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n192.0.2.7\tfar\tfar.example\n")


def test_a_pod_on_the_nodes_network_is_called_like_the_node() -> None:
    files = pod_files(read_pod(pod(hostNetwork=True, subdomain="db")), ("172.31.255.11",), "node-1", "10.96.0.10")
    assert files["etc/hostname"] == "node-1\n"
    assert "172.31.255.11\tnode-1\n" in files["etc/hosts"]


VOLUMES: dict[str, tuple[Tree, dict[str, tuple[bytes, int]] | None]] = {
    "an empty directory": ({"emptyDir": {}}, None),
    "a disk that is not there": ({"persistentVolumeClaim": {"claimName": "x"}}, None),
    "a whole ConfigMap": (
        {"configMap": {"name": "settings", "defaultMode": 0o600}},
        {"a": (b"1", 0o600), "b": (b"2", 0o600), "raw": (b"\0\1", 0o600)},
    ),
    "some keys, with modes": (
        {"configMap": {"name": "settings", "items": [{"key": "a", "path": "x/y", "mode": 0o400}]}},
        {"x/y": (b"1", 0o400)},
    ),
    "a Secret": ({"secret": {"secretName": "keys"}}, {"token": (b"secret", 0o644)}),
    "a missing one that is optional": ({"secret": {"secretName": "none", "optional": True}}, {}),
    "a missing key that is optional": (
        {"configMap": {"name": "settings", "optional": True, "items": [{"key": "x", "path": "x"}]}},
        {},
    ),
    "the downward API": (
        {"downwardAPI": {"items": [{"path": "who", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"who": (b"web-0", 0o644)},
    ),
    "all in one": (
        {
            "projected": {
                "sources": [
                    {"configMap": {"name": "settings", "items": [{"key": "a", "path": "a"}]}},
                    {"secret": {"name": "keys"}},
                    {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                    {"serviceAccountToken": {"path": "token"}},
                ]
            }
        },
        {"a": (b"1", 0o644), "token": (b"secret", 0o644), "ns": (b"shop", 0o644)},
    ),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_volumes(name: str) -> None:
    source, wanted = VOLUMES[name]
    files = volumes(facts(pod(volumes=[{"name": "v", **source}])), lookup)["v"].files
    assert {path: (one.data, one.mode) for path, one in (files or {}).items()} == (wanted or {})
    assert (files is None) == (wanted is None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        (
            {"secret": {"secretName": "keys", "items": [{"key": "x", "path": "x"}]}},
            "secret references non-existent config key: x",
        ),
        ({"configMap": {"name": "settings", "items": [{"key": "a", "path": "../../etc/passwd"}]}}, "leaves the volume"),
        ({"configMap": {"name": "settings", "items": [{"key": "a", "path": "/etc/passwd"}]}}, "leaves the volume"),
    ],
)
def test_volumes_that_cannot_be_filled(source: Tree, words: str) -> None:
    with pytest.raises(MountFailure) as told:
        volumes(facts(pod(volumes=[{"name": "v", **source}])), lookup)
    assert str(told.value).startswith('MountVolume.SetUp failed for volume "v" : ')
    assert words in str(told.value)


def test_what_the_lab_has_not_is_told() -> None:
    given = [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]
    given += [{"name": "c", "projected": {"sources": [{"clusterTrustBundle": {}}, {"secret": {"name": "keys"}}]}}]
    assert replaced(pod(volumes=given)) == [
        'volume "a": the lab has no hostPath; it is an empty directory',
        'volume "c": the lab has no clusterTrustBundle; it is left out',
    ]


def test_what_a_pod_refers_to() -> None:
    container = {
        "name": "c",
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
            {"name": "B", "value": ""},
        ],
        "envFrom": [{"secretRef": {"name": "two"}}],
    }
    given = [{"name": "v", "secret": {"secretName": "three"}}]
    given += [{"name": "w", "projected": {"sources": [{"configMap": {"name": "four"}}]}}]
    assert references(pod(containers=[container], volumes=given)) == {
        ("ConfigMap", "one"), ("Secret", "two"), ("Secret", "three"), ("ConfigMap", "four"),
    }  # fmt: skip


def test_ports_are_found_by_name_and_number() -> None:
    container = {"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}
    assert [port_number(container, one) for one in (80, "80", "http", "none")] == [80, 80, 8080, None]


def test_times_are_read_as_they_are_written() -> None:
    assert seconds_of(stamp_of(1_700_000_000)) == 1_700_000_000
    assert seconds_of("2023-11-14T22:13:20.5Z") == 1_700_000_000.5
    assert seconds_of(None) is None


def test_a_container_is_told_all_that_its_spec_says() -> None:
    container = {
        "name": "c", "image": "web:1", "command": ["run", "$(A)"], "args": ["$(B)"], "workingDir": "/srv",
        "stdin": True, "env": [{"name": "A", "value": "1"}],
        "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(A)/x", "readOnly": True}],
        "securityContext": {"runAsUser": 7},
    }  # fmt: skip
    tree = pod(
        containers=[container],
        securityContext={"runAsUser": 1, "runAsGroup": 2, "sysctls": [{"name": "a.b", "value": "1"}]},
    )
    spec = read_pod(tree)
    made = container_setup(spec, spec.parts[0], 3, facts(tree), lookup, ())
    assert (made.command, made.arguments, made.run, made.directory) == (("run", "1"), ("$(B)",), 3, "/srv")
    assert [(port.name, port.protocol, port.number) for port in made.ports] == [("http", "TCP", 80), ("", "UDP", 53)]
    assert [(one.volume, one.path, one.sub_path, one.read_only) for one in made.mounts] == [("v", "/v", "1/x", True)]
    assert (made.user, made.group, made.stdin, made.initial) == (7, 2, True, False)
    sandbox = pod_setup(spec, facts(tree), lookup, "node-1", "10.96.0.10", "pod3")
    assert (sandbox.link, sandbox.hostname, sandbox.sysctls) == ("pod3", "web-0", {"a.b": "1"})
    assert (sandbox.addresses, sandbox.mount_points) == (("10.244.0.5", "fd00::5"), ("/v",))


# Addresses.


def ranges(
    folder: Path, cidrs: tuple[str, ...] = ("10.244.1.0/29", "fd00:1::/64"), versions: tuple[int, ...] = (4, 6)
) -> Ranges:
    made = Ranges(folder / "ranges.json")
    made.set_networks(cidrs, versions)
    return made


def test_there_are_no_addresses_before_the_node_has_a_range(tmp_path: Path) -> None:
    assert Ranges(tmp_path / "ranges.json").take("a") is None


def test_addresses_go_round_before_they_come_again(tmp_path: Path) -> None:
    made = ranges(tmp_path)
    assert made.take("a") == ("10.244.1.1", "fd00:1::1")
    assert made.take("a") == ("10.244.1.1", "fd00:1::1")
    made.release("a")
    given = [made.take(f"b{number}") for number in range(5)]
    assert [one and one[0] for one in given] == [f"10.244.1.{number}" for number in range(2, 7)]
    assert made.take("c") == ("10.244.1.1", "fd00:1::1")
    with pytest.raises(LabError, match="7 pods do not fit"):
        made.take("d")


def test_only_families_of_the_node_are_given(tmp_path: Path) -> None:
    assert ranges(tmp_path, versions=(4,)).take("a") == ("10.244.1.1",)


def test_a_new_kubelet_goes_on_where_the_old_one_was(tmp_path: Path) -> None:
    old = ranges(tmp_path)
    old.take("a")
    old.release("a")
    kept = old.take("b")
    assert kept
    assert [old.link(), old.link()] == ["pod1", "pod2"]
    new = Ranges(tmp_path / "ranges.json")
    new.adopt({"b": kept})
    new.set_networks(("10.244.1.0/29", "fd00:1::/64"), (4, 6))
    assert new.take("b") == kept
    assert new.take("c") == ("10.244.1.3", "fd00:1::3")
    assert new.link() == "pod3"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text("[")
    with pytest.raises(LabError, match="stop the node and delete the file"):
        Ranges(tmp_path / "ranges.json")
