"""What a Deployment tells of its rollout: counts, and the conditions that `kubectl rollout status` reads.

Pure, after k8s.io/kubernetes, pkg/controller/deployment/progress.go and sync.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.lab.api.resources import Tree
from gatewright.lab.controllers import rollouts
from gatewright.lab.controllers.objects import condition, seconds_of, stamp, status_of
from gatewright.lab.controllers.owning import without_zeros

COMPLETE = "NewReplicaSetAvailable"
_LATE = "ProgressDeadlineExceeded"
_NO_DEADLINE = 2**31 - 1


def status_from(owner: Tree, new: Tree | None, old: Sequence[Tree], now: float) -> Tree:
    """Counts, and whether enough pods are available."""
    sets = [*([new] if new else []), *old]
    available = sum(map(rollouts.available, sets))
    enough = available >= owner["spec"]["replicas"] - rollouts.limits(owner)[1]
    word, verb = ("Available", "has") if enough else ("Unavailable", "does not have")
    conditions = _set(
        status_of(owner).get("conditions") or [],
        {
            "type": "Available",
            "status": "True" if enough else "False",
            "reason": f"MinimumReplicas{word}",
            "message": f"Deployment {verb} minimum availability.",
        },
        now,
    )
    return without_zeros(
        {
            "observedGeneration": owner["metadata"].get("generation", 0),
            "replicas": _sum(sets, "replicas"),
            "updatedReplicas": _sum([new], "replicas") if new else 0,
            "readyReplicas": _sum(sets, "readyReplicas"),
            "availableReplicas": available,
            "unavailableReplicas": max(0, rollouts.total(sets) - available),
            "collisionCount": status_of(owner).get("collisionCount"),
            "conditions": conditions,
        }
    )


def _sum(sets: Sequence[Tree], count: str) -> int:
    return sum(status_of(one).get(count, 0) for one in sets)


def complete(owner: Tree, status: Tree) -> bool:
    """Whether all pods are of the present template and available, and no other is left."""
    wanted = owner["spec"]["replicas"]
    counts = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    return all(count == wanted for count in counts)


def progressed(
    owner: Tree, new: Tree | None, old: Sequence[Tree], status: Tree, now: float
) -> tuple[Tree, float | None]:
    """(the status with what it says of progress, seconds until the deadline for the next step)."""
    deadline = owner["spec"].get("progressDeadlineSeconds")
    conditions = status["conditions"]
    present = condition({"status": status}, "Progressing")
    look = None
    if deadline is None or deadline == _NO_DEADLINE:
        conditions = [one for one in conditions if one["type"] != "Progressing"]
    elif owner["spec"].get("paused") or (present and present.get("reason") == "DeploymentPaused"):
        conditions = _paused(owner, conditions, now)
    else:
        conditions, look = _progress(owner, new, status, deadline, now)
    failure = next((found for one in (new, *old) if one and (found := condition(one, "ReplicaFailure"))), None)
    conditions = [one for one in conditions if one["type"] != "ReplicaFailure"]
    if failure:
        about = {name: failure.get(name) for name in ("type", "status", "reason", "message")}
        before = [one for one in status["conditions"] if one["type"] == "ReplicaFailure"]
        conditions += _set(before, about, now)
    return {**status, "conditions": conditions}, look


def _paused(owner: Tree, conditions: list[Tree], now: float) -> list[Tree]:
    reason, said = ("Paused", "is paused") if owner["spec"].get("paused") else ("Resumed", "is resumed")
    new = {
        "type": "Progressing",
        "status": "Unknown",
        "reason": f"Deployment{reason}",
        "message": f"Deployment {said}",
    }
    present = next((one for one in conditions if one["type"] == "Progressing"), None)
    if present and present.get("reason") == COMPLETE and reason == "Paused":
        return conditions
    return _set(conditions, new, now)


def _progress(
    owner: Tree, new: Tree | None, status: Tree, deadline: int, now: float
) -> tuple[list[Tree], float | None]:
    conditions = status["conditions"]
    present = condition({"status": status}, "Progressing")
    subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{owner["metadata"]["name"]}"'
    before = status_of(owner)
    settled = bool(present) and present is not None and present.get("reason") == COMPLETE
    if settled and status.get("replicas", 0) == status.get("updatedReplicas", 0):
        return conditions, None
    if complete(owner, status):
        return _set(conditions, _condition("True", COMPLETE, f"{subject} has successfully progressed."), now), None
    if present is None and new is not None:
        reason = "FoundNewReplicaSet" if before.get("replicas") else "NewReplicaSetCreated"
        text = f'{"Found" if before.get("replicas") else "Created"} new replica set "{new["metadata"]["name"]}"'
        return _set(conditions, _condition("True", reason, text), now), deadline
    if present is None or _moved(before, status) or settled:
        step = _condition("True", "ReplicaSetUpdated", f"{subject} is progressing.")
        rest = [one for one in conditions if one["type"] != "Progressing"]
        since = present.get("lastTransitionTime") if present and present.get("status") == "True" else stamp(now)
        return [*rest, {**step, "lastUpdateTime": stamp(now), "lastTransitionTime": since}], deadline
    left = (seconds_of(present.get("lastUpdateTime")) or now) + deadline - now
    if present.get("reason") == _LATE or left < 0:
        return _set(conditions, _condition("False", _LATE, f"{subject} has timed out progressing."), now), None
    return conditions, left + 1


def _condition(status: str, reason: str, message: str) -> Tree:
    return {"type": "Progressing", "status": status, "reason": reason, "message": message}


def _moved(before: Tree, status: Tree) -> bool:
    """Whether anything was gained since what was told before."""

    def left(one: Tree) -> int:
        return int(one.get("replicas", 0) - one.get("updatedReplicas", 0))

    gained = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return left(status) < left(before) or any(status.get(name, 0) > before.get(name, 0) for name in gained)


def _set(conditions: Sequence[Tree], new: Tree, now: float) -> list[Tree]:
    """The conditions with a new one; one that says the same stays as it is, with its times."""
    for place, one in enumerate(conditions):
        if one["type"] == new["type"]:
            if (one.get("status"), one.get("reason")) == (new["status"], new["reason"]):
                return list(conditions)
            since = one.get("lastTransitionTime") if one.get("status") == new["status"] else stamp(now)
            made = {**new, "lastUpdateTime": stamp(now), "lastTransitionTime": since}
            return [*conditions[:place], made, *conditions[place + 1 :]]
    return [*conditions, {**new, "lastUpdateTime": stamp(now), "lastTransitionTime": stamp(now)}]
