"""A generator of clusters of any size, for benchmarks: seeded, so that every run measures the same objects.

Two shapes are taken from the world: `COMPANY` is a published production cluster (13,678 policies on 5,413 pods; the
median policy selects 6 pods and has one CIDR or one selector of 2 pods; the largest peer has 3,578 pods), `LARGEST` the
size that Kubernetes' own scale tests stop at (100,000 pods, 1,000 namespaces, 10,000 policies).
"""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass
from typing import Any

import msgspec
import yaml

from gatewright.objects.core import Container, ContainerPort, Namespace, Pod, PodIP, PodSpec, PodStatus
from gatewright.objects.meta import Json, LabelSelector, LabelSelectorRequirement, Object, ObjectMeta
from gatewright.objects.policy import (
    IPBlock,
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicyPort,
    NetworkPolicySpec,
)

POD_NETWORK = int(ipaddress.ip_address("10.0.0.0"))
NODE_PODS = 110


@dataclass(frozen=True)
class Shape:
    """How large a cluster is, and what its policies are made of (shares from 0 to 1)."""

    pods: int
    namespaces: int
    policies: int
    pods_per_app: int = 6
    cidr_share: float = 0.4
    expression_share: float = 0.2
    range_share: float = 0.1
    egress_share: float = 0.3
    namespace_peer_share: float = 0.1
    wide_peers: int = 0
    seed: int = 1


SMALL = Shape(pods=1_000, namespaces=20, policies=200)
NODE_OF_10K = Shape(pods=10_000, namespaces=100, policies=1_000)
COMPANY = Shape(pods=5_413, namespaces=60, policies=13_678, pods_per_app=2, wide_peers=3)
LARGEST = Shape(pods=100_000, namespaces=1_000, policies=10_000)
SHAPES = {"small": SMALL, "10k": NODE_OF_10K, "company": COMPANY, "largest": LARGEST}


def objects(shape: Shape) -> list[Object]:
    """Namespaces, pods with addresses and nodes, and policies."""
    chance = random.Random(shape.seed)
    names = [f"ns-{i:04}" for i in range(shape.namespaces)]
    made: list[Object] = [_namespace(name, i) for i, name in enumerate(names)]
    per_namespace = -(-shape.pods // shape.namespaces)
    apps = max(1, per_namespace // shape.pods_per_app)
    made += [_pod(i, names[i // per_namespace], i % per_namespace % apps) for i in range(shape.pods)]
    wide = {chance.randrange(shape.policies) for _ in range(shape.wide_peers)}
    made += [_policy(i, chance.choice(names), apps, shape, chance, i in wide) for i in range(shape.policies)]
    return made


def manifests(shape: Shape, *, workloads: bool = False) -> str:
    """The cluster as a stream of YAML documents, as other programs read it.

    With `workloads`, the pods of each app are one Deployment, as people write them; their addresses are then unknown.
    """
    documents = [document(item) for item in objects(shape)]
    if workloads:
        documents = _with_deployments(documents)
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False)


def document(item: Object) -> Json:
    """The object in JSON's terms, without its empty fields; no cluster of this module means anything by one."""
    return {key: value for key, value in _full(msgspec.to_builtins(item)).items() if key != "(origin)"}


def _full(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: kept for key, each in value.items() if (kept := _full(each))}
    return [_full(each) for each in value] if isinstance(value, list | tuple) else value


def _with_deployments(documents: list[Json]) -> list[Json]:
    """A Deployment in the place of the first of the pods that share namespace and app; the other documents as are."""
    made: list[Json] = []
    deployments: dict[tuple[str, str], Json] = {}
    for document in documents:
        if document["kind"] != "Pod":
            made.append(document)
            continue
        namespace, labels = document["metadata"]["namespace"], document["metadata"]["labels"]
        place = namespace, labels["app"]
        if place not in deployments:
            deployments[place] = _deployment(*place, labels, {"containers": document["spec"]["containers"]})
            made.append(deployments[place])
        deployments[place]["spec"]["replicas"] += 1
    return made


def _deployment(namespace: str, app: str, labels: dict[str, str], pod: Json) -> Json:
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": app}}, "template": template}
    metadata = {"name": app, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _namespace(name: str, number: int) -> Namespace:
    labels = {"team": f"team-{number % 10}", "env": ("prod", "test", "dev")[number % 3]}
    return Namespace(api_version="v1", kind="Namespace", metadata=ObjectMeta(name=name, labels=labels))


def _pod(number: int, namespace: str, app: int) -> Pod:
    address = str(ipaddress.ip_address(POD_NETWORK + number + 1))
    labels = {"app": f"app-{app}", "tier": ("front", "middle", "back")[app % 3], "release": "stable"}
    ports = (ContainerPort(container_port=8080, name="http"), ContainerPort(container_port=9090, name="metrics"))
    return Pod(
        api_version="v1",
        kind="Pod",
        metadata=ObjectMeta(name=f"pod-{number:06}", namespace=namespace, labels=labels),
        spec=PodSpec(containers=(Container(name="main", image="app", ports=ports),), node_name=_node(number)),
        status=PodStatus(phase="Running", pod_ip=address, pod_ips=(PodIP(ip=address),)),
    )


def _node(number: int) -> str:
    return f"node-{number // NODE_PODS:04}"


def _policy(number: int, namespace: str, apps: int, shape: Shape, chance: random.Random, wide: bool) -> NetworkPolicy:
    peers = (_peer(apps, shape, chance, wide),)
    ports = (_port(shape, chance),)
    egress = chance.random() < shape.egress_share
    spec = NetworkPolicySpec(
        pod_selector=LabelSelector(match_labels={"app": f"app-{chance.randrange(apps)}"}),
        policy_types=("Egress",) if egress else ("Ingress",),
        ingress=() if egress else (NetworkPolicyIngressRule(ports=ports, from_=peers),),
        egress=(NetworkPolicyEgressRule(ports=ports, to=peers),) if egress else (),
    )
    metadata = ObjectMeta(name=f"policy-{number:05}", namespace=namespace)
    return NetworkPolicy(api_version="networking.k8s.io/v1", kind="NetworkPolicy", metadata=metadata, spec=spec)


def _peer(apps: int, shape: Shape, chance: random.Random, wide: bool) -> NetworkPolicyPeer:
    if wide:
        selector = LabelSelector(match_expressions=(_expression("env", "In", "prod", "test"),))
        return NetworkPolicyPeer(namespace_selector=selector)
    dice = chance.random()
    if dice < shape.cidr_share:
        network = ipaddress.ip_network((chance.getrandbits(32), chance.choice((16, 20, 24, 32))), strict=False)
        return NetworkPolicyPeer(ip_block=IPBlock(cidr=str(network)))
    app = f"app-{chance.randrange(apps)}"
    if dice < shape.cidr_share + shape.expression_share:
        pods = LabelSelector(match_expressions=(_expression("app", "In", app, f"app-{chance.randrange(apps)}"),))
    else:
        pods = LabelSelector(match_labels={"app": app})
    if chance.random() < shape.namespace_peer_share:
        team = LabelSelector(match_labels={"team": f"team-{chance.randrange(10)}"})
        return NetworkPolicyPeer(pod_selector=pods, namespace_selector=team)
    return NetworkPolicyPeer(pod_selector=pods)


def _expression(key: str, operator: str, *values: str) -> LabelSelectorRequirement:
    return LabelSelectorRequirement(key=key, operator=operator, values=values)


def _port(shape: Shape, chance: random.Random) -> NetworkPolicyPort:
    if chance.random() < shape.range_share:
        first = chance.randrange(1024, 60000)
        return NetworkPolicyPort(protocol="TCP", port=first, end_port=first + chance.randrange(1, 1000))
    return NetworkPolicyPort(protocol="TCP", port=chance.choice((80, 443, 5432, 8080, 9090, "http")))
