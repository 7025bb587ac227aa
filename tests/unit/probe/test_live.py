"""Which connections a probe tries, what its stand-ins are, and what the program in a pod makes of what it meets."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.targets import UnknownTarget
from gatewright.objects.read import parse
from gatewright.probe.live import program, run, standins
from gatewright.probe.live.choose import NothingToProbe, Question, connections
from gatewright.probe.live.run import BATCH, How, Plan, _batches, _measured
from gatewright.sources.executing import LEFT, Place
from gatewright.sources.kubeconfig import Where
from tests.unit.probe.test_verify import tools

CLUSTER = """
kind: Pod
apiVersion: v1
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
kind: Pod
apiVersion: v1
metadata: {name: db, namespace: shop, labels: {app: db, tier: data}}
spec:
  nodeName: n2
  containers: [{name: c, image: i, ports: [{containerPort: 3306}, {containerPort: 7000, protocol: SCTP}]}]
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
kind: Pod
apiVersion: v1
metadata: {name: node-agent, namespace: shop}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 9100}]}]}
status: {phase: Running, podIPs: [{ip: 192.0.2.1}]}
---
kind: Pod
apiVersion: v1
metadata: {name: waiting, namespace: shop}
spec: {containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}
---
kind: Pod
apiVersion: v1
metadata: {name: dns, namespace: kube-system}
spec: {containers: [{name: c, image: i, ports: [{containerPort: 53, protocol: UDP}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.53}]}
---
kind: Service
apiVersion: v1
metadata: {name: db, namespace: shop}
spec:
  clusterIP: 10.96.0.7
  clusterIPs: [10.96.0.7, "fd00:96::7"]
  selector: {app: db}
  ports: [{port: 33, targetPort: 3306}]
---
kind: Service
apiVersion: v1
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 3306}]}
---
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: db, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 3306}]}]}
"""


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_snapshot(Snapshot.of(parse(CLUSTER, "cluster.yaml").require()))


def lines(found: Any) -> list[str]:
    return [f"{one.source} {one.destination} {one.address} {one.protocol}/{one.port} {one.predicted}" for one in found]


def test_pods_that_run_on_their_ports_by_address_and_through_services(compiled: Compiled) -> None:
    assert lines(connections(compiled, Question(), "default")) == [
        "shop/db shop/node-agent 192.0.2.1 TCP/9100 allowed",
        "shop/db shop/web-1 10.0.0.1 TCP/80 allowed",
        "shop/web-1 shop/db 10.0.0.2 SCTP/7000 denied",
        "shop/web-1 shop/db 10.0.0.2 TCP/3306 allowed",
        "shop/web-1 shop/node-agent 192.0.2.1 TCP/9100 allowed",
        "shop/web-1 shop/svc/db 10.96.0.7 TCP/33 allowed",
    ]


def test_what_is_asked_for(compiled: Compiled) -> None:
    def asked(**fields: Any) -> list[str]:
        return lines(connections(compiled, Question(**fields), "shop"))

    web_to_db = {"sources": ("web-1",), "destinations": ("app=db",)}
    assert asked(**web_to_db, ports=((Protocol.TCP, 22),), only_ports=True, services=False) == [
        "shop/web-1 shop/db 10.0.0.2 TCP/22 denied"
    ]
    assert len(asked(**web_to_db, ports=((Protocol.TCP, 22),), services=False)) == 3
    assert asked(**web_to_db, addresses=False, families=(6,)) == ["shop/web-1 shop/svc/db fd00:96::7 TCP/33 allowed"]
    assert asked(sources=("kube-system/dns",), destinations=("web-1",)) == [
        "kube-system/dns shop/web-1 10.0.0.1 TCP/80 allowed"
    ]
    assert asked(namespace="kube-system", ports=((Protocol.TCP, 1),), destinations=("shop/db",), services=False)


@pytest.mark.parametrize(
    ("question", "error", "says"),
    [
        (Question(sources=("nobody",)), UnknownTarget, "nobody"),
        (Question(sources=("waiting",)), NothingToProbe, "waiting: no pod of it runs"),
        (Question(sources=("node-agent",)), NothingToProbe, "no pod that runs is left"),
        (Question(namespace="empty"), NothingToProbe, "no pod that runs is left"),
        (Question(most=5), NothingToProbe, "6 connections, and at most 5 are tried"),
    ],
)
def test_questions_that_leave_nothing(compiled: Compiled, question: Question, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        connections(compiled, question, "shop")


def test_stand_ins_have_the_labels_and_the_node_and_nobody_adopts_them(compiled: Compiled) -> None:
    plan = Plan(compiled, connections(compiled, Question(), "shop"))
    [db, web] = standins.wanted(plan.sources, "1a2b")
    made = standins.pod(db, "busybox:1.37", "1a2b", "uid-1")
    kubernetes_validate.validate(dict(made), kubernetes_validate.latest_version(), strict=True)
    assert made["metadata"]["labels"] == {"app": "db", "tier": "data"}
    assert (made["spec"]["nodeName"], made["metadata"]["namespace"], web.path) == ("n2", "shop", "shop/web-1")
    [owner] = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"], owner["uid"]) == ("ConfigMap", True, "uid-1")
    assert owner["name"] == standins.keeper("1a2b", "shop")["metadata"]["name"]
    [container] = made["spec"]["containers"]
    assert container["readinessProbe"]["exec"]["command"] == ["false"]
    assert "ports" not in container


def test_programs_have_bounded_lists_of_one_source_each(compiled: Compiled) -> None:
    [one] = [each for each in connections(compiled, Question(), "shop") if each.port == 33]
    [other] = [each for each in connections(compiled, Question(), "shop") if each.port == 80]
    batches = list(_batches([one] * (2 * BATCH + 1) + [other]))
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 1, 1]


def test_sources_of_which_none_can_be_used_are_an_error(compiled: Compiled) -> None:
    plan = Plan(compiled, connections(compiled, Question(), "shop"))
    places: dict[str, Place | str] = {"shop/web-1": "its stand-in did not start: ErrImagePull", "shop/db": "gone"}
    with pytest.raises(
        NothingToProbe, match="nothing could be measured: its stand-in did not start: ErrImagePull; gone"
    ):
        _measured(Where(), plan, Question(), How(), places, lambda _: None)


def test_a_program_that_does_not_end_is_left(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LONGEST", -60.0)
    plan = Plan(compiled, connections(compiled, Question(), "shop"))

    class Silent:
        def run(self, place: Place, command: list[str], heard: Any, wanted: Callable[[], bool]) -> int:
            heard(b"0|open|0.1|\n")
            assert not wanted()
            return LEFT

    batch = plan.connections[:2]
    found = run._run(Silent(), Place("shop", "p", "c"), batch, Question(), threading.Event())  # type: ignore[arg-type]
    assert [one["result"] for one in found] == ["open", "unknown"]
    assert found[1]["detail"] == "the program in shop/p did not end in time"


# what the program says


@contextlib.contextmanager
def listener(kind: socket.SocketKind, *, answers: bool = False) -> Iterator[int]:
    with socket.socket(socket.AF_INET, kind) as made:
        made.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            made.listen(1000)
        else:
            made.settimeout(5)
            thread = threading.Thread(target=_answer, args=(made, answers), daemon=True)
            thread.start()
        yield made.getsockname()[1]


def _answer(made: socket.socket, answers: bool) -> None:
    with contextlib.suppress(OSError):
        while True:
            data, address = made.recvfrom(512)
            if answers:
                made.sendto(data, address)


def asked(*targets: tuple[str, str, int, bool], **options: Any) -> list[str]:
    command = program.command(targets, 0.3, 2)
    done = subprocess.run(command, capture_output=True, timeout=30, check=True, **options)
    return ["nothing" if one is None else one[0] for one in program.results(done.stdout, len(targets))]


def test_open_refused_and_silent_are_told_apart() -> None:
    with (
        listener(socket.SOCK_STREAM) as tcp,
        listener(socket.SOCK_DGRAM, answers=True) as answering,
        listener(socket.SOCK_DGRAM) as silent,
    ):
        said = asked(
            ("TCP", "127.0.0.1", tcp, False),
            ("TCP", "127.0.0.1", 1, False),
            ("UDP", "127.0.0.1", answering, False),
            ("UDP", "127.0.0.1", silent, False),
            ("UDP", "127.0.0.1", silent, True),
            ("UDP", "127.0.0.1", 1, False),
            ("TCP", "::1", 1, False),
        )
    assert said == ["open", "refused", "open", "unknown", "dropped", "refused", "refused"]


def test_hundreds_of_targets_at_once() -> None:
    with listener(socket.SOCK_STREAM) as tcp:
        said = asked(*[("TCP", "127.0.0.1", port, False) for port in (tcp, 1)] * 300)
    assert said == ["open", "refused"] * 300


def test_images_with_netcat_or_nothing(tmp_path: Path) -> None:
    nc = """case "$3:$4" in
10.0.0.1:80) exit 0;;
10.0.0.2:80) echo "nc: can't connect to remote host (10.0.0.2): Connection refused" >&2; exit 1;;
10.0.0.3:80) echo "nc: timed out" >&2; exit 1;;
10.0.0.4:80) exec sleep 60;;
10.0.0.5:80) echo "nc: can't connect to remote host (10.0.0.5): No route to host" >&2; exit 1;;
*) echo "nc: bad|address" >&2; exit 1;;
esac"""
    targets = [("TCP", f"10.0.0.{number}", 80, False) for number in range(1, 7)] + [("UDP", "10.0.0.1", 53, False)]
    said = asked(*targets, env=tools(tmp_path / "a", nc=nc))
    assert said == ["open", "refused", "dropped", "open", "rejected", "error", "unknown"]
    done = subprocess.run(
        program.command(targets, 0.3, 2), env=tools(tmp_path / "b"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, "neither python3 nor agnhost nor nc" in done.stderr) == (127, True)
    assert program.results(done.stdout.encode(), 2) == [None, None]


def test_results_that_are_no_results() -> None:
    assert program.results(b"0|open|0.25|\nrubbish\n7|open|1|\n1||\n\xff|open\n2|error|x|a|b\n", 3) == [
        ("open", 0.25, ""), None, ("error", 0.0, "a|b"),
    ]  # fmt: skip
