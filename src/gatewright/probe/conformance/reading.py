"""Cases as data to cases: YAML files in `cases/`, whose short forms stand for stock objects.

`create: {NetworkPolicy x/name: SPEC}` is the object that `kubectl create` would send; a mapping with `spec` in it is
the rest of an object (its metadata, too). `repeat: N` does everything of a step N times, with `$(i)` from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import yaml

from gatewright.engine.ports import Protocol
from gatewright.probe.conformance.model import AGENTS, BASE, Case, Operation, Port, Step, Tree

FILES = ("network_policies.yaml", "beyond.yaml", "cluster_tiers.yaml")
API_VERSIONS = {
    "Namespace": "v1",
    "Pod": "v1",
    "Service": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2",
}
_WRITING = ("create", "update")
_VERBS = (*_WRITING, "label", "status", "delete")
_CASE = {"case", "number", "ask", "steps", "sources", "destinations", "extra", "hairpin", "nodes", "agents", "program"}
_STEP = {*_VERBS, "expect", "repeat", "at-once", "kill-agents", "hold", "held", "ready", "phases"}


class BadCase(ValueError):
    """A case that cannot be read."""


@cache
def every_case() -> tuple[Case, ...]:
    """All cases, by number. Raises BadCase."""
    folder = resources.files(__package__) / "cases"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    written = [one for file in FILES for one in yaml.load((folder / file).read_bytes(), loader)]
    cases = sorted((_case(one) for one in written), key=lambda case: case.number)
    numbers = [case.number for case in cases]
    if doubles := {number for number in numbers if numbers.count(number) > 1}:
        raise BadCase(f"several cases have the number {min(doubles)}")
    return tuple(cases)


def _case(written: Tree) -> Case:
    name = str(written["case"])
    steps = written.get("steps")
    if unknown := set(written) - _CASE - (set() if steps else _STEP):
        raise BadCase(f"{name}: unknown fields {sorted(unknown)}")
    if written.get("agents", "") not in AGENTS:
        raise BadCase(f"{name}: agents: {written['agents']} is none of {AGENTS}")
    only_step = {key: value for key, value in written.items() if key in _STEP}
    extra = tuple(written.get("extra", ()))
    return Case(
        number=int(written["number"]),
        name=name,
        ports=tuple(_ports(written.get("ask", "TCP/80,81"))),
        steps=tuple(_step(name, one) for one in steps or ([only_step] if only_step else [])),
        sources=tuple(written.get("sources", (*BASE, *extra))),
        destinations=tuple(written.get("destinations", (*BASE, *extra))),
        hairpin=bool(written.get("hairpin")),
        nodes=int(written.get("nodes", 1)),
        agents=written.get("agents", ""),
        program=written.get("program", ""),
    )


def _ports(text: str) -> Iterator[Port]:
    for part in text.split():
        protocol, _, numbers = part.partition("/")
        for number in numbers.split(","):
            first, _, last = number.partition("-")
            yield from ((Protocol(protocol), each) for each in range(int(first), int(last or first) + 1))


def _step(name: str, written: Tree) -> Step:
    if unknown := set(written) - _STEP:
        raise BadCase(f"{name}: unknown fields {sorted(unknown)}")
    operations = [
        _repeated(operation, number)
        for verb in written
        if verb in _VERBS
        for number in range(1, int(written.get("repeat", 1)) + 1)
        for operation in _operations(name, verb, written[verb])
    ]
    return Step(
        operations=tuple(operations),
        expected=tuple(written["expect"]),
        at_once=bool(written.get("at-once")),
        kill_agents=bool(written.get("kill-agents")),
        hold=tuple(written.get("hold", ())),
        held=tuple(written.get("held", ())),
        ready=tuple(written.get("ready", ())),
        phases=dict(written.get("phases", {})),
    )


def _operations(name: str, verb: str, written: Any) -> Iterator[Operation]:
    for which in written:
        kind, _, path = which.partition(" ")
        namespace, _, short = path.rpartition("/")
        if kind not in API_VERSIONS:
            raise BadCase(f"{name}: {which}: no kind that the cases know; there are {', '.join(API_VERSIONS)}")
        body: Tree | None = None
        if verb in _WRITING:
            body = _object(kind, namespace, short, written[which])
        elif verb == "label":
            body = {"metadata": {"labels": written[which]}}
        elif verb == "status":
            body = {"status": written[which]}
        yield Operation(verb, kind, namespace, short, body)


def _object(kind: str, namespace: str, name: str, written: Tree) -> Tree:
    body = written if "spec" in written else {"spec": written}
    place = {"name": name} | ({"namespace": namespace} if namespace else {})
    metadata = place | body.get("metadata", {})
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata, "spec": body["spec"]}


def _repeated(operation: Operation, number: int) -> Operation:
    def put(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("$(i)", str(number))
        if isinstance(value, dict):
            return {key: put(item) for key, item in value.items()}
        return [put(item) for item in value] if isinstance(value, list) else value

    return Operation(operation.verb, operation.kind, operation.namespace, put(operation.name), put(operation.body))
