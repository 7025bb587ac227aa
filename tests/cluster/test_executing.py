"""Programs in containers through an API server, as the doctor and the probe run them: a WebSocket of our own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.sources.changing import Changer, Refused
from gatewright.sources.executing import CannotExecute, Executor
from gatewright.sources.executing import Place as Container
from gatewright.sources.kubeconfig import ClusterUnavailable, Where
from tests.cluster.endpoint import Endpoint, endpoint
from tests.cluster.kubelets import Node, create_pod, kubelet
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving

pytestmark = [pytest.mark.cluster]
ONE = Container("default", "one", "c")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with endpoint(tmp_path_factory.mktemp("executing")) as found:
        yield found


@pytest.fixture(scope="module")
def node(api: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with kubelet(api, tmp_path_factory.mktemp("node")) as found:
        found.pod("one", {"c": ["sleep", "600"]})
        yield found


@pytest.fixture
def executor(node: Node) -> Executor:
    return Executor(Where(str(node.api.kubeconfig)))


def run(executor: Executor, *command: str, place: Container = ONE) -> tuple[int, bytes]:
    heard = bytearray()
    return executor.run(place, command, heard.extend), bytes(heard)


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_of_the_program(executor: Executor, code: int) -> None:
    assert run(executor, "sh", "-c", f"exit {code}") == (code, b"")


def test_arguments_arrive_as_they_are_and_errors_are_not_output(executor: Executor) -> None:
    code, said = run(
        executor, "sh", "-c", 'printf "<%s>" "$@"; echo no >&2', "sh", "two  words", "", "a&b=c+%2F|d", "ü"
    )
    assert (code, said.decode()) == (0, "<two  words><><a&b=c+%2F|d><ü>")


def test_output_of_megabytes_is_whole(executor: Executor) -> None:
    code, said = run(executor, "sh", "-c", "seq 300000")
    assert (code, said.count(b"\n"), said.endswith(b"\n300000\n")) == (0, 300000, True)


def test_output_comes_while_the_program_runs_and_it_ends_when_it_is_not_wanted(executor: Executor, node: Node) -> None:
    heard: list[tuple[float, bytes]] = []
    command = ["sh", "-c", "echo $$; sleep 0.5; echo more; exec sleep 60"]
    code = executor.run(ONE, command, lambda data: heard.append((time.monotonic(), data)), lambda: len(heard) < 2)
    assert code == -1
    assert heard[1][0] - heard[0][0] > 0.3
    process = Path("/proc") / heard[0][1].decode().strip()
    deadline = time.monotonic() + 10
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.exists()


def test_what_cannot_run_is_one_line(executor: Executor, api: Endpoint, node: Node) -> None:
    with pytest.raises(CannotExecute, match=r'^default/none: exec: pods "none" not found \(404\)$'):
        run(executor, "true", place=Container("default", "none", "c"))
    with pytest.raises(CannotExecute, match=r"^default/one: exec: .*other"):
        run(executor, "true", place=Container("default", "one", "other"))
    with pytest.raises(CannotExecute, match=r"^default/one: exec: .*no-such-program"):
        run(executor, "no-such-program")
    create_pod(api, "far", [{"name": "c", "image": "i"}], "no-such-node")
    with pytest.raises(CannotExecute, match=r"^default/far: exec: "):
        run(executor, "true", place=Container("default", "far", "c"))


def test_a_server_that_speaks_no_websocket_and_one_that_is_not_there(tmp_path: Path) -> None:
    with serving(ApiServer({})) as server:
        other = Executor(Where(str(kubeconfig(tmp_path / "a", server.url))))
        with pytest.raises(CannotExecute, match=r"^default/one: exec: .*404"):
            run(other, "true")
    nowhere = Executor(Where(str(kubeconfig(tmp_path / "b", "http://127.0.0.1:1"))))
    with pytest.raises(ClusterUnavailable, match="connection refused"):
        run(nowhere, "true")


def test_objects_are_created_and_deleted_and_refusals_have_their_status(api: Endpoint) -> None:
    changer = Changer(Where(str(api.kubeconfig)))
    config = {"metadata": {"name": "made"}, "data": {"a": "b"}}
    made = changer.create("/api/v1/namespaces/default/configmaps", config)
    assert made["metadata"]["uid"]
    with pytest.raises(Refused, match="already exists") as refused:
        changer.create("/api/v1/namespaces/default/configmaps", config)
    assert refused.value.status == 409
    changer.delete("/api/v1/namespaces/default/configmaps/made")
    changer.delete("/api/v1/namespaces/default/configmaps/made")
    changer.close()
