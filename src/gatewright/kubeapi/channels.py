"""The channels of exec and attach: several streams in one WebSocket, and the Status that ends them.

The first byte of each message names a channel: 0 standard input, 1 output, 2 errors, 3 the Status at the end (JSON),
4 the terminal's size (JSON). `v5.channel.k8s.io` adds 255, which says that the channel in the next byte is closed; in
`v4.channel.k8s.io` the client cannot end standard input (KEP-4006; k8s.io/apimachinery, util/remotecommand).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gatewright.kubeapi.failure import fail
from gatewright.kubeapi.status import Status, StatusCause, StatusDetails, encode

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
LARGEST_SIDE = 65535
"""Columns or rows of a terminal at most (struct winsize of tty_ioctl(4))."""


class ChannelError(ValueError):
    """A message that no client of this protocol sends; the text says why."""


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes for standard input."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """Standard input has ended."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The client's terminal has another size."""

    columns: int
    rows: int


Event = Input | Closed | Resized


class _Size(msgspec.Struct, rename="pascal"):
    width: int
    height: int


def chosen(offered: Sequence[str]) -> str | None:
    """The protocol to speak with a client: the first of its own that is known here."""
    return next((one for one in offered if one in (V5, V4)), None)


def message(channel: int, data: bytes = b"") -> bytes:
    """A message of a channel."""
    return bytes((channel,)) + data


def closed(channel: int) -> bytes:
    """The message that ends a channel (v5)."""
    return bytes((CLOSE, channel))


def event(received: bytes, protocol: str) -> Event | None:
    """What a client's message says; None where it is nothing to act on. Raises ChannelError."""
    if not received:
        raise ChannelError("a message without a channel")
    channel, data = received[0], received[1:]
    if channel == STDIN:
        return Input(data)
    if channel == RESIZE:
        return _resized(data)
    if channel == CLOSE and protocol == V5:
        if len(data) != 1 or data[0] > RESIZE:
            raise ChannelError("a close that names no channel")
        return Closed() if data[0] == STDIN else None
    if channel in (STDOUT, STDERR, ERROR):
        return None
    raise ChannelError(f"there is no channel {channel}")


def _resized(data: bytes) -> Resized | None:
    if not data:
        return None
    try:
        size = msgspec.json.decode(data, type=_Size)
    except msgspec.MsgspecError as error:
        raise ChannelError("a terminal size that is none") from error
    if not (0 <= size.width <= LARGEST_SIDE and 0 <= size.height <= LARGEST_SIDE):
        raise ChannelError("a terminal of an impossible size")
    return Resized(size.width, size.height)


def ended(code: int) -> bytes:
    """The message that says how a program ended."""
    if code == 0:
        return message(ERROR, encode(Status(status="Success")))
    details = StatusDetails(causes=(StatusCause(reason="ExitCode", message=str(code)),))
    said = f"command terminated with non-zero exit code: exit status {code}"
    status = Status(status="Failure", message=said, reason="NonZeroExitCode", details=details)
    return message(ERROR, encode(status))


def failed(why: str) -> bytes:
    """The message that says that a program could not run."""
    cause = StatusDetails(causes=(StatusCause(message=why),))
    return message(ERROR, encode(fail(500, f"Internal error occurred: {why}", details=cause).status))
