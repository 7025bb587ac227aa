"""The doctor in labs, by evidence and by packets: enforcing, flat, one agent stopped, interrupted at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.endpoint import kubectl
from tests.packets.labs import Lab, lab_of

pytestmark = [pytest.mark.packets, pytest.mark.timeout(180)]
Json = dict[str, Any]


@contextlib.contextmanager
def three_nodes(user: str, network: str) -> Iterator[Lab]:
    with lab_of(user) as lab:
        lab.run("up", "--nodes", "3", "--network", network, "--no-kubeconfig", timeout=100)
        yield lab


@pytest.fixture(scope="module", params=["root", "user"])
def enforcing(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with three_nodes(request.param, "enforcing") as lab:
        yield lab


def started(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    config = str(lab.directory / "kubeconfig")
    command = [*lab.words, "doctor", "--kubeconfig", config, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=lab.environment, stdout=pipe, stderr=pipe, text=True)


def doctor(lab: Lab, *arguments: str) -> tuple[int, Json]:
    process = started(lab, *arguments, "-o", "json")
    out, err = process.communicate(timeout=120)
    assert not err, err
    return process.returncode, json.loads(out)


def verified(lab: Lab, *arguments: str) -> tuple[int, Json]:
    code, answer = doctor(lab, "--verify", "--yes", *arguments)
    return code, answer["measured"]


def states(nodes: list[Json]) -> dict[str, str]:
    return {one["node"]: one["enforced"] for one in nodes}


def left(lab: Lab) -> str:
    config = lab.files / "config"
    config.write_text((lab.directory / "kubeconfig").read_text())
    return kubectl(config, "get", "ns", "-l", "gatewright.io/doctor", "-o", "name")


def agent_of(lab: Lab, number: int) -> int:
    """The process of a node's agent, as this machine counts: they were started in the nodes' order."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == lab.pid and (process / "comm").read_text().strip() == "lab-agent":
                found.append(int(process.name))
    return sorted(found)[number - 1]


def test_a_lab_that_enforces_is_a_yes_by_evidence_and_by_packets(enforcing: Lab) -> None:
    code, answer = doctor(enforcing)
    assert (code, answer["enforced"]) == (0, "yes"), answer["why"]
    assert states(answer["nodes"]) == {"node-1": "yes", "node-2": "yes", "node-3": "yes"}
    code, measured = verified(enforcing)
    assert (code, measured["enforced"]) == (0, "yes"), measured["why"]
    assert {(one["source"], one["target"]) for one in measured["tried"]} == {
        ("node-1", "node-1"), ("node-2", "node-2"), ("node-3", "node-3"),
        ("node-1", "node-2"), ("node-2", "node-3"), ("node-3", "node-1"),
    }  # fmt: skip
    families = {4, 6} if any(":" in one for one in enforcing.status()["podCIDRs"]) else {4}
    assert {(one["direction"], one["family"]) for one in measured["tried"]} == {
        (direction, family) for direction in ("Ingress", "Egress") for family in families
    }
    assert all(0 <= one["closedAfter"] < 10 and 0 <= one["openedAfter"] < 10 for one in measured["tried"])
    assert left(enforcing) == ""


def test_the_node_whose_agent_is_stopped_is_named(enforcing: Lab) -> None:
    agent = agent_of(enforcing, 2)
    os.kill(agent, signal.SIGSTOP)
    try:
        code, answer = doctor(enforcing)
        assert (code, answer["enforced"]) == (1, "partly"), answer["why"]
        assert states(answer["nodes"]) == {"node-1": "yes", "node-2": "unknown", "node-3": "yes"}
        assert "not on node-2" in answer["why"]
        code, measured = verified(enforcing, "--within", "3")
    finally:
        os.kill(agent, signal.SIGCONT)
    assert (code, measured["enforced"]) == (1, "partly"), measured["why"]
    assert states(measured["nodes"]) == {"node-1": "yes", "node-2": "no", "node-3": "yes"}
    leaks = {(one["direction"], one["source"], one["target"]) for one in measured["tried"] if one["result"] != "yes"}
    assert leaks == {
        ("Ingress", "node-2", "node-2"), ("Ingress", "node-1", "node-2"),
        ("Egress", "node-2", "node-2"), ("Egress", "node-2", "node-3"),
    }  # fmt: skip
    assert left(enforcing) == ""


def underway(lab: Lab, after: float) -> subprocess.Popen[str]:
    """A verification whose namespace has been there for some seconds."""
    process = started(lab, "--verify", "--yes")
    deadline = time.monotonic() + 30
    while not left(lab) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(after)
    return process


@pytest.mark.parametrize(("number", "after"), [(signal.SIGTERM, 0), (signal.SIGINT, 0.7), (signal.SIGTERM, 2.0)])
def test_an_interrupted_run_removes_what_it_made(enforcing: Lab, number: signal.Signals, after: float) -> None:
    process = underway(enforcing, after)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "interrupted" in err) == (130, True), err
    assert left(enforcing) == ""


@pytest.mark.parametrize("after", [0, 1.5])
def test_what_a_killed_run_left_the_next_one_removes(enforcing: Lab, after: float) -> None:
    process = underway(enforcing, after)
    process.kill()
    process.communicate()
    assert "gatewright-doctor-" in left(enforcing)
    code, measured = verified(enforcing)
    assert (code, measured["enforced"]) == (0, "yes"), measured["why"]
    assert left(enforcing) == ""


def test_nothing_is_created_without_a_yes(enforcing: Lab) -> None:
    process = started(enforcing, "--verify")
    _, err = process.communicate("n\n", timeout=30)
    assert process.returncode == 130
    assert "6 pods (busybox:1.37) and 4 policies in a new namespace gatewright-doctor-" in err
    process = started(enforcing, "--verify", "--dry-run")
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out.count("kind: Pod\n"), out.count("kind: NetworkPolicy\n")) == (0, 6, 4)
    assert left(enforcing) == ""


def test_nodes_beyond_the_bound_are_not_measured(enforcing: Lab) -> None:
    code, measured = verified(enforcing, "--max-pairs", "2")
    assert (code, measured["enforced"]) == (1, "partly")
    assert [one["why"] for one in measured["nodes"][1:]] == ["not measured: more nodes than --max-pairs allows for"] * 2


def test_a_flat_lab_is_a_no_by_evidence_and_by_packets() -> None:
    with three_nodes("root", "flat") as lab:
        code, answer = doctor(lab)
        assert (code, answer["enforced"]) == (1, "no"), answer["why"]
        code, measured = verified(lab, "--within", "2")
        assert (code, measured["enforced"]) == (1, "no"), measured["why"]
        assert states(measured["nodes"]) == dict.fromkeys(("node-1", "node-2", "node-3"), "no")
        assert left(lab) == ""
