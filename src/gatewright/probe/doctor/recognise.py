"""Which solutions a cluster has, and which of their pods stands on which node.

A DaemonSet is a solution's where its containers have images that are known. One that only has the solution's name or
labels claims to be it: what its image does, nobody here knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from gatewright.probe.doctor.evidence import DAEMONSETS, NODES, Evidence, Seen
from gatewright.probe.doctor.images import is_known
from gatewright.probe.doctor.solutions import Knowledge, Runs, Solution
from gatewright.probe.doctor.trees import (
    Tree,
    at,
    called,
    items,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    number,
    text,
)


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A solution that is there. `daemonset` is None for what runs as part of the nodes, or as pods of its own.

    `pods` are those of the DaemonSet, or of its own, by node; `blind` says why they could not be listed.
    """

    solution: Solution
    seen: tuple[Seen, ...]
    daemonset: Tree | None = None
    pods: dict[str, Tree] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()
    foreign: str = ""
    blind: str = ""

    @property
    def subject(self) -> str:
        """What people call it."""
        return called("DaemonSet", self.daemonset) if self.daemonset is not None else self.solution.title


@dataclass(frozen=True, slots=True)
class Stranger:
    """A DaemonSet that installs something for pods' networking and is not known."""

    seen: Seen


def claims(evidence: Evidence, known: Knowledge) -> tuple[list[Claim], list[Stranger]]:
    """Every solution that is there, and what is there and unknown."""
    found: list[Claim] = []
    strangers: list[Stranger] = []
    for daemonset in evidence.listed(DAEMONSETS):
        its = list(_of_daemonset(evidence, daemonset, known.solutions))
        found += its
        stranger = None if its else _stranger(daemonset, known.helpers)
        strangers += [stranger] if stranger else []
    taken = [claim.daemonset for claim in found if claim.daemonset is not None]
    for solution in known.solutions:
        found += _of_nodes(evidence, solution)
        found += _of_pods(evidence, solution, taken)
    found += _of_files(evidence, known.solutions, found)
    return found, strangers


def matches(solution: Solution, containers: Iterable[Tree]) -> bool:
    """Whether a pod with these containers is the solution's: every group that must be there is, no other is."""
    images = [text(one, "image") for one in containers]
    groups = solution.runs.containers.values()
    return bool(groups) and all(
        group.optional or any(is_known(image, group.images) for image in images) is not group.absent for group in groups
    )


def _containers(tree: Tree, *path: str) -> tuple[Tree, ...]:
    return items(tree, *path, "spec", "containers")


def _of_daemonset(evidence: Evidence, daemonset: Tree, solutions: Iterable[Solution]) -> Iterator[Claim]:
    containers = _containers(daemonset, "spec", "template")
    sure = [one for one in solutions if matches(one, containers)]
    sure = [one for one in sure if name_of(daemonset) in one.runs.names] or sure
    subject = called("DaemonSet", daemonset)
    images = ", ".join(text(one, "image") for one in containers)
    for solution in sure or [one for one in solutions if _claimed(one, daemonset)]:
        pods, blind = _pods(evidence, daemonset)
        foreign = "" if sure else f"{subject} looks like {solution.title}, but its images are not known ones: {images}"
        seen = (Seen(subject, "spec.template.spec.containers.image", images), *_spread(subject, daemonset))
        yield Claim(solution, seen, daemonset, pods, foreign=foreign, blind=blind)


def _spread(subject: str, daemonset: Tree) -> Iterator[Seen]:
    """Where a DaemonSet runs, as far as it says itself; each node is judged by its own pod."""
    selector = mapping(daemonset, "spec", "template", "spec", "nodeSelector")
    if selector:
        shown = ", ".join(f"{key}={value}" for key, value in selector.items())
        yield Seen(subject, "spec.template.spec.nodeSelector", shown)
    if status := mapping(daemonset, "status"):
        ready, updated = number(status, "numberReady"), number(status, "updatedNumberScheduled")
        counts = f"{ready} ready, {updated} updated of {number(status, 'desiredNumberScheduled')} desired"
        yield Seen(subject, "status", counts)


def _claimed(solution: Solution, daemonset: Tree) -> bool:
    labels = mapping(daemonset, "spec", "template", "metadata", "labels")
    wanted = solution.runs.labels
    named = name_of(daemonset) in solution.runs.names
    return named or (bool(wanted) and all(labels.get(key) == value for key, value in wanted.items()))


def _stranger(daemonset: Tree, helpers: tuple[str, ...]) -> Stranger | None:
    containers = _containers(daemonset, "spec", "template")
    if containers and all(is_known(text(one, "image"), helpers) for one in containers):
        return None
    for volume in items(daemonset, "spec", "template", "spec", "volumes"):
        path = text(volume, "hostPath", "path")
        if {"cni", "net.d"} & set(path.split("/")):
            where = f"spec.template.spec.volumes[{text(volume, 'name')}].hostPath.path"
            return Stranger(Seen(called("DaemonSet", daemonset), where, path))
    return None


def _selector(daemonset: Tree) -> str:
    """The DaemonSet's selector as a query."""
    selector = mapping(daemonset, "spec", "selector")
    parts = [f"{key}={value}" for key, value in mapping(selector, "matchLabels").items()]
    for one in items(selector, "matchExpressions"):
        key, operator = text(one, "key"), text(one, "operator")
        values = ",".join(str(value) for value in at(one, "values") or ())  # type: ignore[attr-defined]
        parts.append({
            "In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}",
        }.get(operator, key))  # fmt: skip
    return quote(",".join(sorted(parts)), safe="")


def _pods(evidence: Evidence, daemonset: Tree) -> tuple[dict[str, Tree], str]:
    """The DaemonSet's pods by node, and why they could not be listed."""
    path = f"/api/v1/namespaces/{namespace_of(daemonset)}/pods?labelSelector={_selector(daemonset)}"
    uid = text(daemonset, "metadata", "uid")
    owned = [pod for pod in evidence.listed(path) if not uid or _owner(pod) in (uid, "")]
    return _by_node(owned), "; ".join(evidence.blind(path))


def _owner(pod: Tree) -> str:
    return next((text(one, "uid") for one in items(pod, "metadata", "ownerReferences")), "")


def _of_any_daemonset(pod: Tree) -> bool:
    return any(text(one, "kind") == "DaemonSet" for one in items(pod, "metadata", "ownerReferences"))


def _by_node(pods: Iterable[Tree]) -> dict[str, Tree]:
    """One pod a node: a ready one before others, never one that is being deleted."""
    found: dict[str, Tree] = {}
    for pod in pods:
        node = text(pod, "spec", "nodeName")
        if node and not text(pod, "metadata", "deletionTimestamp") and not (node in found and is_ready(found[node])):
            found[node] = pod
    return found


def is_ready(tree: Tree) -> bool:
    """Whether a pod or a node says that it is ready."""
    return any(
        text(one, "type") == "Ready" and text(one, "status") == "True" for one in items(tree, "status", "conditions")
    )


def _of_nodes(evidence: Evidence, solution: Solution) -> Iterator[Claim]:
    runs = solution.runs
    if not (runs.kubelet_version or runs.runtime or runs.node_labels):
        return
    found: dict[str, Seen] = {}
    for node in evidence.listed(NODES):
        info = mapping(node, "status", "nodeInfo")
        subject = called("Node", node)
        kubelet, runtime = text(info, "kubeletVersion"), text(info, "containerRuntimeVersion")
        label = next((one for one in runs.node_labels if one in labels_of(node)), "")
        if runs.kubelet_version and runs.kubelet_version in kubelet:
            found[name_of(node)] = Seen(subject, "status.nodeInfo.kubeletVersion", kubelet)
        elif runs.runtime and runtime.startswith(runs.runtime):
            found[name_of(node)] = Seen(subject, "status.nodeInfo.containerRuntimeVersion", runtime)
        elif label:
            found[name_of(node)] = Seen(subject, f"metadata.labels[{label}]", text(labels_of(node), label))
    if found:
        yield Claim(solution, tuple(found.values()), nodes=frozenset(found))


def _of_pods(evidence: Evidence, solution: Solution, daemonsets: Iterable[Tree]) -> Iterator[Claim]:
    """Pods with the solution's labels that no DaemonSet made: static ones."""
    if not solution.runs.pod_labels:
        return
    query = quote(",".join(f"{key}={value}" for key, value in sorted(solution.runs.pod_labels.items())), safe="")
    path = f"/api/v1/pods?labelSelector={query}"
    uids = {text(one, "metadata", "uid") for one in daemonsets}
    own = [pod for pod in evidence.listed(path) if _owner(pod) not in uids and not _of_any_daemonset(pod)]
    own += [pod for pod in evidence.agents if matches(solution, _containers(pod))]
    blind = "; ".join(evidence.blind(path))
    if own or blind:
        seen = tuple(Seen(called("Pod", pod), "metadata.labels", query.replace("%3D", "=")) for pod in own)
        yield Claim(solution, seen, pods=_by_node(own), blind=blind)


def _of_files(evidence: Evidence, solutions: Iterable[Solution], found: Iterable[Claim]) -> Iterator[Claim]:
    """A network that leaves no object: by the CNI configuration that a node's runtime takes, which is the first."""
    kind = evidence.cni_files[0].types[:1] if evidence.cni_files else ()
    if not kind or any(kind[0] in claim.solution.cni for claim in found):
        return
    for solution in solutions:
        if solution.runs == Runs() and kind[0] in solution.cni:
            subject = f"Node {evidence.files_node}" if evidence.files_node else "a node's files"
            seen = (Seen(subject, evidence.cni_files[0].path, f"type {kind[0]}"),)
            yield Claim(solution, seen, nodes=frozenset({evidence.files_node} - {""}))
