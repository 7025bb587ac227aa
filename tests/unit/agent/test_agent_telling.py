"""The agent's log, its status as text, its port and its socket."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from gatewright.agent import client
from gatewright.agent.flows import Flows
from gatewright.agent.http import CannotListen, HttpServer, Sources
from gatewright.agent.log import AGAIN, LOGGER, Troubles, set_up
from gatewright.agent.run import problems, unenforced
from gatewright.agent.status import AgentStatus, Conntrack, Programmed, State, Watched
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import Problem
from gatewright.kernel.conntrack import TableUse
from gatewright.kernel.node import NodeProgram
from gatewright.report.agent import status_text
from gatewright.sources.watch import KindStatus
from tests.unit.agent.clusters import NODE, made, pod
from tests.unit.agent.test_agent_flows import FLOW

STATUS = AgentStatus(
    node="node-1",
    version="0.1.0",
    mode="enforcing",
    state=State.IN_STEP,
    since="2026-11-26T10:00:00Z",
    behind=0.0,
    started="2026-11-26T09:59:59Z",
    programmed=Programmed(
        pods=1, classes=2, elements=3, policies=1, transactions=4, last_change="x", last_seconds=0.001
    ),
    watched=(Watched("Pod", True, True, "2026-11-26T10:00:00Z", 3, 0, 1),),
    conntrack=Conntrack(5, 100, 0),
)


def test_trouble_is_logged_when_it_begins_again_after_long_and_when_it_is_over() -> None:
    stream, now = io.StringIO(), [0.0]
    set_up("text", stream=stream)
    troubles = Troubles(lambda: now[0])
    for at in (0.0, 1.0, AGAIN - 1, AGAIN, AGAIN + 1):
        now[0] = at
        troubles.begin("watch", "no connection")
    troubles.begin("watch", "another thing")
    assert troubles.lines == ("watch: another thing",)
    troubles.end("watch")
    troubles.end("watch")
    assert [line.partition("Z ")[2] for line in stream.getvalue().splitlines()] == [
        "error: watch: no connection",
        "error: watch: no connection",
        "error: watch: another thing",
        "info: watch: well again",
    ]


def test_the_log_can_be_json() -> None:
    stream = io.StringIO()
    set_up("json", stream=stream)
    LOGGER.info("a line with “quotes”")
    assert json.loads(stream.getvalue())["message"] == "a line with “quotes”"


def test_the_status_reads_as_text() -> None:
    lines = status_text(msgspec.to_builtins(STATUS)).splitlines()
    assert lines[0] == "Node node-1: in step, since 2026-11-26T10:00:00Z; enforcing"
    assert lines[1] == "In the kernel: 1 pod restricted by 1 policy, 2 classes, 3 elements"
    assert "4 transactions" in lines[2]
    assert lines[3] == "Connections tracked: 5 of 100"
    assert lines[-1].split()[:4] == ["Pod", "3", "yes", "yes"]


def test_behind_and_problems_are_said() -> None:
    worse = msgspec.structs.replace(STATUS, state=State.FAILING, behind=12.3, problems=("packet filter: no",))
    text = status_text(msgspec.to_builtins(worse))
    assert text.startswith("Node node-1: failing, 12.3 s behind, since")
    assert text.endswith("Problem: packet filter: no")


def test_what_is_wrong_is_said_one_line_each() -> None:
    unwell = KindStatus(
        "Pod", False, False, False, 0.0, None, "", 0, 0, 3, "no connection", (Problem("", "Pod a/b: x"),), False
    )
    full = TableUse(100, 100, 7, 0, 0)
    lost = "the kernel drops new connections (7 packets so far)"
    assert list(problems(("Pod", "Node"), (unwell,), full)) == [
        "not listed yet: Pod, Node",
        "Pod: no connection",
        "Pod a/b: x",
        f"connection tracking is full: {lost}; raise net.netfilter.nf_conntrack_max",
    ]
    assert list(problems((), (), TableUse(99, 100, 0, 0, 0))) == []


def test_a_rule_for_domain_names_is_said_not_to_be_enforced() -> None:
    names = made(
        {
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": "names"},
            "spec": {
                "tier": "Admin",
                "priority": 1,
                "subject": {"namespaces": {}},
                "egress": [{"action": "Accept", "to": [{"domainNames": ["*.example.com"]}]}],
            },
        }
    )
    compiled = compile_snapshot(Snapshot.of([pod("p0", "10.0.0.1"), names]), subjects=lambda one: one.node == NODE)
    program, _ = NodeProgram.of(compiled)
    assert unenforced(program.classes) == [
        "ClusterNetworkPolicy names: *.example.com: domainNames are not enforced by the agent: the rule matches nothing"
    ]


class Served:
    """A server whose answers a test sets."""

    def __init__(self, folder: Path) -> None:
        self.status, self.alive, self.flows = STATUS, True, Flows()
        self.socket = folder / "agent.sock"
        self.server = HttpServer(Sources(lambda: self.status, lambda: self.alive, CollectorRegistry(), self.flows))
        self.port = self.server.listen_on_port("127.0.0.1:0")
        self.server.listen_on_socket(self.socket)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.server.close()


READY = {State.IN_STEP: 200, State.STALE: 200, State.STARTING: 503, State.FAILING: 503}


@pytest.mark.parametrize(("state", "code"), READY.items())
def test_the_node_is_ready_while_it_is_policed(served: Served, state: State, code: int) -> None:
    served.status = msgspec.structs.replace(STATUS, state=state)
    assert served.get("/readyz") == (code, f"{state.value}\n")


def test_the_loop_that_does_not_turn_is_not_healthy(served: Served) -> None:
    assert served.get("/healthz")[0] == 200
    served.alive = False
    assert served.get("/healthz")[0] == 503


def test_the_port_tells_nobody_who_talks_to_whom(served: Served) -> None:
    served.flows.tell(FLOW)
    assert served.get("/flows")[0] == 404
    assert served.get("/status")[0] == 404
    assert client.status(served.socket)["node"] == "node-1"
    assert [one["pod"] for _, one in client.flows(served.socket, client.Wanted(), follow=False)] == ["shop/p1"]
    assert served.socket.stat().st_mode & 0o777 == 0o600


def test_a_flood_of_connections_takes_no_more_than_some(served: Served) -> None:
    idle = [socket.create_connection(("127.0.0.1", served.port), 5) for _ in range(100)]
    closed = 0
    for one in idle:
        one.settimeout(0.05)
        try:
            closed += one.recv(1) == b""
        except TimeoutError:
            pass
        finally:
            one.close()
    assert closed >= 60
    assert served.get("/healthz")[0] == 200


def test_a_stale_socket_is_taken_over_and_a_live_one_is_not(served: Served, tmp_path: Path) -> None:
    other = HttpServer(Sources(lambda: STATUS, lambda: True, CollectorRegistry(), Flows()))
    with pytest.raises(CannotListen, match="another agent answers there"):
        other.listen_on_socket(served.socket)
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    other.listen_on_socket(stale)
    assert client.status(stale)["node"] == "node-1"
    other.close()
    assert not stale.exists()


@pytest.mark.parametrize("place", ["nonsense", "127.0.0.1:99999", "203.0.113.7:0"])
def test_a_place_where_one_cannot_listen_is_one_line(served: Served, place: str) -> None:
    with pytest.raises(CannotListen) as raised:
        served.server.listen_on_port(place)
    assert "give another one with --metrics-address" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_an_agent_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(client.NoAgent, match="is it running on this node, and are you root"):
        client.status(tmp_path / "none.sock")
