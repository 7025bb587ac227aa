"""Starting the lab process: out of the terminal, into new namespaces, and never half.

`launch` forks, not executes. The new process becomes the first of a PID namespace with mount, network, UTS and IPC
namespaces of its own, and a user namespace where the caller lacks the rights of an administrator. Before it leaves the
machine's network it opens the one socket there by which the machine's user reaches the API. It answers over a pipe once
everything stands, or with what went wrong.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import logging
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from gatewright.errors import GatewrightError
from gatewright.kernel.nft import default_backend
from gatewright.lab import linux
from gatewright.lab.directory import LabDirectory, start_time
from gatewright.lab.errors import LabError
from gatewright.lab.supervisor.settings import LabSettings

_NAMESPACES = linux.NEWNS | linux.NEWNET | linux.NEWUTS | linux.NEWIPC
_UP_WITHIN = 120.0
_LOOPBACK = "127.0.0.1"
_NEEDED = {
    "dns": "dnspython",
    "httptools": "httptools",
    "lightkube": "lightkube",
    "prometheus_client": "prometheus-client",
    "uvicorn": "uvicorn",
    "wsproto": "wsproto",
}
"""Module to package: what the extra `lab` installs."""


def launch(directory: LabDirectory, settings: LabSettings) -> None:
    """Start the lab and return when its API answers. Raises GatewrightError, and leaves nothing behind then."""
    for module, package in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise LabError(f"the lab needs {package}; install it with: pip install 'gatewright[lab]'")
    default_backend()
    if not settings.api and shutil.which("openssl") is None:
        raise LabError("the lab needs the program openssl for its certificates; install the package openssl")
    directory.prepare()
    told, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(told)
        _detach(directory, tell)
        _isolate_and_serve(directory, settings, tell)
    os.close(tell)
    try:
        os.waitpid(child, 0)
        _require_up(_message(told))
    except BaseException:
        kill(directory)
        directory.remove()
        raise
    finally:
        os.close(told)


def kill(directory: LabDirectory, within: float = 30.0) -> bool:
    """End the lab's process, and with it everything in the lab; whether there was one. Waits until it is gone."""
    pid = directory.process()
    if pid is None:
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if directory.process() != pid:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(within * 1000):
            raise LabError(f'lab "{directory.name}": process {pid} does not end')
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise LabError(f'lab "{directory.name}" belongs to another user; stop it as that user') from error
    finally:
        os.close(handle)
    return True


def _message(told: int) -> bytes:
    data = b""
    deadline = time.monotonic() + _UP_WITHIN
    while select.select([told], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(told, 65536)
        if not part:
            return data
        data += part
    raise LabError(f"the lab did not come up within {_UP_WITHIN:.0f} s")


def _require_up(message: bytes) -> None:
    first, _, _ = message.partition(b"\n")
    told = json.loads(first or b'{"error": "the lab process ended without a word; the kernel may have killed it"}')
    if "error" in told:
        raise LabError(told["error"])


def _tell(tell: int, message: dict[str, object]) -> None:
    with contextlib.suppress(OSError):
        os.write(tell, json.dumps(message).encode() + b"\n")


def _detach(directory: LabDirectory, tell: int) -> None:
    """Leave the terminal, the caller's directory and its open files."""
    logging.basicConfig(handlers=[], force=True)  # the caller's handlers close their files while these are still theirs
    os.setsid()
    os.umask(0o022)
    os.chdir("/")
    log = os.open(directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, tell)
    os.closerange(tell + 1, 65536)
    # A caller may have put something else in their place (a test runner does), whose files are closed now.
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _isolate_and_serve(directory: LabDirectory, settings: LabSettings, tell: int) -> NoReturn:
    try:
        _unshare()
        pid = os.fork()
        if pid == 0:
            _be_the_lab(directory, settings, tell)
        _write_down(pid, directory)
    except LabError as error:
        _tell(tell, {"error": str(error)})
    except OSError as error:
        _tell(tell, {"error": _cannot(error, directory)})
    finally:
        os._exit(0)


def _write_down(pid: int, directory: LabDirectory) -> None:
    """Say which process the lab is; one that nobody could find again does not stay."""
    started = start_time(pid)
    if started is None:
        return
    try:
        directory.pid_file.write_text(f"{pid} {started}\n")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


def _cannot(error: OSError, directory: LabDirectory) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot start the lab: no space left for {directory.path}; make room there, or set XDG_RUNTIME_DIR"
    return f"cannot start the lab: {error.strerror}{f' ({error.filename})' if error.filename else ''}"


def _unshare() -> None:
    if linux.has_capability(linux.CAP_SYS_ADMIN):
        try:
            linux.unshare(linux.NEWPID)
            return
        except PermissionError:
            pass
    user, group = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        linux.unshare(linux.NEWPID)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS, errno.EINVAL):
            raise
        raise LabError(
            "no permission to make namespaces: run as root, or allow user namespaces "
            "(sysctl user.max_user_namespaces=10000, kernel.unprivileged_userns_clone=1, "
            "kernel.apparmor_restrict_unprivileged_userns=0 where those exist)"
        ) from error


def _require_packet_filter(settings: LabSettings) -> None:
    """Raises GatewrightError, a line for each thing that the nodes lack. Services need nftables, policies more."""
    from gatewright.kernel.nft import Nft
    from gatewright.kernel.preflight import preflight

    Nft()
    missing = preflight(bridge=False) if settings.network == "enforcing" else []
    if missing:
        raise LabError("\n".join(str(one) for one in missing))


def _be_the_lab(directory: LabDirectory, settings: LabSettings, tell: int) -> NoReturn:
    try:
        from gatewright.lab.network.switches import kernel_families
        from gatewright.lab.supervisor import foreign
        from gatewright.lab.supervisor.components import Site
        from gatewright.lab.supervisor.lab import Lab
        from gatewright.lab.web import listen

        linux.set_process_name("gatewright-lab")
        linux.spare_memory()
        found = foreign.read(settings.api, directory.name) if settings.api else None
        reached = foreign.fork_relay(found) if found else listen(_LOOPBACK, 0)
        linux.unshare(_NAMESPACES)
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        with contextlib.suppress(OSError):  # forbidden in some containers: the old /proc serves then
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        linux.set_hostname("lab")
        _require_packet_filter(settings)
        if found:
            foreign.write(found, directory)
        lab = Lab(Site(directory, settings, settings.plan.only(kernel_families()).families), reached)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory.socket))
        os.chmod(directory.socket, 0o600)
        listener.listen(64)
        lab.start()
        os.write(tell, b'{"up": true}\n')  # fails when the caller has given up meanwhile; then so does the lab
        os.close(tell)
        lab.run(listener)
    except GatewrightError as error:
        _tell(tell, {"error": str(error)})
    except OSError as error:
        traceback.print_exc()
        _tell(tell, {"error": _cannot(error, directory)})
    except BaseException as error:  # noqa: BLE001  (nobody else is left to tell)
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
        _tell(tell, {"error": f"the lab failed; this is a bug: {what}"})
    finally:
        os._exit(1)
