"""Where a lab leaves its only traces on the machine: one directory, and how it is found, locked and cleaned.

A lab is alive while the process in its `pid` file lives (process id and start time, so that a reused id is never taken
for it). Everything else of the lab hangs on that process and goes with it; a directory whose process is gone is
stale and is removed by the next `up` or `down`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatewright.lab.errors import LabError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_SOCKET_PATH_LIMIT = 107
_SPACE = 8 << 20
"""Bytes that a small lab's state and logs take within its first minutes, with room to spare."""


@dataclass(frozen=True, slots=True)
class LabDirectory:
    """The directory of one lab, by name."""

    name: str
    path: Path

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.path / "control"

    @property
    def pid_file(self) -> Path:
        """`PID START` of the lab process."""
        return self.path / "pid"

    @property
    def log(self) -> Path:
        """What the lab process itself says."""
        return self.path / "lab.log"

    @property
    def logs(self) -> Path:
        """One file a component."""
        return self.path / "logs"

    @property
    def api(self) -> Path:
        """The state and the keys of the API endpoint."""
        return self.path / "api"

    @property
    def kubeconfig(self) -> Path:
        """For whoever is outside the lab."""
        return self.path / "kubeconfig"

    @property
    def merged(self) -> Path:
        """Says which kubeconfig of the user's has the lab's context."""
        return self.path / "merged"

    @property
    def internal_kubeconfig(self) -> Path:
        """For whoever is inside the lab's network."""
        return self.path / "internal.kubeconfig"

    def machine(self, name: str) -> MachineDirectory:
        """The directory of a node, or of the outside host."""
        return MachineDirectory(self.path / "nodes" / name)

    def process(self) -> int | None:
        """The process id of the lab, or None when it does not run."""
        try:
            pid, start = map(int, self.pid_file.read_text().split())
        except (OSError, ValueError):
            return None
        return pid if start_time(pid) == start else None

    def prepare(self) -> None:
        """Make the directory anew. Raises LabError when it cannot be; nothing is left then."""
        self.remove()
        try:
            self.path.mkdir(mode=0o700)
            for child in (self.logs, self.api):
                child.mkdir(mode=0o700)
            self._require_space()
        except OSError as error:
            self.remove()
            raise LabError(f"cannot make the lab directory {error.filename}: {error.strerror}") from error
        except LabError:
            self.remove()
            raise

    def _require_space(self) -> None:
        """Raises LabError where the file system has hardly any room: a lab would start there and stop half-way."""
        found = os.statvfs(self.path)
        free = found.f_bavail * found.f_frsize
        if free < _SPACE:
            raise LabError(f"{self.path.parent} has {free >> 10} KiB left, a lab needs {_SPACE >> 10} KiB: make room")

    def remove(self) -> None:
        """Remove the directory and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class MachineDirectory:
    """The directory of one node of a lab."""

    path: Path

    @property
    def agent_socket(self) -> Path:
        """Where its agent answers."""
        return self.path / "agent.sock"

    @property
    def runtime_socket(self) -> Path:
        """Where its runtime answers."""
        return self.path / "runtime.sock"

    @property
    def pods(self) -> Path:
        """What its runtime keeps: the logs of containers."""
        return self.path / "pods"

    @property
    def kubelet(self) -> Path:
        """The keys of its kubelet."""
        return self.path / "kubelet"

    def prepare(self) -> None:
        """Make the directory, where it is missing."""
        for one in (self.path, self.pods, self.kubelet):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone (a zombie is gone)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def base_directory() -> Path:
    """The directory of all labs of this user, made on first use. Raises LabError."""
    candidates = _base_candidates()
    for base in candidates[:-1]:
        with contextlib.suppress(LabError):
            return _own_directory(base)
    return _own_directory(candidates[-1])


def _base_candidates() -> list[Path]:
    """Below /run as root (who may be root of a user namespace only, and not own it); else where users may write."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    own = Path(runtime) if runtime else Path.home() / ".local" / "state"
    return [Path("/run/gatewright/lab")] * (os.geteuid() == 0) + [own / "gatewright" / "lab"]


def _own_directory(base: Path) -> Path:
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = base.stat()
    except OSError as error:
        what = f"cannot make {base}: {error.strerror}"
        raise LabError(f"{what}; set XDG_RUNTIME_DIR to a directory of yours") from error
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise LabError(f"{base} must belong to you with mode 0700; run: chmod 700 {base}")
    return base


def lab_directory(name: str) -> LabDirectory:
    """The directory of the lab of this name (it may not exist). Raises LabError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise LabError(f'lab name "{name}": use at most 40 lower-case letters, digits and "-"')
    directory = LabDirectory(name, base_directory() / name)
    if len(os.fsencode(directory.socket)) > _SOCKET_PATH_LIMIT:
        raise LabError(f"{directory.socket}: the path is too long for a socket; set XDG_RUNTIME_DIR to a shorter one")
    return directory


def all_labs() -> list[LabDirectory]:
    """Every lab directory of this user, alive or stale."""
    base = base_directory()
    return [LabDirectory(path.name, path) for path in sorted(base.iterdir()) if path.is_dir()]


@contextlib.contextmanager
def starting(directory: LabDirectory) -> Iterator[int]:
    """Hold the right to start or stop this lab; yields the lock's descriptor. Raises LabError when another has it."""
    path = f"{directory.path}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LabError(f"cannot make {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        held = False
    try:
        if not held:
            raise LabError(f'lab "{directory.name}" is being started or stopped by another process; try again')
        yield descriptor
    finally:
        if held:
            os.unlink(path)
        os.close(descriptor)
