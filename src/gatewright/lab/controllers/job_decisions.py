"""What a Job wants next: how many pods, of which indexes, when to try again, whether it is over. Pure.

After k8s.io/kubernetes, pkg/controller/job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatewright.lab.api.resources import Tree
from gatewright.lab.controllers.objects import (
    annotations_of,
    deleting,
    over,
    phase,
    seconds_of,
    status_of,
    uid_of,
)
from gatewright.lab.controllers.owning import without_zeros

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 600.0
"""Seconds before a pod is made again after its first failure, and at most."""

Verdict = tuple[str, str, str]
"""Complete or Failed, reason, message."""


def indexed(owner: Tree) -> bool:
    """Whether each pod has an index of its own to complete."""
    return bool(owner["spec"].get("completionMode") == "Indexed")


def ended(pod: Tree) -> bool:
    """Whether a pod's end is to be counted: it ran to its end, or is deleted before."""
    return over(pod) or deleting(pod)


def index_of(pod: Tree) -> int | None:
    """The index that a pod completes."""
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isascii() and text.isdigit() else None


def indexes_from(text: str) -> set[int]:
    """The numbers that a text such as `0-2,5` holds."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def indexes_text(numbers: Iterable[int]) -> str:
    """Numbers as a text such as `0-2,5`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def completed(owner: Tree) -> set[int]:
    """The indexes that are done."""
    return indexes_from(status_of(owner).get("completedIndexes", ""))


def counted(owner: Tree, finished: Iterable[Tree]) -> Tree:
    """The status with these ends counted and named as not yet settled; what is named already is not counted again.

    Of an index only the first success counts.
    """
    status = status_of(owner)
    open_ends = status.get("uncountedTerminatedPods") or {}
    named = {*open_ends.get("succeeded", ()), *open_ends.get("failed", ())}
    done, width = completed(owner), owner["spec"].get("completions") or 0
    succeeded, failed = list(open_ends.get("succeeded", ())), list(open_ends.get("failed", ()))
    counts = {"succeeded": status.get("succeeded", 0), "failed": status.get("failed", 0)}
    for pod in finished:
        if uid_of(pod) in named:
            continue
        if phase(pod) == "Succeeded":
            succeeded.append(uid_of(pod))
            if indexed(owner):
                number = index_of(pod)
                if number is not None and number < width:
                    done.add(number)
            else:
                counts["succeeded"] += 1
        else:
            failed.append(uid_of(pod))
            counts["failed"] += 1
    if indexed(owner):
        counts["succeeded"] = len(done)
    made = {**status, **counts, "uncountedTerminatedPods": without_zeros({"succeeded": succeeded, "failed": failed})}
    if indexed(owner):
        made["completedIndexes"] = indexes_text(done)
    return without_zeros({name: value for name, value in made.items() if value != ""}, "ready")


def settled(owner: Tree) -> Tree:
    """The status when the finalizers of all counted pods are gone."""
    return {name: value for name, value in status_of(owner).items() if name != "uncountedTerminatedPods"}


def outcome(owner: Tree, pods: Sequence[Tree], now: float) -> Verdict | None:
    """How the Job has ended, None where it has not."""
    spec, status = owner["spec"], status_of(owner)
    begun, limit = seconds_of(status.get("startTime")), spec.get("activeDeadlineSeconds")
    if limit is not None and begun is not None and not spec.get("suspend") and now >= begun + limit:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    if _failures(owner, pods) > spec.get("backoffLimit", 6):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    wanted, succeeded = spec.get("completions"), status.get("succeeded", 0)
    running = any(not ended(one) for one in pods)
    enough = bool(succeeded) and not running if wanted is None else succeeded >= wanted
    return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if enough else None


def _failures(owner: Tree, pods: Iterable[Tree]) -> int:
    """Failed pods; with restartPolicy OnFailure also the restarts of those that run."""
    count: int = status_of(owner).get("failed", 0)
    if owner["spec"]["template"]["spec"].get("restartPolicy") == "OnFailure":
        for pod in pods:
            if not over(pod):
                states = status_of(pod).get("containerStatuses") or ()
                count += sum(one.get("restartCount", 0) for one in states)
    return count


def wanted_now(owner: Tree, running: Sequence[Tree]) -> int:
    """How many pods are to run now."""
    spec, succeeded = owner["spec"], status_of(owner).get("succeeded", 0)
    if spec.get("suspend"):
        return 0
    parallel, wanted = int(spec.get("parallelism", 1)), spec.get("completions")
    if wanted is None:
        return min(parallel, len(running)) if succeeded else parallel
    return max(0, min(parallel, int(wanted) - int(succeeded)))


def indexes_to_make(owner: Tree, running: Iterable[Tree], count: int) -> list[int | None]:
    """What the next pods complete: the lowest free indexes, or nothing in particular."""
    if not indexed(owner):
        return [None] * count
    taken = {index_of(one) for one in running} | completed(owner)
    free = (number for number in range(owner["spec"].get("completions") or 0) if number not in taken)
    return [number for number, _ in zip(free, range(count), strict=False)]


def retry_in(pods: Iterable[Tree], now: float) -> float | None:
    """Seconds until a pod may be made after the last ones failed; None: at once.

    The wait doubles with every failure that no success came after.
    """
    ends = sorted((_end_of(one), phase(one) == "Succeeded") for one in pods if over(one))
    failures = 0
    for _, fine in reversed(ends):
        if fine:
            break
        failures += 1
    if not failures:
        return None
    left = ends[-1][0] + min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (failures - 1)) - now
    return left if left > 0 else None


def _end_of(pod: Tree) -> float:
    """When a pod ended: as its containers say, else when it was last ready or made."""
    times = [
        at
        for one in status_of(pod).get("containerStatuses") or ()
        if (at := seconds_of(((one.get("state") or {}).get("terminated") or {}).get("finishedAt"))) is not None
    ]
    conditions = (seconds_of(one.get("lastTransitionTime")) for one in status_of(pod).get("conditions") or ())
    return max(times, default=max((one for one in conditions if one is not None), default=0.0))
