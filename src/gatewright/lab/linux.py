"""The Linux system calls that the lab needs and Python 3.11 does not offer: namespaces, mounts, capabilities.

Thin and typed: each function is one system call (or one `prctl`), raises `OSError` with the errno and the object named,
and keeps no state. Manual pages: unshare(2), setns(2), mount(2), pivot_root(2), capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
import struct

NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_CAPBSET_DROP, _PR_SET_NAME, _PR_SET_NO_NEW_PRIVS = 24, 15, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_CAPABILITY_VERSION_3 = 0x20080522

CAP_SYS_ADMIN = 21
CONTAINER_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31})
"""What container runtimes leave by default, but MKNOD (no device cgroup stands behind it here): CHOWN, DAC_OVERRIDE,
FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, AUDIT_WRITE, SETFCAP."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones (the PID namespace: for children only)."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Join the namespaces in `flags` of a process (a pidfd, Linux 5.8), or the one namespace of a namespace file."""
    _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flags)), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, bind, remount or change propagation, as the flags say (see the manual page)."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _check(result, target)


def detach(target: str) -> None:
    """Take a mount and everything below it out of this mount namespace, busy or not."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def pivot_root(root: str) -> None:
    """Make the mount at `root` this process' root and drop the old root."""
    os.chdir(root)
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(38, "pivot_root is not known on this machine", os.uname().machine)
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), root)
    detach(".")
    os.chdir("/")


def set_hostname(name: str) -> None:
    """Name this UTS namespace."""
    text = name.encode()
    _check(_libc.sethostname(text, ctypes.c_size_t(len(text))), name)


def set_process_name(name: str) -> None:
    """The name that `ps` shows; at most 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def end_with_parent(number: int) -> None:
    """Have a signal sent to this process when the thread that forked it ends; execve keeps that."""
    _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0)


def hide_memory() -> None:
    """Let no process without CAP_SYS_PTRACE look into this one, until it executes a program."""
    _libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0)


def spare_memory() -> None:
    """Have the C library take memory from one place and give it back, in this process and those that it forks.

    By default each thread allocates from an arena of its own, and what one of them has once needed stays with it
    (mallopt(3)). Other C libraries have no such call, and no such habit.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        for name, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 1 << 16), (_M_TRIM_THRESHOLD, 1 << 16)):
            mallopt(ctypes.c_int(name), ctypes.c_int(value))


def has_capability(number: int) -> bool:
    """Whether this process has a capability in effect."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data), "capget")
    low, _, _, high, _, _ = struct.unpack("=6I", data.raw)
    return bool((high << 32 | low) >> number & 1)


def keep_capabilities(kept: frozenset[int]) -> None:
    """Give up every other capability for good, for this process and whatever it executes."""
    for number in range(64):
        if number not in kept and _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) < 0:
            if ctypes.get_errno() == 22:  # past the last capability of this kernel
                break
            _check(-1, "capability bounding set")
    _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)
    bits = sum(1 << number for number in kept)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "no_new_privs")
