"""The name server against the endpoint, as it stands in a pod: with nothing to import."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.cluster.endpoint import endpoint, kubectl

pytestmark = pytest.mark.cluster
_PROGRAM = """
import sys
from pathlib import Path
from gatewright.lab.dns.server import serve

kubeconfig = Path(sys.argv[1]).read_text()

class Nothing:
    def find_spec(self, name, path=None, target=None):
        print("imported", name, flush=True)
        raise ImportError(f"{name} is out of sight")

sys.meta_path[:] = [Nothing()]
sys.path[:] = []
serve(kubeconfig, int(sys.argv[2]), int(sys.argv[3]))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_it_imports_nothing_once_it_is_forked_and_goes_on_without_the_api(tmp_path: Path) -> None:
    port, ready = free_port(), free_port()
    kubeconfig = tmp_path / "copy"
    with endpoint(tmp_path / "api") as api:
        kubeconfig.write_text(api.kubeconfig.read_text().replace("127.0.0.1", "localhost"))
        kubectl(api.kubeconfig, "create", "service", "clusterip", "web", "--tcp=80", "--clusterip=10.96.3.3")
        server = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(kubeconfig), str(port), str(ready)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        within = time.monotonic() + 10
        while not is_open(ready) and time.monotonic() < within:
            time.sleep(0.05)
        kubeconfig.unlink()
    time.sleep(1.5)  # the connection is gone, and is tried again in vain
    answers = [asked(ask, port) for ask in (dns.query.udp, dns.query.tcp)]
    server.kill()
    said = server.communicate(timeout=10)[0]
    assert said == ""
    assert answers == ["10.96.3.3", "10.96.3.3"]


def asked(ask: Any, port: int) -> str:
    answer = ask(dns.message.make_query("web.default.svc.cluster.local", "A"), "127.0.0.1", timeout=5, port=port)
    return str(answer.answer[0][0]) if answer.answer else dns.rcode.to_text(answer.rcode())
