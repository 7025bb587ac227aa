"""Asks the agent of this node over its socket, for `gatewright agent status` and `gatewright flows`."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.errors import GatewrightError

TIMEOUT = 10.0
"""Seconds an agent may take to answer."""
Json = dict[str, Any]


class NoAgent(GatewrightError):
    """Nobody answers on the socket."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which flows: of a namespace, of a pod (`name` or `namespace/name`); None is no restriction."""

    namespace: str | None = None
    pod: str | None = None

    def holds(self, flow: Json) -> bool:
        """Whether a flow is wanted."""
        pods = [end["pod"] for end in (flow["source"], flow["destination"]) if end.get("pod")]
        in_namespace = self.namespace is None or any(pod.startswith(f"{self.namespace}/") for pod in pods)
        return in_namespace and (self.pod is None or any(self._is_pod(pod) for pod in pods))

    def _is_pod(self, pod: str) -> bool:
        return self.pod in (pod, pod.partition("/")[2])


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("agent", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the file."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def status(path: Path, timeout: float = TIMEOUT) -> Json:
    """What the agent says of itself. Raises NoAgent."""
    answer: Json = json.loads(_get(path, "/status", timeout).read())
    return answer


def flows(path: Path, wanted: Wanted, *, follow: bool, tail: int | None = None) -> Iterator[tuple[str, Json]]:
    """(JSON line, decoded) of every wanted flow: the last `tail` of those that are kept, then those that come.

    It ends after the former unless `follow`. Raises NoAgent.
    """
    lines = iter(_get(path, "/flows?follow=true" if follow else "/flows"))
    kept = itertools.takewhile(lambda line: line.strip(), lines)
    yield from deque(_wanted(kept, wanted), tail)
    yield from _wanted(lines, wanted)


def _wanted(lines: Iterable[bytes], wanted: Wanted) -> Iterator[tuple[str, Json]]:
    for line in lines:
        flow = json.loads(line)
        if wanted.holds(flow):
            yield line.decode().rstrip("\n"), flow


def _get(path: Path, target: str, timeout: float = TIMEOUT) -> http.client.HTTPResponse:
    connection = _Connection(path, timeout)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        what = "is it running on this node, and are you root?"
        raise NoAgent(f"no agent answers on {path}: {said}; {what}") from error
    if response.status != 200:
        raise NoAgent(f"{path}: the agent answers {response.status} {response.reason}")
    if connection.sock is not None:
        connection.sock.settimeout(None)
    return response
