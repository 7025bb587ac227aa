"""What a forked child does to become a pod's sandbox, one of its containers, or a program beside one.

Each speaks with the runtime over one socket of JSON messages: first what there is to know, then either `failed`, or
nothing more: the socket closes when the program is executed. None of these functions returns.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import sys
import termios
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gatewright.lab import linux
from gatewright.lab.errors import LabError
from gatewright.lab.runtime import pause, rootfs, volumes
from gatewright.lab.runtime.model import (
    COMMAND,
    NAME_SERVER,
    SKIPPED,
    STAND_IN,
    ContainerSetup,
    Mount,
    PodSetup,
    Volume,
)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CANNOT_START, NOT_EXECUTABLE, NOT_FOUND = 128, 126, 127
_SWITCHES = {
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    "net/ipv6/conf/default/accept_ra": "0",
}
"""Low ports for any program, every refusal told (no limit on ICMP errors), no addresses that nobody asked for."""
_CHANGED_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)
"""Those that Python, the runtime or the supervisor handle or ignore."""
_WELL_INSIDE = linux.NEWNS | linux.NEWUTS | linux.NEWIPC | linux.NEWNET


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program is to run: pidfds of the pod's sandbox and perhaps of a container whose mounts are to be seen.

    Without that one, `mounts` are made anew: for a stand-in, which has no process, and for the name server, which lets
    nobody look at it.
    """

    sandbox: int
    container: int | None
    hostname: str
    mounts: tuple[Mount, ...]


@dataclass(frozen=True, slots=True)
class Streams:
    """A program's standard input, output and errors, or None for a terminal that it makes in the pod."""

    descriptors: tuple[int, int, int] | None


class _Refused(Exception):
    """A program that cannot be started; the exit code that stands for it."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


# The sandbox


def be_sandbox(setup: PodSetup, mount_point: Path, program: int, tell: socket.socket) -> NoReturn:
    """Make the pod's namespaces and be the first process in them: says `made`, then `built`."""
    with _ending(tell):
        linux.end_with_parent(signal.SIGKILL)
        _leave_the_runtime({tell.fileno(), program})
        _standard(_nothing())
        linux.unshare(linux.NEWNS | linux.NEWUTS | linux.NEWIPC | (0 if setup.host_network else linux.NEWNET))
        if not setup.host_network:
            _switch(setup.sysctls)
        tell.send(b'{"made": true}')
        rootfs.build(mount_point, setup.hostname, setup.files, setup.mount_points)
        volumes.fill(setup.volumes)
        tell.send(b'{"built": true}')
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # survives the execution: the kernel reaps orphans then
        linux.keep_capabilities(frozenset())
        pause.wait(program, PATH)


def _switch(wanted: Mapping[str, str]) -> None:
    for name, value in _SWITCHES.items():
        with contextlib.suppress(OSError):
            Path("/proc/sys", name).write_text(value)
    for name, value in wanted.items():
        slashed = name if "/" in name else name.replace(".", "/")
        path = Path(os.path.normpath(f"/proc/sys/{slashed}"))
        if not path.is_relative_to("/proc/sys/net"):
            raise LabError(f'sysctl "{name}" is not the pod\'s own: only those that begin with net. are')
        try:
            path.write_text(value)
        except OSError as error:
            raise LabError(f'cannot set sysctl "{name}" to "{value}": {error.strerror}') from error


def change_volumes(sandbox: int, wanted: Mapping[str, Volume], tell: socket.socket) -> NoReturn:
    """Give volumes of the pod other files."""
    with _ending(tell):
        _leave_the_runtime({tell.fileno(), sandbox})
        linux.setns(sandbox, linux.NEWNS)
        volumes.fill(wanted)
        os._exit(0)


# Containers


def be_container(
    place: Place, setup: ContainerSetup, streams: Streams, serve_names: Callable[[], None] | None, tell: socket.socket
) -> NoReturn:
    """Become the container's program: says what runs and why. Ends at once where nothing, or a stand-in, does."""
    with _ending(tell):
        _enter(place, streams, tell)
        values = environment(setup.environment, place.hostname)
        runs, arguments, note = (NAME_SERVER, (), "") if serve_names else choose(setup, values)
        tell.send(json.dumps({"runs": runs, "note": note}).encode())
        if runs in (STAND_IN, SKIPPED):
            os._exit(0)
        _take_terminal(streams, tell)
        directory = Path("/", setup.directory)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
        os.chdir(directory)
        linux.keep_capabilities(linux.CONTAINER_CAPABILITIES)
        if serve_names:
            _serve(serve_names, tell)
        _become_user(setup.user, setup.group)
        os.execvpe(arguments[0], list(arguments), _with_terminal(values, streams))


def _serve(serve_names: Callable[[], None], tell: socket.socket) -> NoReturn:
    """Be the cluster's DNS: still this program, so that its memory stays hidden from others in the pod."""
    linux.set_process_name("lab-names")
    tell.close()
    try:
        serve_names()
    except BaseException:  # noqa: BLE001  (a forked child must never return into the runtime's code)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def environment(given: Mapping[str, str], hostname: str) -> dict[str, str]:
    """A container's environment: the runtime's defaults, then its own."""
    return {"PATH": PATH, "HOME": "/root", "HOSTNAME": hostname, "LANG": "C.UTF-8", **given}


def choose(setup: ContainerSetup, values: Mapping[str, str]) -> tuple[str, tuple[str, ...], str]:
    """(what runs, its arguments, why); looks for the program in the file system of the calling process."""
    instead = SKIPPED if setup.initial else STAND_IN
    if not setup.command:
        return instead, (), "no command of its own" if setup.initial or setup.arguments else ""
    program = setup.command[0]
    if shutil.which(program, path=values.get("PATH", PATH)) is None:
        return instead, (), f"{program} is not on this machine"
    return COMMAND, (*setup.command, *setup.arguments), ""


def be_beside(
    place: Place, setup: ContainerSetup, command: tuple[str, ...], streams: Streams, tell: socket.socket
) -> NoReturn:
    """Become a program beside a container's own, with its rights, environment and files."""
    with _ending(tell):
        _enter(place, streams, tell)
        values = environment(setup.environment, place.hostname)
        directory = setup.directory or "/"
        if not Path(directory).is_dir():
            raise _Refused(f"exec: the directory {directory} does not exist", NOT_FOUND)
        os.chdir(directory)
        _check(command, values)
        _take_terminal(streams, tell)
        linux.keep_capabilities(linux.CONTAINER_CAPABILITIES)
        _become_user(setup.user, setup.group)
        try:
            os.execvpe(command[0], list(command), _with_terminal(values, streams))
        except OSError as error:
            raise _Refused(f'exec: "{command[0]}": {error.strerror}', NOT_EXECUTABLE) from error


def _check(command: tuple[str, ...], values: Mapping[str, str]) -> None:
    name = command[0]
    if "\0" in "".join(command):
        raise _Refused("exec: a command holds a NUL character", NOT_EXECUTABLE)
    if "/" not in name:
        if shutil.which(name, path=values.get("PATH", PATH)) is None:
            raise _Refused(f'exec: "{name}": executable file not found in $PATH', NOT_FOUND)
    elif not Path(name).is_file():
        raise _Refused(f'exec: "{name}": no such file or directory', NOT_FOUND)
    elif not os.access(name, os.X_OK):
        raise _Refused(f'exec: "{name}": permission denied', NOT_EXECUTABLE)


def _enter(place: Place, streams: Streams, tell: socket.socket) -> None:
    """Into the pod (the fork has joined its PID namespace already) and to the container's mounts."""
    held = {tell.fileno(), place.sandbox, *(() if place.container is None else (place.container,))}
    linux.hide_memory()
    _leave_the_runtime(held | set(streams.descriptors or ()))
    _standard(streams.descriptors or _nothing())
    linux.setns(place.sandbox, _WELL_INSIDE)
    if place.container is not None:
        linux.setns(place.container, linux.NEWNS)
    else:
        linux.unshare(linux.NEWNS)
        volumes.mount(place.mounts)
    for descriptor in held - {tell.fileno()}:
        os.close(descriptor)


def _take_terminal(streams: Streams, tell: socket.socket) -> None:
    """Make a terminal of the pod's and send its other end to the runtime, unless there are streams."""
    if streams.descriptors is not None:
        return
    near, far = os.openpty()
    fcntl.ioctl(far, termios.TIOCSCTTY, 0)
    _standard((far, far, far))
    socket.send_fds(tell, [b'{"terminal": true}'], [near])
    os.close(near)


def _with_terminal(values: dict[str, str], streams: Streams) -> dict[str, str]:
    return values if streams.descriptors else {"TERM": "xterm", **values}


def _become_user(user: int | None, group: int | None) -> None:
    """Be this user where there is more than one: a namespace with a single user has no other to become."""
    if user is None and group is None:
        return
    for standard in (0, 1, 2):
        if stat.S_ISFIFO(os.fstat(standard).st_mode) or os.isatty(standard):  # never the machine's /dev/null
            with contextlib.suppress(OSError):  # so that /dev/stdout can be opened
                os.fchown(standard, user or 0, group or 0)
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setgid(group or 0)
    if user is not None:
        with contextlib.suppress(OSError):
            os.setuid(user)


# All of them


def _leave_the_runtime(kept: Iterable[int]) -> None:
    """A session of its own, signals as they are by default, and no open file but those to be kept and 0 to 2."""
    signal.set_wakeup_fd(-1)
    for number in _CHANGED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    os.umask(0o022)
    last = 2
    for descriptor in sorted(one for one in kept if one > last):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, 1 << 20)


def _nothing() -> tuple[int, int, int]:
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    return nothing, nothing, nothing


def _standard(descriptors: tuple[int, int, int]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for descriptor in {one for one in descriptors if one > 2}:
        os.close(descriptor)


@contextlib.contextmanager
def _ending(tell: socket.socket) -> Iterator[None]:
    """Tell what goes wrong, and never go on with the runtime's code."""
    code = CANNOT_START
    try:
        yield
    except _Refused as error:
        code = error.code
        _fail(tell, str(error), code)
    except LabError as error:
        _fail(tell, str(error), code)
    except OSError as error:
        _fail(tell, f"{error.filename or 'starting'}: {error.strerror}", code)
    except BaseException as error:  # noqa: BLE001  (nobody else is there to tell)
        sys.excepthook(*sys.exc_info())
        _fail(tell, f"{type(error).__name__}: {error}; this is a bug", code)
    finally:
        os._exit(code)


def _fail(tell: socket.socket, text: str, code: int) -> None:
    with contextlib.suppress(OSError):
        tell.send(json.dumps({"failed": text, "code": code}).encode())
