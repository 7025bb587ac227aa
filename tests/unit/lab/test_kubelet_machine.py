"""What a kubelet does next with a pod: every step of the state machine as a case."""

from __future__ import annotations

import random

import pytest

from gatewright.lab.kubelet.machine import (
    FIRST_BACK_OFF,
    LONGEST_BACK_OFF,
    Decision,
    Run,
    View,
    back_off,
    back_off_after,
    decide,
    initialized,
)
from gatewright.lab.kubelet.podspec import PodSpec, read_pod

NOW = 100.0
UP = Run(0, True, 1.0)
DONE = Run(0, False, 1.0, 2.0, 0)
FAILED = Run(0, False, 1.0, 2.0, 1)


def pod(policy: str = "Always", mains: str = "c", inits: str = "") -> PodSpec:
    """A pod; of `inits`, those in capitals are sidecars."""
    initial = [{"name": one, **({"restartPolicy": "Always"} if one.isupper() else {})} for one in inits]
    spec = {"restartPolicy": policy, "containers": [{"name": one} for one in mains], "initContainers": initial}
    return read_pod({"metadata": {"uid": "u", "name": "p", "namespace": "n"}, "spec": spec})


CASES: dict[str, tuple[View, Decision]] = {
    "all containers start side by side": (View(pod(mains="ab"), {}), Decision(start=("a", "b"))),
    "what runs is left alone": (View(pod(mains="ab"), {"a": UP, "b": UP}), Decision()),
    "what is being started is left alone": (View(pod(), {}, busy=frozenset("c")), Decision()),
    "the first init container starts alone": (View(pod(inits="ij"), {}), Decision(start=("i",))),
    "the second starts when the first is done": (View(pod(inits="ij"), {"i": DONE}), Decision(start=("j",))),
    "nothing starts while an init container runs": (View(pod(inits="ij"), {"i": UP}), Decision()),
    "containers start when init containers are done": (
        View(pod(inits="ij"), {"i": DONE, "j": DONE}),
        Decision(start=("c",)),
    ),
    "a failed init container waits for its back-off": (
        View(pod(inits="i"), {"i": FAILED}, due={"i": NOW + 3}),
        Decision(again=NOW + 3),
    ),
    "a failed init container starts again": (
        View(pod(inits="i"), {"i": FAILED}, due={"i": NOW}),
        Decision(start=("i",)),
    ),
    "a failed init container ends a pod that never restarts": (
        View(pod("Never", inits="i"), {"i": FAILED}),
        Decision(over=True),
    ),
    "a failed init container is run again on failure": (
        View(pod("OnFailure", inits="i"), {"i": FAILED}),
        Decision(start=("i",)),
    ),
    "init containers are not run again when a container restarts": (
        View(pod(inits="i"), {"i": DONE, "c": FAILED}),
        Decision(start=("c",)),
    ),
    "a lost init container does not hold up a pod that has begun": (View(pod(inits="i"), {"c": UP}), Decision()),
    "what was done in a sandbox before does not stand for init containers": (
        View(pod("OnFailure", "ab", "i"), {"a": DONE}, done=frozenset("a")),
        Decision(start=("i",)),
    ),
    "what was done in a sandbox before is not run again": (
        View(pod("OnFailure", "ab", "i"), {"a": DONE, "i": DONE}, done=frozenset("a")),
        Decision(start=("b",)),
    ),
    "a sidecar has to have started before the next": (View(pod(inits="Si"), {"S": UP}), Decision()),
    "behind a started sidecar the next init container starts": (
        View(pod(inits="Si"), {"S": UP}, started=frozenset("S")),
        Decision(start=("i",)),
    ),
    "a sidecar that ended starts again beside an init container": (
        View(pod(inits="Si"), {"S": DONE, "i": UP}),
        Decision(start=("S",)),
    ),
    "a sidecar starts again beside containers, whatever the policy": (
        View(pod("Never", inits="S"), {"S": FAILED, "c": UP}),
        Decision(start=("S",)),
    ),
    "a container that ended well starts again (Always)": (View(pod(), {"c": DONE}), Decision(start=("c",))),
    "a container that ended well is done (OnFailure)": (View(pod("OnFailure"), {"c": DONE}), Decision(over=True)),
    "a container that failed starts again (OnFailure)": (
        View(pod("OnFailure"), {"c": FAILED}),
        Decision(start=("c",)),
    ),
    "a container that failed is done (Never)": (View(pod("Never"), {"c": FAILED}), Decision(over=True)),
    "one container is done, the other runs": (View(pod("Never", "ab"), {"a": DONE, "b": UP}), Decision()),
    "sidecars end when the containers have": (
        View(pod("Never", inits="ST"), {"S": UP, "T": UP, "c": DONE}),
        Decision(stop=("T",)),
    ),
    "the first sidecar ends last": (
        View(pod("Never", inits="ST"), {"S": UP, "T": DONE, "c": DONE}),
        Decision(stop=("S",)),
    ),
    "the pod is over when its sidecars have ended": (
        View(pod("Never", inits="S"), {"S": FAILED, "c": DONE}),
        Decision(over=True),
    ),
    "at the end containers stop side by side, sidecars not yet": (
        View(pod(mains="ab", inits="S"), {"S": UP, "a": UP, "b": UP}, ending=True),
        Decision(stop=("a", "b")),
    ),
    "what is being stopped is not stopped again": (
        View(pod(mains="ab"), {"a": UP, "b": UP}, busy=frozenset("a"), ending=True),
        Decision(stop=("b",)),
    ),
    "sidecars wait for containers that are being stopped": (
        View(pod(inits="S"), {"S": UP, "c": UP}, busy=frozenset("c"), ending=True),
        Decision(),
    ),
    "a pod that ends starts nothing": (View(pod(mains="ab"), {"a": FAILED}, ending=True), Decision(over=True)),
    "a pod that ends waits for what is being started": (
        View(pod(), {}, busy=frozenset("c"), ending=True),
        Decision(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_decisions(name: str) -> None:
    view, wanted = CASES[name]
    assert decide(view, NOW) == wanted


def test_of_two_that_wait_the_first_says_when_to_look_again() -> None:
    view = View(pod(mains="ab"), {"a": FAILED, "b": FAILED}, due={"a": NOW + 9, "b": NOW + 4})
    assert decide(view, NOW).again == NOW + 4


def test_a_pod_without_init_containers_is_initialized() -> None:
    assert initialized(View(pod(), {}))
    assert not initialized(View(pod(inits="i"), {"i": FAILED}))


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_long_run() -> None:
    waits, wait = [], 0.0
    for _ in range(7):
        wait = back_off(wait, 0.1)
        waits.append(wait)
    assert waits == [1, 2, 4, 8, 16, LONGEST_BACK_OFF, LONGEST_BACK_OFF]
    assert back_off(wait, 61) == FIRST_BACK_OFF


def test_a_new_kubelet_works_out_the_wait_from_the_restarts() -> None:
    assert [back_off_after(restarts) for restarts in (0, 1, 2, 50)] == [0, 2, 4, LONGEST_BACK_OFF]


@pytest.mark.parametrize("seed", range(200))
def test_whatever_ends_when_the_order_of_the_start_holds(seed: int) -> None:
    chance = random.Random(seed)
    spec = pod(chance.choice(("Always", "OnFailure", "Never")), "ab", chance.choice(("", "i", "ij", "iSj", "Si")))
    runs: dict[str, Run] = {}
    started: frozenset[str] = frozenset()
    for _ in range(60):
        view = View(spec, runs, started, ending=chance.random() < 0.02)
        decision = decide(view, NOW)
        assert not (decision.start and decision.over)
        for name in decision.start:
            assert name not in runs or not runs[name].running
            kind = spec.part(name).kind
            before = spec.parts[: [part.name for part in spec.parts].index(name)]
            if kind == "main" and not any(part.kind == "main" and part.name in runs for part in spec.parts):
                assert all(runs[part.name].code == 0 for part in before if part.kind == "init")
            runs[name] = Run(runs[name].number + 1 if name in runs else 0, True, 1.0)
        for name in decision.stop:
            runs[name] = Run(runs[name].number, False, 1.0, 2.0, 143)
        if decision.over:
            assert not any(run.running for run in runs.values())
            return
        running = [name for name, run in runs.items() if run.running]
        if running and chance.random() < 0.7:
            name = chance.choice(running)
            runs[name] = Run(runs[name].number, False, 1.0, 2.0, chance.choice((0, 0, 1)))
        started = frozenset(name for name in running if runs[name].running and chance.random() < 0.8)
