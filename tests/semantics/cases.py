"""Reads the case tables (`*.yaml` beside this module) and works out which connections each case speaks of.

A case is a small cluster, its policies and lines of expectation, each
`SRC -> DST [PROTO[/PORTS]] [v4|v6]: ANSWER`. SRC and DST are comma-separated shell patterns over `namespace/name` and
addresses, and of all lines that match a connection the last one says its answer, so a case opens with the rule and
goes on with the exceptions. Every pair of pods and of pods with the outside addresses is asked, on every port of `ask`
and in every family both ends have (pods without an address yet: the families of the pod range, else IPv4), so the
lines amount to a full truth table.

Fields of a case: `case` (its name), `row` (rows of the table of rules it belongs to), `cluster` (a name in
`clusters.yaml`), `namespaces` and `pods` and `nodes` (added to the cluster's, `null` takes away), `node_labels`,
`policies` (name to spec of a NetworkPolicy) and `cluster_policies` (`Kind/name` to spec of a cluster-wide one),
`pod_cidrs`, `ask` (`TCP/80` when absent, else such as `TCP/80,8000-8010 UDP/53 ICMP`), `outside` (addresses), `names`
(domain names, which pods are asked to as well), `itself` (also ask a pod to itself), `expect`;
or `steps`: changes of those fields, one after the other, each with its own `expect`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tests.reference.evaluator import End

Json = dict[str, Any]
HERE = Path(__file__).parent
LINE = re.compile(
    r"(?P<source>\S+) -> (?P<destination>\S+)( (?P<protocol>TCP|UDP|SCTP|ICMP)(/(?P<ports>[0-9,-]+))?)?"
    r"( v(?P<family>[46]))?: (?P<answer>allowed|denied|depends)"
)
MERGED = ("namespaces", "pods", "nodes", "node_labels", "policies", "cluster_policies")
FIELDS = {"case", "row", "cluster", "pod_cidrs", "ask", "outside", "names", "itself", "expect", "steps", *MERGED}


@dataclass(frozen=True)
class Connection:
    """One connection to ask about."""

    source: End
    destination: End
    protocol: str
    port: int | None
    family: int

    def __str__(self) -> str:
        port = "" if self.port is None else f"/{self.port}"
        return f"{name(self.source)} -> {name(self.destination)} {self.protocol}{port} v{self.family}"


@dataclass(frozen=True)
class Case:
    """One state of one case: its objects and the expected answer of every connection it asks about."""

    title: str
    rows: tuple[str, ...]
    objects: tuple[Json, ...]
    pod_cidrs: tuple[str, ...]
    expected: dict[Connection, str]


def all_cases() -> list[Case]:
    """Every case of every table, in order. Raises ValueError for a table that says something senseless."""
    clusters = yaml.safe_load((HERE / "clusters.yaml").read_text())
    tables = [path for path in sorted(HERE.glob("*.yaml")) if path.name != "clusters.yaml"]
    every = ((path, fields) for path in tables for fields in yaml.safe_load(path.read_text()))
    return [case for path, fields in every for case in states(path, fields, clusters)]


def states(path: Path, fields: Json, clusters: Json) -> Iterator[Case]:
    """The case, or its steps, each as a state of its own."""
    title = f"{path.stem}: {fields['case']}"
    if unknown := set(fields) - FIELDS:
        raise ValueError(f"{title}: unknown fields {unknown}")
    state = merged(clusters[fields["cluster"]], fields)
    if "steps" not in fields:
        yield build(title, state)
    for number, step in enumerate(fields.get("steps", []), start=1):
        if unknown := set(step) - FIELDS:
            raise ValueError(f"{title}: step {number}: unknown fields {unknown}")
        state = merged(state, step)
        yield build(f"{title} (step {number})", state)


def merged(state: Json, change: Json) -> Json:
    """The state after a change: objects are added, replaced or (null) taken away, other fields are replaced."""
    result = {**state, **change}
    for field in MERGED:
        both = {**(state.get(field) or {}), **(change.get(field) or {})}
        result[field] = {key: value for key, value in both.items() if value is not None}
    return result


def build(title: str, state: Json) -> Case:
    """Work out the expected answer of every connection. Raises ValueError where a line decides nothing."""
    rows = state["row"] if isinstance(state["row"], list) else [state["row"]]
    lines = [parse(title, line) for line in state["expect"]]
    expected: dict[Connection, str] = {}
    used: set[int] = set()
    for connection in connections(state):
        deciding = [index for index, line in enumerate(lines) if speaks_of(line, connection)]
        if not deciding:
            raise ValueError(f"{title}: no line says what becomes of {connection}")
        used.add(deciding[-1])
        expected[connection] = lines[deciding[-1]]["answer"]
    if idle := [line for index, line in enumerate(state["expect"]) if index not in used]:
        raise ValueError(f"{title}: these lines decide nothing: {idle}")
    return Case(title, tuple(rows), tuple(manifests(state)), tuple(state.get("pod_cidrs", ())), expected)


def parse(title: str, line: str) -> dict[str, Any]:
    """One line of expectation. Raises ValueError where it is none."""
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{title}: not an expectation: {line}")
    return match.groupdict()


def speaks_of(line: dict[str, Any], connection: Connection) -> bool:
    """Whether a line speaks of a connection."""
    return (
        matches(line["source"], name(connection.source))
        and matches(line["destination"], name(connection.destination))
        and line["protocol"] in (None, connection.protocol)
        and (line["ports"] is None or connection.port in numbers(line["ports"]))
        and line["family"] in (None, str(connection.family))
    )


def matches(patterns: str, text: str) -> bool:
    """Whether one of the comma-separated patterns matches."""
    return any(fnmatchcase(text, pattern) for pattern in patterns.split(","))


def numbers(text: str) -> set[int]:
    """The numbers of `80,8000-8010`."""
    ends = [part.partition("-")[::2] for part in text.split(",")]
    return {number for first, last in ends for number in range(int(first), int(last or first) + 1)}


def name(end: End) -> str:
    """The end as the tables name it."""
    return f"{end[1]}/{end[2]}" if end[0] == "pod" else end[1]


def connections(state: Json) -> Iterator[Connection]:
    """Every connection the case asks about."""
    asked = [each.partition("/")[::2] for each in state.get("ask", "TCP/80").split()]
    unknown: set[int] = {ipaddress.ip_network(cidr).version for cidr in state.get("pod_cidrs", [])} or {4}
    pods: dict[End, set[int]] = {}
    for path, pod in state["pods"].items():
        namespace, _, pod_name = path.partition("/")
        if pod.get("phase") not in ("Succeeded", "Failed"):
            pods["pod", namespace, pod_name] = {version(ip) for ip in pod.get("ips", [])} or unknown
    outside: dict[End, set[int]] = {("address", ip): {version(ip)} for ip in state.get("outside", [])}
    names: dict[End, set[int]] = {("name", each): {4, 6} for each in state.get("names", [])}
    everybody = pods | outside | names
    for source, destination in ((left, right) for left in pods | outside for right in everybody):
        if (source == destination and not state.get("itself")) or (source in outside and destination not in pods):
            continue
        for protocol, ports in asked:
            for port in sorted(numbers(ports)) if ports else [None]:
                for family in sorted(everybody[source] & everybody[destination]):
                    yield Connection(source, destination, protocol, port, family)


def version(address: str) -> int:
    """The family of an address."""
    return ipaddress.ip_address(address).version


def manifests(state: Json) -> Iterator[Json]:
    """The objects of a state as Kubernetes writes them."""
    for each, labels in state["namespaces"].items():
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each, "labels": labels}}
    for each, ips in state["nodes"].items():
        addresses = [{"type": "InternalIP", "address": ip} for ip in ips]
        status = {"addresses": [{"type": "Hostname", "address": each}, *addresses]}
        metadata = {"name": each, "labels": state["node_labels"].get(each, {})}
        yield {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}
    for path, pod in state["pods"].items():
        yield pod_manifest(path, pod)
    for path, spec in state["policies"].items():
        namespace, _, policy = path.partition("/")
        metadata = {"name": policy, "namespace": namespace}
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            **({} if spec == "absent" else {"spec": spec}),
        }
    for path, spec in state["cluster_policies"].items():
        kind, _, policy = path.partition("/")
        version = "v1alpha2" if kind == "ClusterNetworkPolicy" else "v1alpha1"
        api = f"policy.networking.k8s.io/{version}"
        yield {"apiVersion": api, "kind": kind, "metadata": {"name": policy}, "spec": spec}


def pod_manifest(path: str, pod: Json) -> Json:
    """A pod from its short form: labels, ips, ports, sidecar and init (ports of such containers), node, and so on."""
    namespace, _, pod_name = path.partition("/")
    spec: Json = {"containers": [{"name": "main", "image": "app", "ports": pod.get("ports", [])}]}
    inits = []
    if "sidecar" in pod:
        inits.append({"name": "side", "image": "side", "restartPolicy": "Always", "ports": pod["sidecar"]})
    if "init" in pod:
        inits.append({"name": "first", "image": "first", "ports": pod["init"]})
    if "second" in pod:
        spec["containers"].append({"name": "second", "image": "app", "ports": pod["second"]})
    spec |= {"initContainers": inits} if inits else {}
    spec |= {"nodeName": pod["node"]} if "node" in pod else {}
    spec |= {"hostNetwork": True} if pod.get("host_network") else {}
    metadata = {"name": pod_name, "namespace": namespace, "labels": pod.get("labels", {})}
    metadata |= {"deletionTimestamp": "2020-01-01T00:00:00Z"} if pod.get("terminating") else {}
    status: Json = {"phase": pod["phase"]} if "phase" in pod else {}
    if pod.get("ips"):
        status |= {"podIP": pod["ips"][0], "podIPs": [{"ip": ip} for ip in pod["ips"]]}
    status |= {"hostIP": pod["host_ip"]} if "host_ip" in pod else {}
    status |= {"hostIPs": [{"ip": ip} for ip in pod["host_ips"]]} if "host_ips" in pod else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
