"""A small cluster on one node that changes at random: what it is, and one change after the other.

Few names, labels and ports, so that most changes matter to somebody. Beside the cluster stand marks: a pod, its
namespace and policies, which nobody sends to, so that a change of a mark changes nothing but the program. Whoever sees
a mark in the kernel knows that everything is taken in that was said of the mark's kind before.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace, name."""
Objects = dict[Key, Json]
Change = tuple[Key, Json | None]
"""An object and what becomes of it; None: it is deleted."""
NODE = "node-1"
POD, NAMESPACE, POLICY, CLUSTER = "Pod", "Namespace", "NetworkPolicy", "ClusterNetworkPolicy"
KINDS = (POD, NAMESPACE, POLICY, CLUSTER)
PORTS = (53, 80, 81)
APPS, TIERS, SPACES = ("web", "api", "db"), ("front", "back"), ("a", "b")
MARKS = "marks"
VERSIONS = {
    POD: "v1",
    NAMESPACE: "v1",
    POLICY: "networking.k8s.io/v1",
    CLUSTER: "policy.networking.k8s.io/v1alpha2",
}


def manifest(key: Key, fields: Json) -> Json:
    """The object as a manifest states it."""
    kind, namespace, name = key
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **fields.get("metadata", {})}
    return {"apiVersion": VERSIONS[kind], "kind": kind, **fields, "metadata": metadata}


@dataclass
class Changing:
    """The cluster as it is now. `pods` are the addresses of its pods, which are called p0 and so on."""

    pods: Sequence[tuple[str, ...]]
    chance: random.Random
    objects: Objects = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*SPACES, MARKS):
            self.objects[NAMESPACE, "", name] = {"metadata": {"labels": {"tier": TIERS[0]}}, "spec": {}, "status": {}}
        for number in range(len(self.pods)):
            self.objects[self.pod_key(number)] = self._pod(number)
        self.objects[POD, MARKS, "mark"] = _running(("10.77.9.9", "fd77::9:9"), {"bit": "0"})
        for kind in (POLICY, CLUSTER):
            self.objects |= dict([self._marked(kind, "0")])

    def pod_key(self, number: int) -> Key:
        """Half of the pods stand in each namespace."""
        return POD, SPACES[number * len(SPACES) // len(self.pods)], f"p{number}"

    def change(self) -> Change:
        """Change something at random."""
        make = self.chance.choices(
            (self._policy_put, self._gone, self._labelled, self._namespace_labelled, self._cluster_policy_put),
            (8, 4, 4, 2, 3),
        )[0]
        key, fields = make()
        if fields is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = fields
        return key, fields

    def mark(self, kind: str) -> Change:
        """Change the mark of a kind."""
        key, now = {POD: (POD, MARKS, "mark"), NAMESPACE: (NAMESPACE, "", MARKS)}.get(kind, (kind, "", "")), "1"
        if kind in (POD, NAMESPACE):
            labels = self.objects[key]["metadata"]["labels"]
            now = "1" if labels.get("bit") != "1" else "0"
            fields = {**self.objects[key], "metadata": {"labels": {**labels, "bit": now}}}
        else:
            key, fields = self._marked(kind, "0")
            if self.objects[key] == fields:
                key, fields = self._marked(kind, "1")
        self.objects[key] = fields
        return key, fields

    def _marked(self, kind: str, bit: str) -> tuple[Key, Json]:
        """The policy that shows every mark in the program."""
        if kind == CLUSTER:
            deny = {"action": "Deny", "to": [{"networks": [f"192.0.2.{bit}/32"]}]}
            subject = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": MARKS}}}
            spec: Json = {"tier": "Admin", "priority": 1, "subject": subject, "egress": [deny]}
            return (CLUSTER, "", "mark"), {"spec": spec}
        marked = {"matchLabels": {"bit": "1"}}
        rules = [
            {"from": [{"podSelector": marked}], "ports": [_udp(1)]},
            {"from": [{"namespaceSelector": marked, "podSelector": {}}], "ports": [_udp(2)]},
            {"ports": [_udp(3 + int(bit))]},
        ]
        return (POLICY, MARKS, "mark"), {"spec": {"podSelector": {}, "ingress": rules}}

    # --- random objects -------------------------------------------------------------------------------------------

    def _pod(self, number: int) -> Json:
        return _running(self.pods[number], {"app": self.chance.choice(APPS)})

    def _labelled(self) -> Change:
        number = self.chance.randrange(len(self.pods))
        return self.pod_key(number), self._pod(number)

    def _namespace_labelled(self) -> Change:
        key = (NAMESPACE, "", self.chance.choice(SPACES))
        return key, {"metadata": {"labels": {"tier": self.chance.choice(TIERS)}}, "spec": {}, "status": {}}

    def _gone(self) -> Change:
        policies = [key for key in self.objects if key[0] in (POLICY, CLUSTER) and key[2] != "mark"]
        return (self.chance.choice(policies), None) if policies else self._labelled()

    def _policy_put(self) -> Change:
        chance = self.chance
        key = (POLICY, chance.choice(SPACES), f"policy-{chance.randrange(3)}")
        sides = chance.choice((("ingress",), ("ingress",), ("egress",), ("ingress", "egress")))
        spec: Json = {"podSelector": chance.choice(({}, self._app(), self._app()))}
        spec["policyTypes"] = [side.capitalize() for side in sides]
        for side in sides:
            spec[side] = [self._rule("from" if side == "ingress" else "to") for _ in range(chance.randrange(4))]
        return key, {"spec": spec}

    def _rule(self, side: str) -> Json:
        rule: Json = {}
        if self.chance.random() < 0.9:
            rule[side] = [self._peer() for _ in range(self.chance.randint(1, 2))]
        if self.chance.random() < 0.6:
            ports = (_udp(53), _udp(80), _udp("dns"), {**_udp(80), "endPort": 81}, {"port": 80}, {"protocol": "UDP"})
            rule["ports"] = self.chance.sample(ports, self.chance.randint(1, 2))
        return rule

    def _peer(self) -> Json:
        chance = self.chance
        kind = chance.randrange(4)
        if kind == 0:
            return {"podSelector": self._app()}
        if kind == 1:
            return {"namespaceSelector": {"matchLabels": {"tier": chance.choice(TIERS)}}}
        if kind == 2:
            return {"namespaceSelector": {}, "podSelector": self._app()}
        blocks = (
            {"cidr": "10.77.0.0/29", "except": ["10.77.0.2/32", "10.77.0.4/31"]},
            {"cidr": "0.0.0.0/0", "except": [f"10.77.0.{chance.randint(1, 6)}/32"]},
            {"cidr": "::/0", "except": ["fd77::4/126"]},
            {"cidr": f"fd77::{chance.randint(1, 6)}/127"},
        )
        return {"ipBlock": chance.choice(blocks)}

    def _app(self) -> Json:
        return {"matchLabels": {"app": self.chance.choice(APPS)}}

    def _cluster_policy_put(self) -> Change:
        chance = self.chance
        subject = {"namespaces": {"matchLabels": {"tier": chance.choice(TIERS)}}}
        spec: Json = {"tier": chance.choice(("Admin", "Baseline")), "priority": chance.randrange(2, 9)}
        side, peer = chance.choice((("ingress", "from"), ("egress", "to")))
        spec |= {"subject": subject, side: [self._cluster_rule(peer) for _ in range(chance.randint(1, 2))]}
        return (CLUSTER, "", f"cluster-{chance.randrange(2)}"), {"spec": spec}

    def _cluster_rule(self, side: str) -> Json:
        pods = {"pods": {"namespaceSelector": {}, "podSelector": self._app()}}
        rule: Json = {"action": self.chance.choice(("Accept", "Deny", "Pass")), side: [pods]}
        if self.chance.random() < 0.5:
            rule["protocols"] = [{"udp": {"destinationPort": {"number": self.chance.choice(PORTS)}}}]
        return rule


def _udp(port: int | str) -> Json:
    return {"protocol": "UDP", "port": port}


def _running(addresses: tuple[str, ...], labels: Json) -> Json:
    named = [{"containerPort": 53, "name": "dns", "protocol": "UDP"}]
    status = {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses]}
    spec = {"nodeName": NODE, "containers": [{"name": "c", "image": "i", "ports": named}]}
    return {"metadata": {"labels": labels}, "spec": spec, "status": status}
