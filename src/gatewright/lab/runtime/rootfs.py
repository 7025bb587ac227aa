"""The root file system of a pod: this machine's programs, nothing of its state, and nothing that can be harmed.

Each directory of programs and settings is a copy-on-write layer over the machine's own (an overlay whose upper side
is the pod's private memory), so a pod may write anywhere, as in a container, and no write reaches the machine; sockets
below them cannot be connected to either. Homes, /run, /tmp, /var/log and devices of the machine are not there at all.
Mount points for volumes can be made anywhere for the same reason. Overlays by an unprivileged user need Linux 5.11.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gatewright.lab import linux
from gatewright.lab.errors import LabError

_LAYERED = ("usr", "etc", "opt", "srv", "var/lib")
_MAYBE_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PRIVATE = ("tmp", "run", "root", "home", "mnt", "media", "var/tmp", "var/log", "var/cache", "var/spool", "var/mail")
_SECRETS = (
    *("etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-", "etc/sudoers", "etc/sudoers.d", "etc/ssl/private"),
    *("etc/ssh/ssh_host_*_key", "etc/krb5.keytab", "etc/NetworkManager/system-connections", "etc/wireguard"),
    *("etc/kubernetes", "etc/rancher", "etc/docker", "etc/containerd"),
    *("var/lib/kubelet", "var/lib/etcd", "var/lib/rancher", "var/lib/docker", "var/lib/containerd", "var/lib/cni"),
)
"""What root keeps to itself below the layered directories: keys, passwords, and what clusters on this machine hold."""
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")
_PROC_HIDDEN = ("kcore", "keys", "timer_list", "sched_debug", "latency_stats")
_SAFE = linux.MS_NOSUID | linux.MS_NODEV
_LOCKED = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
LAYERS = ".gatewright"
"""The pod's own directory for the upper sides of its layers and its volumes."""


def build(mount_point: Path, hostname: str, files: Mapping[str, str], mount_points: Iterable[str]) -> None:
    """Build the root in this mount namespace and move into it.

    `files` are written into it (path to text); mount points can be made at `mount_points` later on.

    The caller is the first process of new mount, PID and UTS namespaces. Raises LabError.
    """
    try:
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("gatewright", str(mount_point), "tmpfs", _SAFE, "mode=755,size=50%")
        _directories(mount_point, [path.strip("/") for path in mount_points])
        _hide_secrets(mount_point)
        _devices(mount_point)
        _proc(mount_point)
        with contextlib.suppress(OSError):
            linux.mount("sysfs", str(mount_point / "sys"), "sysfs", _SAFE | linux.MS_NOEXEC | linux.MS_RDONLY)
        for name, text in files.items():
            _write(mount_point, name, text)
        linux.set_hostname(hostname)
        linux.pivot_root(str(mount_point))
    except OSError as error:
        raise LabError(f"cannot build the pod's root file system: {error.filename}: {error.strerror}") from error


def _directories(root: Path, mount_points: list[str]) -> None:
    for name in ("proc", "sys", "dev", "var", *_PRIVATE):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "run/lock").mkdir()
    (root / "var/run").symlink_to("/run")
    (root / "var/lock").symlink_to("/run/lock")
    (root / LAYERS).mkdir(mode=0o700)
    for name in _LAYERED:
        if Path("/", name).is_dir():
            _layer(root, name, mount_points)
    for name in _MAYBE_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            (root / name).symlink_to(os.readlink(path))
        elif path.is_dir():
            _layer(root, name, mount_points)


def _hide_secrets(root: Path) -> None:
    """Empty what a pod of a lab of root's could read otherwise, being root; its processes cannot take a mount away."""
    for pattern in _SECRETS:
        for path in root.glob(pattern):
            if path.is_symlink():
                path.unlink()  # from the pod's own layer; what it led to may be anywhere in the pod
            elif path.is_dir():
                linux.mount("hidden", str(path), "tmpfs", _LOCKED, "mode=755,size=64k")
            else:
                linux.mount("/dev/null", str(path), "", linux.MS_BIND)


def _layer(root: Path, name: str, mount_points: list[str]) -> None:
    target, store = root / name, root / LAYERS / name.replace("/", "-")
    target.mkdir(parents=True, exist_ok=True)
    for part in ("upper", "work"):
        (store / part).mkdir(parents=True)
    for path in mount_points:
        if path.startswith(f"{name}/"):
            _own_parents(Path("/", name), store / "upper", path[len(name) + 1 :])
    options = f"lowerdir=/{name},upperdir={store}/upper,workdir={store}/work"
    own_attributes = "" if os.stat("/proc/self/ns/user").st_ino == _INITIAL_USER_NAMESPACE else ",userxattr"
    linux.mount("overlay", str(target), "overlay", _SAFE, options + own_attributes)


def _own_parents(machine: Path, upper: Path, path: str) -> None:
    """Make the directories above a mount point this layer's, so that they belong to the pod's root (a link stays)."""
    for part in Path(os.path.normpath(path)).parts[:-1]:
        machine, upper = machine / part, upper / part
        if part == ".." or machine.is_symlink():
            return
        upper.mkdir(exist_ok=True)


_INITIAL_USER_NAMESPACE = 0xEFFFFFFD


def _devices(root: Path) -> None:
    device = root / "dev"
    linux.mount("devices", str(device), "tmpfs", linux.MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        (device / name).touch()
        linux.mount(f"/dev/{name}", str(device / name), "", linux.MS_BIND)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (device / name).symlink_to(f"/proc/self/{target}")
    for name in ("pts", "shm"):
        (device / name).mkdir()
    linux.mount("devpts", str(device / "pts"), "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666")
    (device / "ptmx").symlink_to("pts/ptmx")
    linux.mount("shm", str(device / "shm"), "tmpfs", _SAFE, "mode=1777,size=64m")


def _proc(root: Path) -> None:
    """A /proc of the pod's own processes; where the machine forbids one (nested containers), the lab's, read-only."""
    proc = root / "proc"
    try:
        linux.mount("proc", str(proc), "proc", _SAFE | linux.MS_NOEXEC)
    except OSError:
        linux.mount("/proc", str(proc), "", linux.MS_BIND | linux.MS_REC)
        _remount_read_only(str(proc))
        return
    for name in _PROC_READ_ONLY:
        path = str(proc / name)
        if os.path.exists(path):
            linux.mount(path, path, "", linux.MS_BIND)
            _remount_read_only(path)
    for name in _PROC_HIDDEN:
        if (proc / name).exists():
            linux.mount("/dev/null", str(proc / name), "", linux.MS_BIND)


def _remount_read_only(path: str) -> None:
    """Without losing a restriction the mount has: in a user namespace those are locked (mount_namespaces(7))."""
    kept = os.statvfs(path).f_flag & _LOCKED
    linux.mount(path, path, "", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | kept)


def _write(root: Path, name: str, text: str) -> None:
    path = Path(os.path.normpath(root / name))
    if not path.is_relative_to(root) or path == root:
        raise OSError(errno.EPERM, "the path leaves the pod", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.write_text(text)
