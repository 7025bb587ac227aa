"""The measuring process: opens connections from inside network namespaces and says what became of each.

Standard library only, JSON in and JSON out, so that it can run anywhere. One process serves all sources: a socket stays
in the network namespace it was made in. Every attempt is a new socket with a port of its own, so that no answer to an
earlier one and no connection the kernel still remembers can be taken for it. SCTP is asked by packets made by hand on
raw sockets, since many kernels have none. What is heard is told apart carefully:

- `open`: the connection was accepted, or the datagram answered;
- `refused`: a reset, an abort, or ICMP port or protocol unreachable: it got through, and nobody listens;
- `rejected`: ICMP administratively prohibited: something on the way said no;
- `dropped`: silence, in every attempt;
- `unknown`: silence from a UDP port that may just not answer;
- `error`: it could not even be tried (`detail` says why).
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import secrets
import select
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from gatewright.lab import linux, sctp

T = TypeVar("T")
OPEN, REFUSED, REJECTED, DROPPED, UNKNOWN, ERROR = "open", "refused", "rejected", "dropped", "unknown", "error"
IN_FLIGHT = 2000
"""Connections that are tried at the same time, at most; each is one descriptor."""
_SPARE_DESCRIPTORS = 64
_LOOK_EVERY = 0.02
"""Seconds between looks at what has been silent for too long."""
_RESEND = 0.2
_PORTS = (*range(10_000, 30_000), *range(33_000, 61_000))
"""The ports that are asked from, in each network one after the other: but for those of nodes, and each again only after
all the others.

The kernel's own choice begins anew somewhere every ten seconds, and may so fall on a connection that some node on the
way still remembers: one that was reset for ten seconds, one that was closed or never answered for two minutes. What was
allowed before may then be open, what was ended be reset.
"""
_TRIES = 20
"""Ports that may be taken, one after the other, before a connection cannot be tried."""
_QUERY = bytes.fromhex("4757 0100 0001 0000 0000 0000 00 0002 0001")
"""What is sent over UDP: a DNS query for the root's name servers, so that a name server answers too."""
_NOBODY = (errno.ECONNREFUSED, errno.ENOPROTOOPT, errno.EPROTO)
"""Port unreachable, protocol unreachable, and how IPv6 calls that (an unknown next header)."""
_PROHIBITED = (errno.EHOSTUNREACH, errno.EACCES, errno.EPERM)


@dataclass(slots=True)
class _Attempt:
    index: int
    target: dict[str, Any]
    number: int = 0
    handle: socket.socket | None = None
    started: float = 0.0
    sent: float = 0.0
    packet: bytes = _QUERY


def measure(request: bytes) -> bytes:
    """Answer one request.

    `{"timeout": seconds of one attempt, "attempts": n, "targets": [{"source": pid or path of a network namespace,
    "address", "protocol": "TCP", "UDP" or "SCTP", "port", "answers": whether a UDP listener there would answer}]}`
    gives a list of `{"result", "seconds", "detail"}` in the same order.
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
    at_once = _at_once()
    here: object = None
    looked = 0.0
    while queue or running:
        while queue and len(running) < at_once:
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
        for number, _ in poll.poll(_LOOK_EVERY, IN_FLIGHT):
            outcome = _outcome(running[number])
            if outcome is not None:
                poll.unregister(number)
                attempt = running.pop(number)
                yield attempt, *outcome
                _close(attempt)
        if time.monotonic() - looked < _LOOK_EVERY:
            continue
        looked = time.monotonic()
        for number, attempt in list(running.items()):
            _send_again(attempt, looked, timeout)
            if looked - attempt.started < timeout * (attempt.number + 1):
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


def _at_once() -> int:
    """How many connections may be open at once: as many as this process may have descriptors for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IN_FLIGHT + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return IN_FLIGHT if soft == resource.RLIM_INFINITY else max(1, min(IN_FLIGHT, soft - _SPARE_DESCRIPTORS))


def within(source: int | str, action: Callable[[], T]) -> T:
    """What the action returns when it runs in the network of a process or of a namespace's path. Raises OSError."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _join(source)
        return action()
    finally:
        linux.setns(own, linux.NEWNET)
        os.close(own)


def _join(source: int | str) -> None:
    handle = os.pidfd_open(source) if isinstance(source, int) else os.open(source, os.O_RDONLY)
    try:
        linux.setns(handle, linux.NEWNET)
    finally:
        os.close(handle)


def _begin(attempt: _Attempt) -> int:
    target = attempt.target
    family = socket.AF_INET6 if ":" in target["address"] else socket.AF_INET
    port = target["port"]
    if target["protocol"] == "SCTP":
        attempt.handle = socket.socket(family, socket.SOCK_RAW, sctp.PROTOCOL)
        own = next(_own_ports[target["source"]])
        attempt.packet = sctp.init(own, port, 1 + secrets.randbelow(0xFFFFFFFF))
        port = 0  # a raw socket has none
    else:
        kind = socket.SOCK_STREAM if target["protocol"] == "TCP" else socket.SOCK_DGRAM
        attempt.handle = socket.socket(family, kind)
        _bind(attempt.handle, _own_ports[target["source"]])
    attempt.handle.setblocking(False)
    attempt.started = attempt.started or time.monotonic()
    code = attempt.handle.connect_ex((target["address"], port))
    if code == 0 and target["protocol"] != "TCP":
        _send(attempt)
    return code


def _in_turn() -> Iterator[int]:
    """The ports to ask from, from some port on, without an end."""
    return (_PORTS[place % len(_PORTS)] for place in itertools.count(secrets.randbelow(len(_PORTS))))


_own_ports: defaultdict[int | str, Iterator[int]] = defaultdict(_in_turn)
"""Those of each network that is asked from."""


def _bind(handle: socket.socket, ports: Iterator[int]) -> None:
    """Give a socket the next port that nobody has. Raises OSError."""
    for left in reversed(range(_TRIES)):
        try:
            handle.bind(("", next(ports)))
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not left:
                raise


def _send(attempt: _Attempt) -> None:
    assert attempt.handle is not None
    attempt.sent = time.monotonic()
    try:
        attempt.handle.send(attempt.packet)
    except BlockingIOError:
        return
    except OSError as error:  # the answer to the datagram before: the poll tells it too, but send has taken it
        attempt.target["heard"] = error.errno


def _send_again(attempt: _Attempt, now: float, timeout: float) -> None:
    """TCP repeats itself, the others must be helped."""
    if attempt.target["protocol"] != "TCP" and _RESEND < now - attempt.sent < timeout:
        _send(attempt)


def _outcome(attempt: _Attempt) -> tuple[str, str] | None:
    """What a socket that has something to say has heard; None where it was nothing to the point."""
    assert attempt.handle is not None
    if attempt.target["protocol"] == "TCP":
        return _heard(attempt, attempt.handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    try:
        data = attempt.handle.recv(65535)
    except OSError as error:
        return _heard(attempt, error.errno or 0)
    if attempt.target["protocol"] == "UDP":
        return OPEN, ""
    head = (data[0] & 15) * 4 if attempt.handle.family == socket.AF_INET else 0
    kind = sctp.answer_to(attempt.packet, data[head:])
    if kind is None:  # every raw socket of the network hears what comes for any of them
        return None
    return (OPEN, "") if kind == sctp.INIT_ACK else (REFUSED, "aborted")


def _heard(attempt: _Attempt, code: int) -> tuple[str, str]:
    code = attempt.target.get("heard", code)
    if code == 0:
        return OPEN, ""
    detail = os.strerror(code)
    if code in _NOBODY:
        return REFUSED, detail
    return (REJECTED if code in _PROHIBITED else ERROR), detail


def _close(attempt: _Attempt) -> None:
    if attempt.handle is not None:
        if attempt.target["protocol"] == "TCP":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            attempt.handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        attempt.handle.close()
        attempt.handle = None
