"""Probing a running lab: asks it for its objects, predicts, measures from its pods, and compares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.engine.addresses import parse_address
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import GatewrightError
from gatewright.lab import client
from gatewright.lab.services import target_port
from gatewright.objects.core import Pod, Service
from gatewright.objects.meta import Object
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
    objects, pids = client.objects(name)
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
    cluster = Cluster(compiled, outside, fronts(objects, state), answering)
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


def fronts(objects: Iterable[Object], state: Mapping[str, Any]) -> tuple[ServiceFront, ...]:
    """Every Service port that can be dialled: on the Service's address, and from outside on the node's port."""
    everything = list(objects)
    services = {f"{one.namespace}/{one.name}": one for one in everything if isinstance(one, Service)}
    pods = {f"{one.namespace}/{one.name}": one for one in everything if isinstance(one, Pod)}
    found: list[ServiceFront] = []
    for entry in state["services"]:
        service = services[f"{entry['namespace']}/{entry['name']}"]
        name = f"{entry['namespace']}/svc/{entry['name']}"
        for port, shown in zip(service.spec.ports, entry["ports"], strict=True):
            backends = tuple(
                (key, number) for key in entry["backends"] if (number := target_port(port, pods[key])) is not None
            )
            protocol = Protocol(port.protocol)
            for text in entry["addresses"]:
                address = parse_address(text)
                found.append(ServiceFront(name, address, protocol, port.port, backends))
                if shown["nodePort"]:
                    node = next(
                        one for one in map(parse_address, state["nodeAddresses"]) if one.version == address.version
                    )
                    found.append(ServiceFront(f"{name} (node port)", node, protocol, shown["nodePort"], backends, True))
    return tuple(found)
