"""Probing a running lab: asks it for its objects, predicts, measures from its pods, and compares."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.engine.addresses import IPAddress, parse_address
from gatewright.engine.backends import Backends
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.model import Endpoint
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import GatewrightError
from gatewright.lab import client
from gatewright.objects.core import Pod, Service
from gatewright.probe import connect
from gatewright.probe.matrix import OUTSIDE, Cluster, Port, Row, Selection, ServiceFront, measured, plan, requests

SYSTEM_NAMESPACE = "kube-system"
_ATTEMPTS = 2
_ANSWERING = ("stand-in", "name server")


@dataclass(frozen=True, slots=True)
class Question:
    """What a user asks to probe. Empty `sources` or `destinations`: all of `namespace`, or of every namespace."""

    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    namespace: str | None = None
    ports: tuple[Port, ...] = ()
    families: tuple[int, ...] = (4,)
    addresses: bool = True
    services: bool = True
    timeout: float = 0.4


def probe(name: str, question: Question) -> tuple[tuple[Row, ...], Mapping[str, Any]]:
    """Measure a lab. Returns the rows, and the state of the lab as `lab status` has it. Raises GatewrightError."""
    state = client.status(name)
    objects, pids = client.objects(name), client.pids(name)
    compiled = compile_snapshot(Snapshot.of(objects, pod_cidrs=state["podCIDRs"]))
    pods = [pod for pod in objects if isinstance(pod, Pod)]
    usual = [
        f"{pod.namespace}/{pod.name}"
        for pod in pods
        if (pod.namespace == question.namespace if question.namespace else pod.namespace != SYSTEM_NAMESPACE)
    ]
    selection = Selection(
        sources=_keys(name, question.sources, question.namespace, pids) or [*usual, OUTSIDE],
        destinations=_keys(name, question.destinations, question.namespace, pids) or usual,
        ports=question.ports,
        families=question.families,
        addresses=question.addresses,
        services=question.services,
    )
    outside = tuple(parse_address(text) for text in state["outsideAddresses"])
    answering = frozenset(f"{pod['namespace']}/{pod['name']}" for pod in state["pods"] if pod["runs"] in _ANSWERING)
    cluster = Cluster(compiled, outside, fronts(compiled, state), answering)
    connections = plan(cluster, selection)
    asked = {"timeout": question.timeout, "attempts": _ATTEMPTS, "targets": requests(connections, pids)}
    answer = client.on_node(name, connect.measure, json.dumps(asked).encode())
    return measured(connections, json.loads(answer)), state


def _keys(name: str, texts: Sequence[str], namespace: str | None, known: Mapping[str, int]) -> list[str]:
    keys = [client.pod_of(name, text, namespace or "default") for text in texts]
    for key in keys:
        if key not in known:
            raise GatewrightError(f'pod "{key}" is not in the lab; see: gatewright lab status')
    return keys


def fronts(compiled: Compiled, state: Mapping[str, Any]) -> tuple[ServiceFront, ...]:
    """Every Service port that can be dialled: on the Service's address, and from outside on a node's port."""
    backends = Backends(compiled)
    ready = {f"{one['namespace']}/{one['name']}": one for one in state["services"]}
    found: list[ServiceFront] = []
    for service in compiled.snapshot.services:
        entry = ready.get(f"{service.namespace}/{service.name}")
        for port, shown in zip(service.spec.ports, entry["ports"] if entry else (), strict=False):
            assert entry is not None
            doors = [(one, number) for one, number in backends.doors(service, port) if one.path in entry["backends"]]
            for address in map(parse_address, entry["addresses"]):
                name, protocol = f"{entry['namespace']}/svc/{entry['name']}", Protocol(port.protocol)
                behind = tuple((one.path, number) for one, number in doors)
                found.append(ServiceFront(name, address, protocol, port.port, behind))
                if shown["nodePort"]:
                    by_node = _by_node(service, [one for one, _ in doors], state["nodes"], address.version)
                    if by_node is not None:
                        node, seen_as = by_node
                        name = f"{name} (node port)"
                        found.append(ServiceFront(name, node, protocol, shown["nodePort"], behind, True, seen_as))
    return tuple(found)


def _by_node(
    service: Service, doors: Sequence[Endpoint], nodes: Sequence[Mapping[str, Any]], family: int
) -> tuple[IPAddress, dict[str, IPAddress]] | None:
    """The address of a node on which to dial a node port, and which backends see that address as the source."""
    local = service.spec.external_traffic_policy == "Local"
    hosting = {one.node for one in doors}
    fitting = [one for one in nodes if one["state"] == "running" and (not local or one["name"] in hosting)]
    for node in fitting:
        for address in map(parse_address, node["addresses"]):
            if address.version == family:
                return address, {} if local else {one.path: address for one in doors if one.node != node["name"]}
    return None
