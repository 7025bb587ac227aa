"""A lab whose nodes stand under an API server elsewhere (`--api`): how it is reached from inside the lab.

The lab's network has no way out. A relay in the machine's network carries the connections of the nodes on: to them the
API is at the fabric's router, as in any lab, under the name that the server's certificate is for.
"""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import msgspec

from gatewright.lab import linux
from gatewright.lab.directory import LabDirectory
from gatewright.lab.errors import LabError
from gatewright.lab.kubeconfigs import context_of
from gatewright.lab.network import relay
from gatewright.lab.network.plan import API_PORT, FABRIC_ADDRESSES
from gatewright.lab.supervisor.components import stopping
from gatewright.sources.kubeconfig import Where, extract

_AGAIN = 1.0
"""Seconds after which a relay that has ended is started again."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """An API server elsewhere: where it is, and the kubeconfigs for who is outside the lab and inside it."""

    host: str
    port: int
    outside: dict[str, Any]
    inside: dict[str, Any]


def read(kubeconfig: Path, lab: str) -> Foreign:
    """What the current context of a kubeconfig says. Raises LabError, ClusterUnavailable."""
    config = extract(Where(str(kubeconfig)))
    cluster = config["clusters"][0]["cluster"]
    url = urlsplit(str(cluster["server"]))
    if url.scheme != "https" or not url.hostname:
        raise LabError(f"--api {kubeconfig}: server {cluster['server']}: the lab's nodes need an https address")
    if url.path.strip("/") or cluster.get("proxy-url"):
        raise LabError(f"--api {kubeconfig}: server {cluster['server']}: one behind a path or a proxy cannot be used")
    name = context_of(lab)
    for plural in ("clusters", "users", "contexts"):
        config[plural][0]["name"] = name
    config["contexts"][0]["context"] |= {"cluster": name, "user": name}
    config["current-context"] = name
    inside = copy.deepcopy(config)
    own = inside["clusters"][0]["cluster"]
    own["server"] = f"https://{FABRIC_ADDRESSES[0]}:{API_PORT}"
    own.setdefault("tls-server-name", url.hostname)
    return Foreign(url.hostname, url.port or 443, config, inside)


def write(found: Foreign, directory: LabDirectory) -> None:
    """Write both kubeconfigs, for their owner alone."""
    for path, config in ((directory.kubeconfig, found.outside), (directory.internal_kubeconfig, found.inside)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(config)))


def fork_relay(found: Foreign) -> socket.socket:
    """Fork what relays, in the caller's network; it waits for the listening socket on the one that is returned.

    Nobody comes back from the lab's network to the machine's, so this must happen before the caller leaves it.
    """
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        near.close()
        _be_the_relay(found, far)
    far.close()
    return near


def hand_over(relay_end: socket.socket, listener: socket.socket) -> None:
    """Give the relay what it listens on."""
    socket.send_fds(relay_end, [b"listen"], [listener.fileno()])
    listener.close()


def _be_the_relay(found: Foreign, far: socket.socket) -> NoReturn:
    """Keep a relay running; this process only starts it again, so that it can be killed like any component."""
    try:
        linux.set_process_name("lab-relay")
        linux.end_with_parent(signal.SIGKILL)
        os.closerange(3, far.fileno())
        os.closerange(far.fileno() + 1, 65536)
        _, descriptors, _, _ = socket.recv_fds(far, 16, 1)
        listener = socket.socket(fileno=descriptors[0])
        while True:
            worker = os.fork()
            if worker == 0:
                linux.end_with_parent(signal.SIGKILL)
                relay.run_relay([relay.Way(listener, found.host, found.port)], stopping())
                os._exit(0)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(worker, 0)
            time.sleep(_AGAIN)
    finally:
        os._exit(1)
