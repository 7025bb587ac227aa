"""The measuring process: opens connections from inside network namespaces and says what became of each.

Standard library only, JSON in and JSON out, so that it can run anywhere. One process serves all sources: a socket stays
in the network namespace it was made in. Every attempt is a new socket with a port of its own, so that no answer to an
earlier one and no connection the kernel still remembers can be taken for it. What is heard is told apart carefully:

- `open`: the connection was accepted, or the datagram answered;
- `refused`: a reset, or ICMP port unreachable: the packet got through, and nobody listens;
- `rejected`: ICMP administratively prohibited: something on the way said no;
- `dropped`: silence, in every attempt;
- `unknown`: silence from a UDP port that may just not answer;
- `error`: it could not even be tried (`detail` says why).
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gatewright.lab import linux

OPEN, REFUSED, REJECTED, DROPPED, UNKNOWN, ERROR = "open", "refused", "rejected", "dropped", "unknown", "error"
IN_FLIGHT = 400
"""Connections that are tried at the same time; each is one descriptor."""
_RESEND = 0.2
_QUERY = bytes.fromhex("4757 0100 0001 0000 0000 0000 00 0002 0001")
"""What is sent over UDP: a DNS query for the root's name servers, so that a name server answers too."""
_PROHIBITED = (errno.EHOSTUNREACH, errno.EACCES, errno.EPERM)


@dataclass(slots=True)
class _Attempt:
    index: int
    target: dict[str, Any]
    number: int = 0
    handle: socket.socket | None = None
    started: float = 0.0
    sent: float = 0.0


def measure(request: bytes) -> bytes:
    """Answer one request.

    `{"timeout": seconds of one attempt, "attempts": n, "targets": [{"source": pid or path of a network namespace,
    "address", "protocol": "TCP" or "UDP", "port", "answers": whether a UDP listener there would answer}]}` gives a list
    of `{"result", "seconds", "detail"}` in the same order.
    """
    asked = json.loads(request)
    targets: list[dict[str, Any]] = asked["targets"]
    results: list[dict[str, Any]] = [{} for _ in targets]
    waiting = [_Attempt(index, target) for index, target in enumerate(targets)]
    waiting.sort(key=lambda attempt: str(attempt.target["source"]))
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        for attempt, result, detail in _run(waiting, float(asked["timeout"]), int(asked["attempts"])):
            seconds = round(time.monotonic() - attempt.started, 4) if attempt.started else 0.0
            results[attempt.index] = {"result": result, "seconds": seconds, "detail": detail}
    finally:
        linux.setns(own, linux.NEWNET)
        os.close(own)
    return json.dumps(results).encode()


def _run(waiting: list[_Attempt], timeout: float, attempts: int) -> Iterator[tuple[_Attempt, str, str]]:
    """Try everything, a bounded number at once; yields each target once, with its result."""
    poll = select.epoll()
    running: dict[int, _Attempt] = {}
    queue = list(reversed(waiting))
    here: object = None
    while queue or running:
        while queue and len(running) < IN_FLIGHT:
            attempt = queue.pop()
            try:
                if attempt.target["source"] != here:
                    _join(attempt.target["source"])
                    here = attempt.target["source"]
                code = _begin(attempt)
            except OSError as error:
                _close(attempt)
                yield attempt, ERROR, error.strerror or str(error)
                continue
            if code not in (0, errno.EINPROGRESS):
                yield attempt, *_heard(attempt, code)
                _close(attempt)
                continue
            assert attempt.handle is not None
            events = select.EPOLLOUT if attempt.target["protocol"] == "TCP" else select.EPOLLIN
            poll.register(attempt.handle, events)
            running[attempt.handle.fileno()] = attempt
        for number, _ in poll.poll(0.02, IN_FLIGHT):
            attempt = running.pop(number)
            poll.unregister(number)
            yield attempt, *_outcome(attempt)
            _close(attempt)
        for number, attempt in list(running.items()):
            spent = time.monotonic() - attempt.sent
            if attempt.target["protocol"] == "UDP" and spent > _RESEND and spent < timeout:
                _send(attempt)
            if time.monotonic() - attempt.started < timeout * (attempt.number + 1):
                continue
            del running[number]
            poll.unregister(number)
            _close(attempt)
            if attempt.number + 1 < attempts:
                attempt.number += 1
                queue.append(attempt)
            else:
                silent = attempt.target["protocol"] == "UDP" and not attempt.target["answers"]
                yield attempt, UNKNOWN if silent else DROPPED, f"no answer in {attempts} attempts"
    poll.close()


def _join(source: int | str) -> None:
    handle = os.pidfd_open(source) if isinstance(source, int) else os.open(source, os.O_RDONLY)
    try:
        linux.setns(handle, linux.NEWNET)
    finally:
        os.close(handle)


def _begin(attempt: _Attempt) -> int:
    target = attempt.target
    family = socket.AF_INET6 if ":" in target["address"] else socket.AF_INET
    kind = socket.SOCK_STREAM if target["protocol"] == "TCP" else socket.SOCK_DGRAM
    attempt.handle = socket.socket(family, kind)
    attempt.handle.setblocking(False)
    attempt.started = attempt.started or time.monotonic()
    code = attempt.handle.connect_ex((target["address"], target["port"]))
    if code == 0 and kind == socket.SOCK_DGRAM:
        _send(attempt)
    return code


def _send(attempt: _Attempt) -> None:
    assert attempt.handle is not None
    attempt.sent = time.monotonic()
    try:
        attempt.handle.send(_QUERY)
    except BlockingIOError:
        return
    except OSError as error:  # the answer to the datagram before: the poll tells it too, but send has taken it
        attempt.target["heard"] = error.errno


def _outcome(attempt: _Attempt) -> tuple[str, str]:
    assert attempt.handle is not None
    if attempt.target["protocol"] == "TCP":
        return _heard(attempt, attempt.handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    try:
        attempt.handle.recv(65535)
    except OSError as error:
        return _heard(attempt, error.errno or 0)
    return OPEN, ""


def _heard(attempt: _Attempt, code: int) -> tuple[str, str]:
    code = attempt.target.get("heard", code)
    if code == 0:
        return OPEN, ""
    detail = os.strerror(code)
    if code == errno.ECONNREFUSED:
        return REFUSED, detail
    return (REJECTED if code in _PROHIBITED else ERROR), detail


def _close(attempt: _Attempt) -> None:
    if attempt.handle is not None:
        if attempt.target["protocol"] == "TCP":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            attempt.handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        attempt.handle.close()
        attempt.handle = None
