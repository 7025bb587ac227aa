"""Clusters for the doctor's tests: objects in the shape of the solutions' public manifests, and an API that has them.

A file of `doctor/` holds the objects of one solution (`base`) and cases that change them. Every DaemonSet has a ready
pod on every node, unless the case says otherwise (`pods`: node to `absent`, `not ready`, or changes of its pod).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from gatewright.probe.doctor.answer import Answer
from gatewright.probe.doctor.collect import gather
from gatewright.probe.doctor.evidence import CniFile, Evidence, Reply
from gatewright.probe.doctor.solutions import knowledge

Json = dict[str, Any]
FOLDER = Path(__file__).with_name("doctor")
PLURALS = {
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Pod": ("/api/v1", "pods"),
    "Node": ("/api/v1", "nodes"),
    "CiliumNodeConfig": ("/apis/cilium.io/v2", "ciliumnodeconfigs"),
}


@dataclass
class Cluster:
    """Objects, served API groups and resources, CNI files of a node, and what is refused: path to status."""

    objects: list[Json]
    groups: list[str] = field(default_factory=list)
    served: dict[str, list[str]] = field(default_factory=dict)
    files: list[Json] = field(default_factory=list)
    binaries: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def get(self, path: str) -> Reply:
        """The answer to a request, as an API server gives it."""
        self.asked.append(path)
        if path in self.refused:
            return Reply(self.refused[path], said="no such right")
        if path == "/apis":
            return Reply(200, {"groups": [{"name": name} for name in self.groups]})
        if path.removeprefix("/apis/") in self.served:
            return Reply(200, {"resources": [{"name": name} for name in self.served[path.removeprefix("/apis/")]]})
        parts = urlsplit(path)
        query = parse_qs(parts.query).get("labelSelector", [""])[0]
        for kind, (root, plural) in PLURALS.items():
            if parts.path.startswith(f"{root}/") and plural in parts.path.split("/"):
                return self._objects(kind, plural, parts.path, query)
        return Reply(404)

    def _objects(self, kind: str, plural: str, path: str, query: str) -> Reply:
        words = path.split("/")
        namespace = words[words.index("namespaces") + 1] if "namespaces" in words else None
        having = [
            one
            for one in self.objects
            if one["kind"] == kind and (namespace is None or one["metadata"].get("namespace") == namespace)
        ]
        if words[-1] != plural:
            return next((Reply(200, one) for one in having if one["metadata"]["name"] == words[-1]), Reply(404))
        wanted = dict(part.split("=", 1) for part in query.split(",") if "=" in part)
        items = [one for one in having if wanted.items() <= one["metadata"].get("labels", {}).items()]
        return Reply(200, {"items": items})

    def answer(self) -> Answer:
        """What the doctor says."""
        files = tuple(CniFile(one["path"], tuple(one["types"])) for one in self.files)
        return gather(
            self.get, Evidence(cni_files=files, cni_binaries=tuple(self.binaries)), knowledge(), "cluster test"
        )


@dataclass
class Case:
    """A case of a file: its name, its cluster, and what is expected of the answer."""

    name: str
    cluster: Callable[[], Cluster]
    expected: Json


def node(name: str, *, ready: bool = True, **more: Any) -> Json:
    """A node as a kubelet registers it."""
    info = {"kubeletVersion": "v1.33.1", "containerRuntimeVersion": "containerd://2.0.5", "operatingSystem": "linux"}
    made: Json = {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {"nodeInfo": info, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }
    for path, value in more.items():
        put(made, path, value)
    return made


def pod_of(daemonset: Json, node_name: str, *, ready: bool = True) -> Json:
    """The pod that the controller makes for a node."""
    template = copy.deepcopy(daemonset["spec"]["template"])
    name = daemonset["metadata"]["name"]
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-{node_name}",
            "namespace": daemonset["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{"kind": "DaemonSet", "name": name, "uid": daemonset["metadata"].get("uid", "")}],
        },
        "spec": {**template["spec"], "nodeName": node_name},
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def put(tree: Any, path: str, value: Any) -> None:
    """Set what stands at `a/b/0/c`; None takes it away, `+` in place of a number appends."""
    *parents, last = path.split("/")
    value = copy.deepcopy(value)
    for part in parents:
        tree = tree[int(part)] if isinstance(tree, list) else tree.setdefault(part, {})
    if isinstance(tree, list):
        if last == "+":
            tree.append(value)
        elif value is None:
            del tree[int(last)]
        else:
            tree[int(last)] = value
    elif value is None:
        tree.pop(last, None)
    else:
        tree[last] = value


def build(base: Json, case: Json) -> Cluster:
    """The cluster of a case."""
    objects: list[Json] = copy.deepcopy([*base.get("objects", []), *case.get("objects", [])])
    for name, changes in case.get("change", {}).items():
        [subject] = [one for one in objects if f"{one['kind']}/{one['metadata']['name']}" == name]
        if changes is None:
            objects.remove(subject)
            continue
        for path, value in changes.items():
            put(subject, path, value)
    both: Json = {"nodes": {"n1": {}, "n2": {}}, "groups": [], "served": {}, **base, **case}
    nodes = both["nodes"]
    made = [node(name, **(more or {})) for name, more in nodes.items()]
    pods = [
        pod
        for daemonset in objects
        if daemonset["kind"] == "DaemonSet"
        for pod in _pods(daemonset, list(nodes), case.get("pods", {}).get(daemonset["metadata"]["name"], {}))
    ]
    return Cluster(
        [*objects, *made, *pods],
        groups=both["groups"],
        served=both["served"],
        files=case.get("files", []),
        binaries=case.get("binaries", []),
        refused=dict(case.get("refused", {})),
    )


def _pods(daemonset: Json, nodes: list[str], said: Mapping[str, Any]) -> Iterator[Json]:
    for name in nodes:
        state = said.get(name, "ready")
        if state == "absent":
            continue
        pod = pod_of(daemonset, name, ready=state != "not ready")
        for path, value in state.items() if isinstance(state, dict) else ():
            put(pod, path, value)
        yield pod


def cases() -> list[Case]:
    """Every case of every file."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        for case in content["cases"]:
            name = f"{file.stem}: {case['name']}"
            found.append(Case(name, lambda base=content["base"], one=case: build(base, one), case["expect"]))  # type: ignore[misc]
    return found
