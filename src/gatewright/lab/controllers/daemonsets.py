"""The DaemonSet controller: one pod on every node that suits it, updated some nodes at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gatewright.lab.api.resources import BY_PLURAL, Tree
from gatewright.lab.apiclient.following import Change
from gatewright.lab.apiclient.working import Cluster
from gatewright.lab.controllers.fitting import (
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    suits,
    taints_of,
    untolerated,
)
from gatewright.lab.controllers.objects import (
    Key,
    available_in,
    created,
    deleting,
    is_true,
    key_of,
    labels_of,
    over,
    phase,
    ready,
    share,
    soonest,
    status_of,
)
from gatewright.lab.controllers.owning import BATCH, PODS, Owning, pod_of, without_zeros
from gatewright.lab.controllers.revisions import HASH, REVISIONS, Revisions, hash_label
from gatewright.lab.controllers.scheduler import NODES

DAEMON_SETS = BY_PLURAL["apps", "daemonsets"]
_PRESSURES = tuple(f"node.kubernetes.io/{what}-pressure" for what in ("disk", "memory", "pid"))
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(slots=True)
class Plan:
    """Nodes (by name) that are to get a pod, and pods that are to go."""

    create: list[str] = field(default_factory=list)
    delete: list[Tree] = field(default_factory=list)


def daemon_spec(spec: Tree, node: str = "") -> Tree:
    """A template's spec with the tolerations of daemons, bound to a node by its affinity where one is named.

    Daemons stay on nodes that are not ready, cannot be reached, are short of something or take no other pods
    (pkg/controller/daemon/util, AddOrUpdateDaemonPodTolerations).
    """
    more = [{"key": key, "operator": "Exists", "effect": "NoExecute"} for key in (NOT_READY, UNREACHABLE)]
    alone = [*_PRESSURES, UNSCHEDULABLE]
    if spec.get("hostNetwork"):
        alone.append("node.kubernetes.io/network-unavailable")
    more += [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in alone]
    given = spec.get("tolerations") or []
    made = {**spec, "tolerations": [*given, *(one for one in more if one not in given)]}
    if node:
        affinity = spec.get("affinity") or {}
        own = affinity.get("nodeAffinity") or {}
        here = [{"key": "metadata.name", "operator": "In", "values": [node]}]
        terms = (own.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
        bound = {"nodeSelectorTerms": [{**one, "matchFields": here} for one in terms]}
        made["affinity"] = {**affinity, "nodeAffinity": {**own, _REQUIRED: bound}}
    return made


def node_of(pod: Tree) -> str:
    """The node that a daemon's pod is on or is meant for."""
    spec = pod["spec"]
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for one in term.get("matchFields") or ():
            if one.get("key") == "metadata.name" and len(one.get("values") or ()) == 1:
                return str(spec.get("nodeName") or one["values"][0])
    return spec.get("nodeName") or ""


def belongs(owner: Tree, node: Tree) -> tuple[bool, bool]:
    """Whether a node is to have the daemon's pod, and whether one that is there may stay."""
    spec = daemon_spec(owner["spec"]["template"]["spec"])
    if spec.get("nodeName") not in (None, "", node["metadata"]["name"]) or not suits(spec, node):
        return False, False
    taints = taints_of(node)
    return untolerated(spec, taints) is None, untolerated(spec, taints, ("NoExecute",)) is None


def plan(owner: Tree, nodes: Sequence[Tree], pods: Mapping[str, Sequence[Tree]], update: str, now: float) -> Plan:
    """The next step, with pods by node and the hash of the newest revision."""
    step = Plan()
    homes = []
    for node in nodes:
        name = node["metadata"]["name"]
        here = list(pods.get(name, ()))
        starts, stays = belongs(owner, node)
        dead = [one for one in here if over(one)]
        living = [one for one in here if not over(one)]
        step.delete += [one for one in dead if not deleting(one)]
        if not stays:
            step.delete += [one for one in living if not deleting(one)]
        elif starts or living:
            homes.append(name)
            if not living and starts:
                step.create += [] if dead else [name]
    known = {node["metadata"]["name"] for node in nodes}
    step.delete += [one for name, here in pods.items() if name not in known for one in here if not deleting(one)]
    _roll(owner, {name: [one for one in pods.get(name, ()) if not over(one)] for name in homes}, update, now, step)
    return step


def _roll(owner: Tree, homes: Mapping[str, Sequence[Tree]], update: str, now: float, step: Plan) -> None:
    """Replace pods of older templates, and drop what is there twice."""
    strategy = owner["spec"].get("updateStrategy") or {}
    rolling = (
        (strategy.get("rollingUpdate") or {}) if strategy.get("type", "RollingUpdate") == "RollingUpdate" else None
    )
    surge = share(rolling.get("maxSurge", 0), len(homes), up=True) if rolling is not None else 0
    least = owner["spec"].get("minReadySeconds", 0)
    down, growing, old_ready = 0, 0, []
    for name in sorted(homes):
        here = sorted((one for one in homes[name] if not deleting(one)), key=lambda one: (created(one), key_of(one)))
        new = [one for one in here if labels_of(one).get(HASH) == update]
        old = [one for one in here if labels_of(one).get(HASH) != update]
        fine = any(available_in(one, least, now) == 0 for one in here)
        down += not fine
        step.delete += new[1:] + old[1:]
        if rolling is None:
            step.delete += old[:1] if new and old else []
            continue
        if new and old:
            growing += 1
            if available_in(new[0], least, now) == 0 or available_in(old[0], least, now) is None:
                step.delete.append(old[0])
        elif old and not fine:
            step.delete.append(old[0])
        elif old:
            old_ready.append((name, old[0]))
    if rolling is None:
        return
    if surge:
        step.create += [name for name, _ in old_ready[: max(0, surge - growing)]]
    else:
        room = max(1, share(rolling.get("maxUnavailable", 1), len(homes), up=True)) - down
        step.delete += [pod for _, pod in old_ready[: max(0, room)]]


class DaemonSets(Owning):
    """Keeps a pod on every node."""

    name = "daemonset-controller"
    resource = DAEMON_SETS
    resources = (DAEMON_SETS, REVISIONS, PODS, NODES)

    def __init__(self) -> None:
        super().__init__()
        self._revisions = Revisions(DAEMON_SETS)

    def other_keys(self, change: Change) -> Iterable[Key]:
        """Every DaemonSet, where a node comes, goes, or takes other pods than before."""
        if change.resource == REVISIONS:
            self._revisions.heard(change)
            return ()
        before, after = change.before, change.after
        if before is not None and after is not None and _what_counts(before) == _what_counts(after):
            return ()
        return self.everything()

    def make_so(self, cluster: Cluster, owner: Tree) -> float | None:
        """One step, then what is to be told."""
        known = self._revisions.known(cluster, owner)
        update = self._revisions.newest(cluster, owner, known)
        short = hash_label(update)
        nodes = sorted((one for one in cluster.follower.all(NODES) if not deleting(one)), key=key_of)
        pods: dict[str, list[Tree]] = {}
        for pod in self.claimed(cluster, owner):
            pods.setdefault(node_of(pod), []).append(pod)
        now = cluster.now()
        step = Plan() if deleting(owner) else plan(owner, nodes, pods, short, now)
        for pod in step.delete:
            if over(pod):
                said = f"Found failed daemon pod {'/'.join(key_of(pod))} on node {node_of(pod)}, will try to kill it"
                cluster.event(owner, "Warning", "FailedDaemonPod", said)
            self.remove_child(cluster, pod)
        for name in step.create[:BATCH]:
            template = {**owner["spec"]["template"], "spec": daemon_spec(owner["spec"]["template"]["spec"], name)}
            prefix = f"{owner['metadata']['name']}-"
            tree = pod_of(DAEMON_SETS, owner, template, generateName=prefix, labels={HASH: short})
            pods.setdefault(name, []).append(self.make_child(cluster, owner, tree))
        if not deleting(owner):
            hashes = {labels_of(one).get(HASH) for here in pods.values() for one in here}
            used = {one["metadata"]["name"] for one in known if hash_label(one) in hashes}
            self._revisions.forget(cluster, owner, known, {*used, update["metadata"]["name"]})
        wait = self.report(cluster, owner, status_from(owner, nodes, pods, short, now))
        least = owner["spec"].get("minReadySeconds", 0)
        soon = soonest(left for here in pods.values() for one in here if (left := available_in(one, least, now)))
        return soonest((wait, soon, 0.0 if len(step.create) > BATCH else None))


def _what_counts(node: Tree) -> tuple[object, ...]:
    return node.get("spec"), labels_of(node), is_true(node, "Ready"), deleting(node)


def status_from(
    owner: Tree, nodes: Sequence[Tree], pods: Mapping[str, Sequence[Tree]], update: str, now: float
) -> Tree:
    """What is told of a DaemonSet: counts of nodes."""
    least = owner["spec"].get("minReadySeconds", 0)
    counts = dict.fromkeys(("desired", "current", "misplaced", "ready", "available", "updated"), 0)
    for node in nodes:
        here = [one for one in pods.get(node["metadata"]["name"], ()) if not over(one) or phase(one) == "Failed"]
        staying = [one for one in here if not deleting(one)]
        if not belongs(owner, node)[0]:
            counts["misplaced"] += bool(here)
            continue
        counts["desired"] += 1
        counts["current"] += bool(here)
        counts["ready"] += any(map(ready, staying))
        counts["available"] += any(available_in(one, least, now) == 0 for one in staying)
        counts["updated"] += any(labels_of(one).get(HASH) == update for one in staying)
    return without_zeros(
        {
            "currentNumberScheduled": counts["current"],
            "numberMisscheduled": counts["misplaced"],
            "desiredNumberScheduled": counts["desired"],
            "numberReady": counts["ready"],
            "observedGeneration": owner["metadata"].get("generation", 0),
            "updatedNumberScheduled": counts["updated"],
            "numberAvailable": counts["available"],
            "numberUnavailable": counts["desired"] - counts["available"],
            "collisionCount": status_of(owner).get("collisionCount"),
        },
        *("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
    )
