"""How a Deployment's replicas are divided among its ReplicaSets at each step of a rollout.

Pure, after k8s.io/kubernetes, pkg/controller/deployment: a step gives sizes by the uid of the ReplicaSet, so that the
number of pods never exceeds replicas + maxSurge, and the number available never falls below replicas - maxUnavailable
by the rollout's own doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gatewright.lab.api.resources import Tree
from gatewright.lab.controllers.objects import annotations_of, bare, created, deleting, share, status_of, uid_of

PREFIX = "deployment.kubernetes.io/"
REVISION, HISTORY = f"{PREFIX}revision", f"{PREFIX}revision-history"
DESIRED, LARGEST = f"{PREFIX}desired-replicas", f"{PREFIX}max-replicas"
HASH = "pod-template-hash"

Sizes = dict[str, int]
"""New sizes, by uid; what is not named keeps its size."""


def limits(deployment: Tree) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: never both zero, and none for a Deployment that is not rolling."""
    strategy, replicas = deployment["spec"].get("strategy") or {}, deployment["spec"]["replicas"]
    if strategy.get("type") == "Recreate":
        return 0, 0
    rolling = strategy.get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1
    return surge, min(unavailable, replicas)


def replicas_of(one: Tree) -> int:
    """How many pods a ReplicaSet is to have."""
    count: int = one["spec"].get("replicas", 0)
    return count


def available(one: Tree) -> int:
    """How many of its pods are available."""
    count: int = status_of(one).get("availableReplicas", 0)
    return count


def total(sets: Iterable[Tree]) -> int:
    """How many pods some ReplicaSets are to have together."""
    return sum(map(replicas_of, sets))


def number(one: Tree, annotation: str) -> int:
    """A number that an annotation holds; 0 where it holds none."""
    text = annotations_of(one).get(annotation, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def without_hash(template: Tree) -> Tree:
    """A template as its Deployment has it, in a form in which equal ones are equal however they were written."""
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    plain: Tree = bare({**template, "metadata": {**metadata, "labels": labels}})
    return plain


def newest(deployment: Tree, sets: Iterable[Tree]) -> Tree | None:
    """The ReplicaSet of the Deployment's template; the oldest where there are several."""
    wanted = without_hash(deployment["spec"]["template"])
    same = [one for one in sets if without_hash(one["spec"]["template"]) == wanted]
    return min(same, key=_age, default=None)


def _age(one: Tree) -> tuple[float, str]:
    return created(one), one["metadata"]["name"]


def grown(deployment: Tree, new: int, everything: int) -> int:
    """To what size the new ReplicaSet may grow (or shrinks), when it has `new` pods and all have `everything`."""
    wanted: int = deployment["spec"]["replicas"]
    if new >= wanted or (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return wanted
    room = wanted + limits(deployment)[0] - everything
    return new + max(0, min(room, wanted - new))


def shrunk(deployment: Tree, new: Tree | None, old: Sequence[Tree]) -> Sizes:
    """The sizes of old ReplicaSets after a step: what is unhealthy goes first, the rest while enough are available."""
    every = [*old, *([new] if new else [])]
    least = deployment["spec"]["replicas"] - limits(deployment)[1]
    unavailable = replicas_of(new) - available(new) if new else 0
    room = total(every) - least - unavailable
    sizes: Sizes = {}
    if room <= 0 or not total(old):
        return sizes
    ordered = sorted(old, key=_age)
    cleaned = 0
    for one in ordered:
        sick = min(room - cleaned, replicas_of(one) - available(one))
        if sick > 0:
            sizes[uid_of(one)] = replicas_of(one) - sick
            cleaned += sick
    spare = sum(map(available, every)) - least
    for one in ordered:
        size = sizes.get(uid_of(one), replicas_of(one))
        less = min(size, spare)
        if less > 0:
            sizes[uid_of(one)] = size - less
            spare -= less
    return sizes


def is_scaled(deployment: Tree, sets: Iterable[Tree]) -> bool:
    """Whether the Deployment's replicas have changed since its ReplicaSets were given theirs."""
    wanted = deployment["spec"]["replicas"]
    return any(DESIRED in annotations_of(one) and number(one, DESIRED) != wanted for one in sets if replicas_of(one))


def scaled(deployment: Tree, new: Tree | None, old: Sequence[Tree]) -> Sizes:
    """The sizes after the Deployment's replicas changed: in proportion where a rollout is under way."""
    wanted: int = deployment["spec"]["replicas"]
    every = [*([new] if new else []), *old]
    growing = [one for one in every if replicas_of(one)]
    if len(growing) <= 1:
        one = growing[0] if growing else new or max(old, key=_age, default=None)
        return {} if one is None or replicas_of(one) == wanted else {uid_of(one): wanted}
    if new is not None and replicas_of(new) == number(new, DESIRED) == available(new) == wanted:
        return {uid_of(one): 0 for one in old if replicas_of(one)}
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return {}
    return _proportional(deployment, growing)


def _proportional(deployment: Tree, growing: list[Tree]) -> Sizes:
    wanted, surge = deployment["spec"]["replicas"], limits(deployment)[0]
    allowed = wanted + surge if wanted else 0
    more = allowed - total(growing)
    sign = -1 if more > 0 else 1  # of equals, the newest grow first, and the oldest shrink first
    ordered = sorted(growing, key=lambda one: (-replicas_of(one), sign * created(one), one["metadata"]["name"]))
    sizes: Sizes = {}
    added = 0
    for one in ordered:
        size = replicas_of(one)
        largest = number(one, LARGEST) or status_of(deployment).get("replicas") or total(growing)
        part = (_rounded(size * (wanted + surge), largest) if wanted else 0) - size
        left = more - added
        part = min(part, left) if more > 0 else max(part, left)
        sizes[uid_of(one)] = max(0, size + (part if more else 0))
        added += part if more else 0
    first = uid_of(ordered[0])
    sizes[first] = max(0, sizes[first] + more - added)
    return {uid: size for uid, size in sizes.items() if size != replicas_of(_by_uid(growing)[uid])}


def _by_uid(sets: Iterable[Tree]) -> Mapping[str, Tree]:
    return {uid_of(one): one for one in sets}


def _rounded(dividend: int, divisor: int) -> int:
    return (2 * dividend + divisor) // (2 * divisor)


def history_to_drop(deployment: Tree, old: Iterable[Tree]) -> list[Tree]:
    """Old ReplicaSets beyond revisionHistoryLimit, that have no pods and that their controller has looked at."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    standing = sorted((one for one in old if not deleting(one)), key=lambda one: (number(one, REVISION), *_age(one)))
    if limit is None or len(standing) <= limit:
        return []
    return [
        one
        for one in standing[: len(standing) - limit]
        if not replicas_of(one)
        and not status_of(one).get("replicas")
        and one["metadata"].get("generation", 0) <= status_of(one).get("observedGeneration", 0)
    ]
