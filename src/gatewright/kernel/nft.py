"""Runs nftables text, as one atomic transaction, in the network namespace the calling thread is in.

`Nft` uses libnftables in process (a context costs 0.03 ms, so every call makes its own, bound to the namespace of the
moment) and falls back to the `nft` command where the library is missing. Both say the same errors: `NftMissing`,
`NotPermitted`, `NftRefused`.

A netlink socket that is closed after a transaction has deleted something waits until the kernel has freed it: 10 to 20
milliseconds. `NodeNft` is for whoever cannot wait, and stays in one namespace: it keeps its sockets open.
"""

from __future__ import annotations

import ctypes
import enum
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Protocol, Self

import msgspec

from gatewright.kernel.errors import NftMissing, NftRefused, NftTooLarge, NotPermitted
from gatewright.kernel.netlink import NETLINK_NETFILTER, Netlink

LIBRARY = "libnftables.so.1"
COMMAND = "nft"
COMMAND_TIMEOUT = 60
"""Seconds."""
_JSON_FLAG = 1 << 4
_TERSE_FLAG = 1 << 11
_NUMERIC_FLAGS = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10
"""Protocols, priorities, symbols and times as numbers (libnftables(3), nft_ctx_output_set_flags)."""
_LARGE = 1 << 18
"""Characters of text after which memory is worth returning to the system."""
_LOCATION = re.compile(r"^/\S+:(\d+):[\d-]+: Error: (.*)$")


class Mode(enum.Enum):
    """What to do with the text: run it, have the kernel check it without any effect, or list in JSON.

    An outline is a listing without the elements of named sets and maps.
    """

    RUN = enum.auto()
    CHECK = enum.auto()
    LIST = enum.auto()
    OUTLINE = enum.auto()


_OUTPUT_FLAGS = {Mode.LIST: _JSON_FLAG | _NUMERIC_FLAGS, Mode.OUTLINE: _JSON_FLAG | _NUMERIC_FLAGS | _TERSE_FLAG}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of nftables ended."""

    ok: bool
    output: str
    error: str


class Backend(Protocol):
    """One way to run nftables text."""

    def execute(self, text: str, mode: Mode) -> Outcome:
        """Runs the text in the network namespace of the calling thread."""


class Library:
    """libnftables in this process."""

    def execute(self, text: str, mode: Mode) -> Outcome:
        """Runs the text in the network namespace of the calling thread."""
        with Context() as context:
            outcome = context.execute(text, mode)
        if _is_large(text, mode):
            give_back()
        return outcome


class Context:
    """One context of libnftables, in the network namespace of the thread that makes it. A context manager."""

    def __init__(self) -> None:
        library = load_library()
        if library is None:
            raise NftMissing
        self._library = library
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise NotPermitted("open a netlink socket")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def execute(self, text: str, mode: Mode) -> Outcome:
        """Runs the text in the namespace of the context."""
        library, context = self._library, self._context
        library.nft_ctx_set_dry_run(context, mode is Mode.CHECK)
        library.nft_ctx_output_set_flags(context, _OUTPUT_FLAGS.get(mode, 0))
        with _as_file(text) as path:
            failed = library.nft_run_cmd_from_filename(context, path)
        output = library.nft_ctx_get_output_buffer(context) or b""
        error = library.nft_ctx_get_error_buffer(context) or b""
        return Outcome(not failed, output.decode(), error.decode())

    def close(self) -> None:
        """Frees the context."""
        self._library.nft_ctx_free(self._context)


class Command:
    """The nft command, one process a call."""

    def execute(self, text: str, mode: Mode) -> Outcome:
        """Runs the text in the network namespace of the calling thread."""
        words, stdin = {
            Mode.RUN: ((COMMAND, "-f", "-"), text),
            Mode.CHECK: ((COMMAND, "-c", "-f", "-"), text),
            Mode.LIST: ((COMMAND, "-j", "-n", text), ""),
            Mode.OUTLINE: ((COMMAND, "-j", "-n", "-t", text), ""),
        }[mode]
        try:
            done = subprocess.run(
                words, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
            )
        except FileNotFoundError:
            raise NftMissing from None
        except subprocess.TimeoutExpired:
            return Outcome(False, "", f"nft did not answer within {COMMAND_TIMEOUT} s")
        return Outcome(done.returncode == 0, done.stdout, done.stderr)


class Nft:
    """nftables in the network namespace the calling thread is in. Stateless; safe to share between namespaces."""

    def __init__(self, backend: Backend | None = None) -> None:
        self.backend = backend or default_backend()

    def run(self, text: str) -> None:
        """Runs one transaction: all of it happens, or nothing. Raises NftRefused, NotPermitted or NftMissing."""
        self._change(text, Mode.RUN)

    def check(self, text: str) -> None:
        """Has the kernel check a transaction, without any effect. Raises what `run` would."""
        self._change(text, Mode.CHECK)

    def list_table(self, table: str) -> list[dict[str, object]] | None:
        """The objects of one `inet` table as nft lists them in JSON, None when there is no such table."""
        return self._list(f"table inet {table}", Mode.LIST)

    def list_set(self, table: str, name: str) -> list[dict[str, object]] | None:
        """The same of one set."""
        return self._list(f"set inet {table} {name}", Mode.LIST)

    def outline(self, table: str) -> list[dict[str, object]] | None:
        """What `list_table` says, without the elements of sets and maps.

        All `inet` tables are listed for it: of a single one nft 1.0.6 reads the elements, and does not show them.
        """
        listed = self._list("ruleset inet", Mode.OUTLINE) or []
        ours = [item for item in listed if any(_is_of(table, kind, body) for kind, body in item.items())]
        return ours or None

    def _list(self, what: str, mode: Mode) -> list[dict[str, object]] | None:
        outcome = self.backend.execute(f"list {what}\n", mode)
        if not outcome.ok:
            if "No such file or directory" in outcome.error:
                return None
            raise _error(outcome.error, "")
        return _listing(outcome.output)

    @contextmanager
    def netlink(self) -> Iterator[Netlink]:
        """A socket to the packet filter, for what is no text."""
        with Netlink(NETLINK_NETFILTER) as netlink:
            yield netlink

    def _change(self, text: str, mode: Mode) -> None:
        outcome = self.backend.execute(text, mode)
        if not outcome.ok:
            raise _error(outcome.error, text)


class _Kept:
    """A context that stays, for small texts. What is large gets one of its own: it would keep all of it in memory."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def execute(self, text: str, mode: Mode) -> Outcome:
        """Runs the text."""
        return Library().execute(text, mode) if _is_large(text, mode) else self._context.execute(text, mode)


def _is_large(text: str, mode: Mode) -> bool:
    return mode in _OUTPUT_FLAGS or len(text) > _LARGE


class NodeNft(Nft):
    """nftables in the network namespace of the thread that makes it; its sockets stay open.

    Threads of that namespace may use it, one at a time. Where libnftables is missing, text is run by the command. A
    context manager.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        library = load_library() is not None
        super().__init__(_Kept(self._open.enter_context(Context())) if library else default_backend())
        self._netlink = self._open.enter_context(Netlink(NETLINK_NETFILTER))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def netlink(self) -> Iterator[Netlink]:
        """The socket that stays open."""
        yield self._netlink

    def close(self) -> None:
        """Closes the sockets."""
        self._open.close()


def give_back() -> None:
    """Has the C library return freed memory to the system: a listing takes a hundred times what stays of it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def default_backend() -> Backend:
    """The library where it can be loaded, else the command. Raises NftMissing when neither is there."""
    if load_library() is not None:
        return Library()
    if shutil.which(COMMAND):
        return Command()
    raise NftMissing


def _is_of(table: str, kind: str, body: object) -> bool:
    """Whether an object of a listing is of this table, or the table itself."""
    return isinstance(body, dict) and body.get("name" if kind == "table" else "table") == table


def _listing(output: str) -> list[dict[str, object]]:
    decoded: dict[str, list[dict[str, object]]] = msgspec.json.decode(output, type=dict[str, list[dict[str, object]]])
    return decoded["nftables"]


def _error(error: str, text: str) -> NftRefused | NotPermitted:
    """The first fault nft names, with the line of the text it points to."""
    if "Operation not permitted" in error:
        return NotPermitted("change packet filters")
    if "Message too long" in error:
        return NftTooLarge()
    for line in error.splitlines():
        found = _LOCATION.match(line)
        if found:
            number, message = int(found[1]), found[2]
            lines = text.splitlines()
            return NftRefused(message, lines[number - 1].strip() if 0 < number <= len(lines) else "")
    return NftRefused(" ".join(error.split()) or "no reason given")


@contextmanager
def _as_file(text: str) -> Iterator[bytes]:
    """The text as a file in memory: libnftables names lines of files, not of buffers."""
    descriptor = os.memfd_create("nft")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text.encode())
        yield f"/proc/self/fd/{descriptor}".encode()
    finally:
        os.close(descriptor)


@cache
def load_library() -> ctypes.CDLL | None:
    """Libnftables with the types of its functions, None where it is not installed."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    context, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("nft_ctx_new", context, [ctypes.c_uint32]),
        ("nft_ctx_free", None, [context]),
        ("nft_ctx_buffer_output", number, [context]),
        ("nft_ctx_buffer_error", number, [context]),
        ("nft_ctx_set_dry_run", None, [context, ctypes.c_bool]),
        ("nft_ctx_output_set_flags", None, [context, ctypes.c_uint]),
        ("nft_ctx_get_output_buffer", text, [context]),
        ("nft_ctx_get_error_buffer", text, [context]),
        ("nft_run_cmd_from_filename", number, [context, text]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
