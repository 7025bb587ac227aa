"""How a lab is reached from outside: its supervisor, API, runtimes and agents, by what its folder has."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.lab.directory import LabDirectory, lab_directory
from gatewright.lab.errors import LabError
from gatewright.lab.supervisor.wire import Message, ask
from gatewright.sources.kubeconfig import Where

if TYPE_CHECKING:
    from gatewright.lab.apiclient.writing import Writer
    from gatewright.lab.runtime.model import PodState

ANSWER_WITHIN = 60.0
"""Seconds that a part of a lab may take to answer."""


def kubeconfig(name: str) -> Path:
    """The kubeconfig of a lab that is up. Raises LabError."""
    process(name)
    return lab_directory(name).kubeconfig


def machines(name: str) -> Message:
    """What the supervisor says: network, nodes, components."""
    return request(name, {"op": "status"})


def held(name: str, nodes: Iterable[Mapping[str, Any]] | None = None) -> dict[str, PodState]:
    """What the runtimes of the nodes that run hold, by the pods' uids."""
    found: dict[str, PodState] = {}
    for node in machines(name)["nodes"] if nodes is None else nodes:
        if node["state"] != "stopped":
            pods = runtime_pods(lab_directory(name).machine(node["name"]).runtime_socket)
            found |= {one.uid: one for one in pods}
    return found


def runtime_pods(path: Path) -> list[PodState]:
    """What the runtime on this socket holds; nothing where none answers."""
    from gatewright.lab.runtime.client import Runtime

    async def ask_it() -> list[PodState]:
        runtime = await Runtime.connect(path)
        try:
            return await runtime.pods()
        finally:
            await runtime.close()

    try:
        return asyncio.run(asyncio.wait_for(ask_it(), ANSWER_WITHIN))
    except (LabError, OSError, TimeoutError):
        return []


def agent_status(name: str, node: str) -> dict[str, Any]:
    """What the agent of a node says; nothing where none answers."""
    from gatewright.agent import client

    try:
        return client.status(lab_directory(name).machine(node).agent_socket)
    except client.NoAgent:
        return {}


@contextlib.contextmanager
def writing(name: str) -> Iterator[Writer]:
    """A writer to the API of a lab that is up. Raises LabError."""
    from gatewright.lab.apiclient.writing import Writer

    writer = Writer(Where(str(kubeconfig(name))), manager="gatewright")
    try:
        yield writer
    finally:
        writer.close()


def process(name: str) -> int:
    """The first process of a lab that is up. Raises LabError."""
    pid = lab_directory(name).process()
    if pid is None:
        raise _not_up(lab_directory(name))
    return pid


def _not_up(directory: LabDirectory) -> LabError:
    if directory.path.exists():
        return LabError(f'lab "{directory.name}" was killed; start it again with: gatewright lab up')
    return LabError(f'lab "{directory.name}" is not up; start it with: gatewright lab up')


def request(name: str, message: Message, timeout: float = ANSWER_WITHIN) -> Message:
    """What the supervisor of a lab answers. Raises LabError."""
    directory = lab_directory(name)
    if directory.process() is None:
        raise _not_up(directory)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(timeout)
        started = time.monotonic()
        try:
            connection.connect(str(directory.socket))
            answer = ask(connection, message)
        except TimeoutError as error:
            waited = time.monotonic() - started
            raise LabError(f'lab "{name}" did not answer within {waited:.0f} s; see {directory.log}') from error
        except OSError as error:
            raise LabError(f'lab "{name}" cannot be reached: {error.strerror}; see: gatewright lab list') from error
    if "error" in answer:
        raise LabError(answer["error"])
    return answer
