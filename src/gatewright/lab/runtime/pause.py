"""The sandbox' program: it waits, and nothing else. A page of code and one of stack, where `sleep` takes 125 kB.

The first process of a PID namespace need not do more: the kernel reaps orphans for a parent that ignores SIGCHLD, and
drops every signal from inside that the process has no handler for (pid_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import NoReturn

PAUSE = ("sleep", "2147483647")
"""What waits on other machines."""
_CODE = {
    # mov eax, 34 (pause); syscall; jmp back
    "x86_64": (62, "b822000000 0f05 ebf7"),
    # mov x8, 73 (ppoll); mov x0 to x4, 0; svc 0; b back
    "aarch64": (183, "280980d2 000080d2 010080d2 020080d2 030080d2 040080d2 010000d4 f9ffff17"),
}
_LOADED = 0x400000
_ELF, _PROGRAM = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ")


def program(machine: str) -> bytes | None:
    """The program for a kind of machine (as uname(2) calls it): an ELF file, elf(5). None: use `sleep`."""
    if machine not in _CODE:
        return None
    number, text = _CODE[machine]
    code = bytes.fromhex(text)
    begin = _ELF.size + _PROGRAM.size
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    executable, current, readable_and_executable = 2, 1, 5
    header = _ELF.pack(
        *(identity, executable, number, current, _LOADED + begin, _ELF.size, 0, 0, _ELF.size, _PROGRAM.size, 1),
        *(0, 0, 0),
    )
    size = begin + len(code)
    load = _PROGRAM.pack(1, readable_and_executable, 0, _LOADED, _LOADED, size, size, 0x1000)
    return header + load + code


def prepared() -> int:
    """A descriptor of the program in memory, for `wait`; -1 where this machine cannot have it."""
    made = program(os.uname().machine)
    if made is None:
        return -1
    try:
        descriptor = os.memfd_create("pause", os.MFD_CLOEXEC)
        os.write(descriptor, made)
        os.fchmod(descriptor, 0o555)
    except OSError:  # no memory files, or none that may be executed
        return -1
    return descriptor


def wait(descriptor: int, path: str) -> NoReturn:
    """Become the program. Raises OSError."""
    if descriptor >= 0:
        with contextlib.suppress(OSError):  # memory files may not be executed (vm.memfd_noexec)
            os.execve(descriptor, ["pause"], {})
    os.execvpe(PAUSE[0], list(PAUSE), {"PATH": path})
