"""What is created in the cluster, and nothing else: a namespace, pods with least rights, canary policies. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.probe import leastpods
from gatewright.probe.verify import programs

Tree = Mapping[str, Any]

MARK = {"gatewright.io/doctor": "verify"}
"""On the namespace: by this label a later run finds what an interrupted one left."""
PREFIX = "gatewright-doctor-"
LIFE = 600
"""Seconds after which the pods end by themselves."""
SOURCE, TARGET = "source", "target"


@dataclass(frozen=True, slots=True)
class Pair:
    """A connection to try: from the source pod on one node to the target pod on one."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a run is about: its namespace, the nodes in it, and the pairs of nodes."""

    namespace: str
    image: str
    nodes: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def pod(self, role: str, node: str) -> str:
        """The name of a pod; names of nodes may be longer than those of pods."""
        return f"{role}-{self.nodes.index(node)}"


def ring(nodes: Sequence[str], most: int) -> tuple[tuple[str, ...], tuple[Pair, ...]]:
    """The nodes that are measured, and their pairs: each node with itself and with the next.

    Of more nodes than pairs are allowed for, some are chosen evenly. A node with itself alone, where there is one.
    """
    count = min(len(nodes), max(1, most // 2))
    chosen = tuple(nodes[index * len(nodes) // count] for index in range(count)) if nodes else ()
    following = (*chosen[1:], *chosen[:1])
    pairs = [Pair(one, one) for one in chosen]
    if len(chosen) > 1:
        pairs += [Pair(one, other) for one, other in zip(chosen, following, strict=True)]
    return chosen, tuple(pairs[:most])


def namespace(trial: Trial) -> Tree:
    """The namespace; its pods are held to the restricted standard."""
    labels = {**MARK, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": trial.namespace, "labels": labels}}


def pods(trial: Trial) -> Iterator[Tree]:
    """A source and a target on every node."""
    for node in trial.nodes:
        yield _pod(trial, SOURCE, node, programs.sleep(LIFE))
        yield _pod(trial, TARGET, node, programs.serve())


def _pod(trial: Trial, role: str, node: str, command: Sequence[str]) -> Tree:
    port = [{"containerPort": programs.PORT, "protocol": "TCP"}]
    labels = {**MARK, "gatewright.io/role": role}
    metadata = {"name": trial.pod(role, node), "namespace": trial.namespace, "labels": labels}
    only = leastpods.container(trial.image, command, ("10m", "200m"), {"ports": port} if role == TARGET else {})
    return leastpods.pod(metadata, node, LIFE, only)


def deny(trial: Trial, direction: str) -> Tree:
    """The canary: nothing in, or nothing out. Of Ingress for the targets, of Egress for the sources."""
    spec = {"podSelector": _role(TARGET if direction == "Ingress" else SOURCE), "policyTypes": [direction]}
    return _policy(trial, f"deny-{direction.lower()}", spec)


def allow(trial: Trial, direction: str) -> Tree:
    """What lets the connections through again, port by port."""
    ours, theirs, word = (TARGET, SOURCE, "from") if direction == "Ingress" else (SOURCE, TARGET, "to")
    rule = {word: [{"podSelector": _role(theirs)}], "ports": [{"protocol": "TCP", "port": programs.PORT}]}
    spec = {"podSelector": _role(ours), "policyTypes": [direction], direction.lower(): [rule]}
    return _policy(trial, f"allow-{direction.lower()}", spec)


def everything(trial: Trial) -> Iterator[Tree]:
    """All of it, in the order of creation."""
    yield namespace(trial)
    yield from pods(trial)
    for direction in ("Ingress", "Egress"):
        yield deny(trial, direction)
        yield allow(trial, direction)


def _role(role: str) -> Tree:
    return {"matchLabels": {"gatewright.io/role": role}}


def _policy(trial: Trial, name: str, spec: Tree) -> Tree:
    metadata = {"name": name, "namespace": trial.namespace, "labels": dict(MARK)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
