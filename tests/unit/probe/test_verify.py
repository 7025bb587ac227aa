"""What a verification creates, what it makes of what it hears, and which node it says leaks."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from gatewright.probe.doctor.answer import document
from gatewright.probe.doctor.solutions import State
from gatewright.probe.verify import judge, objects, programs
from gatewright.probe.verify.answer import Measured
from gatewright.probe.verify.objects import Pair, Trial, ring
from gatewright.probe.verify.paths import QUIET, Paths
from gatewright.probe.verify.paths import Path as Way
from gatewright.report.doctor import to_text
from tests.unit.probe.doctor_clusters import cases
from tests.unit.probe.test_doctor import DOCTOR

TRIAL = Trial("gatewright-doctor-1", "busybox:1.37", ("n1", "n2"), (Pair("n1", "n1"), Pair("n1", "n2")))


@pytest.mark.parametrize(
    ("count", "most", "nodes", "pairs"),
    [(1, 40, 1, 1), (2, 40, 2, 4), (3, 40, 3, 6), (100, 40, 20, 40), (5, 1, 1, 1), (5, 3, 1, 1), (0, 40, 0, 0)],
)
def test_each_node_with_itself_and_the_next_within_bounds(count: int, most: int, nodes: int, pairs: int) -> None:
    chosen, found = ring([f"n{number:03}" for number in range(count)], most)
    assert (len(chosen), len(found)) == (nodes, pairs)
    assert len(set(found)) == pairs
    assert {one.source for one in found} == {one.target for one in found} == set(chosen)


@pytest.mark.parametrize(
    "tree", list(objects.everything(TRIAL)), ids=lambda tree: f"{tree['kind']}-{tree['metadata']['name']}"
)
def test_what_is_created_is_what_the_api_knows(tree: Any) -> None:
    kubernetes_validate.validate(dict(tree), kubernetes_validate.latest_version(), strict=True)
    assert tree["metadata"]["labels"].items() >= objects.MARK.items()


def test_pods_have_least_rights() -> None:
    pods = list(objects.pods(TRIAL))
    assert [(one["metadata"]["name"], one["spec"]["nodeName"]) for one in pods] == [
        ("source-0", "n1"), ("target-0", "n1"), ("source-1", "n2"), ("target-1", "n2"),
    ]  # fmt: skip
    for pod in pods:
        spec = pod["spec"]
        [container] = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert not {"hostNetwork", "hostPID", "volumes"} & spec.keys()
        assert spec["activeDeadlineSeconds"] <= 600


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


NEAR, FAR = Way(Pair("n1", "n1"), "10.0.0.1"), Way(Pair("n1", "n2"), "fd00::2")
BY_ADDRESS = {one.address: one for one in (NEAR, FAR)}


def test_a_path_is_closed_once_attempts_fail_and_none_came_through_for_a_while() -> None:
    clock = Clock()
    paths = Paths(clock)
    paths.expect([NEAR, FAR])
    since = paths.mark()
    clock.now += 0.2
    paths.feed("n1", BY_ADDRESS, b"10.0.0.1 ok\nfd00::2 ok\n10.0.")
    assert paths.opened(since) == pytest.approx({NEAR: 0.2, FAR: 0.2})
    clock.now += 0.3
    paths.feed("n1", BY_ADDRESS, b"0.1 ok\n10.0.0.1 no\n10.0.0.1 refused\n")
    assert paths.closed(since) == {}
    clock.now += QUIET
    assert paths.closed(since) == pytest.approx({NEAR: 0.5})  # FAR: silence of the program is no closed path
    paths.feed("n1", BY_ADDRESS, b"10.0.0.1 ok\n9.9.9.9 ok\nrubbish\n\xff\n")
    assert paths.closed(since) == {}
    since = paths.mark()
    assert (paths.opened(since), paths.closed(since)) == ({}, {})


def test_a_path_that_never_came_through_since_is_closed_at_once() -> None:
    clock = Clock()
    paths = Paths(clock)
    paths.expect([NEAR])
    since = paths.mark()
    clock.now += QUIET
    paths.feed("n1", BY_ADDRESS, b"10.0.0.1 no\n")
    assert paths.closed(since) == {}
    paths.feed("n1", BY_ADDRESS, b"10.0.0.1 no\n")
    assert paths.closed(since) == {NEAR: 0.0}


def test_several_programs_may_be_heard_at_once() -> None:
    paths = Paths(Clock())
    paths.expect([NEAR, FAR])
    since = paths.mark()
    lines = b"10.0.0.1 no\n" * 5000
    threads = [threading.Thread(target=paths.feed, args=(f"n{n}", BY_ADDRESS, lines)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths.opened(since) == {}


def tried(ingress: dict[Way, float | None], egress: dict[Way, float | None], again: bool = True) -> list[Any]:
    found = []
    for direction, closed in (("Ingress", ingress), ("Egress", egress)):
        shut = {way: seconds for way, seconds in closed.items() if seconds is not None}
        found += judge.tried(
            direction, closed, dict.fromkeys(closed, 0.1), shut, dict.fromkeys(shut, 0.2) if again else {}
        )
    return found


NODES = {"n1": "", "n2": "", "n3": "not measured: the node is not ready"}


def test_a_leak_names_the_node_that_should_have_enforced() -> None:
    """Ingress is the target's node to enforce, egress the source's."""
    found = judge.nodes(tried({NEAR: 0.1, FAR: None}, {NEAR: 0.1, FAR: 0.3}), {"n1": "", "n2": ""})
    assert [(one.node, str(one.enforced)) for one in found] == [("n1", "yes"), ("n2", "no")]
    assert found[0].why == "closed within 0.30 s of the policy's creation, and opened again"
    assert found[1].why == "ingress from another node by IPv6: connections come through in spite of the policy"
    assert judge.whole(found)[0] is State.PARTLY
    found = judge.nodes(tried({NEAR: 0.1, FAR: 0.1}, {NEAR: None, FAR: None}), {"n1": "", "n2": ""})
    assert [str(one.enforced) for one in found] == ["partly", "yes"]
    assert "egress on the node by IPv4, egress to another node by IPv6" in found[0].why


def test_what_was_not_measured_is_no_yes() -> None:
    held = tried({NEAR: 0.1, FAR: 0.1}, {NEAR: 0.1, FAR: 0.1})
    assert judge.whole(judge.nodes(held, {"n1": "", "n2": ""}))[0] is State.YES
    assert judge.whole(judge.nodes(held, NODES))[0] is State.PARTLY
    assert judge.whole(judge.nodes([], {"n1": ""}))[0] is State.UNKNOWN
    assert judge.whole([])[0] is State.UNKNOWN
    leaks = tried({NEAR: None, FAR: None}, {NEAR: None, FAR: None})
    assert judge.whole(judge.nodes(leaks, {"n1": "", "n2": ""}))[0] is State.NO


def test_a_path_that_was_never_open_and_one_that_stays_closed_are_no_yes() -> None:
    never = judge.tried("Ingress", [NEAR], {}, {NEAR: 0.0}, {NEAR: 0.1})
    assert (never[0].result, never[0].note) == (State.UNKNOWN, judge.NOT_BEFORE)
    stays = tried({NEAR: 0.1}, {NEAR: 0.1}, again=False)
    assert [one.result for one in stays] == [State.PARTLY] * 2
    assert [one.enforced for one in judge.nodes(stays, {"n1": ""})] == [State.PARTLY]


def test_text_opens_with_packets_and_says_where_evidence_differs() -> None:
    [case] = [one for one in cases() if one.name == "kube-router: with its firewall"]
    found = tried({NEAR: None, FAR: None}, {NEAR: None, FAR: None})
    nodes = judge.nodes(found, {"n1": "", "n2": ""})
    measured = Measured(*judge.whole(nodes), nodes, tuple(found), 3.2)
    told = json.loads(json.dumps(document(case.cluster().answer(), measured)))
    jsonschema.validate(told, DOCTOR)
    text = to_text(told)
    assert text.startswith("enforced: no (by packets, in 3.2 s)\ncluster test does NOT enforce network policies: n1: ")
    assert "By evidence: yes, which packets do not bear out: kube-router's firewall runs" in text


# the programs


def tools(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment with some programs of this machine and these scripts, and no python3."""
    folder.mkdir()
    for name in ("sh", "date", "sleep", "tr", "head", "timeout", "cat", "env"):
        (folder / name).symlink_to(Path("/usr/bin") / name)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


def test_an_image_with_busybox_alone(tmp_path: Path) -> None:
    served = subprocess.run(
        programs.serve(), env=tools(tmp_path / "a", httpd='echo "httpd $*"'), capture_output=True, check=True
    )
    assert served.stdout == b"httpd -f -p 8080 -h /etc\n"
    wget = 'case "$*" in *--version*) exit 1;; *10.0.0.1:8080/hostname*|*"[fd00::2]:8080"*) exit 0;; *) exit 1;; esac'
    command = programs.connect(["10.0.0.1", "fd00::2", "10.0.0.3"], 1)
    done = subprocess.run(
        command, env=tools(tmp_path / "b", wget=wget), capture_output=True, text=True, timeout=20, check=True
    )
    assert set(done.stdout.splitlines()) == {"10.0.0.1 ok", "fd00::2 ok", "10.0.0.3 no"}


def test_an_image_that_lacks_everything_says_so(tmp_path: Path) -> None:
    done = subprocess.run(programs.serve(), env=tools(tmp_path / "a"), capture_output=True, text=True, check=False)
    assert (done.returncode, "neither python3 nor agnhost nor httpd" in done.stderr) == (1, True)


def test_an_image_with_python(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"]}
    server = subprocess.Popen(programs.serve(), env=environment)
    try:
        command = programs.connect(["127.0.0.1", "127.0.0.2"], 2)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True)
    finally:
        server.kill()
        server.wait()
    lines = done.stdout.splitlines()
    assert lines.count("127.0.0.1 ok") > 10
    assert {line.split()[0] for line in lines} == {"127.0.0.1", "127.0.0.2"}
