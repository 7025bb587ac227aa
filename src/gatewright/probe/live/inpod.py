"""What runs inside of a pod: opens connections and says what became of each. Sent as text, it imports nothing of ours.

Called with the seconds of one attempt, the number of attempts, and targets `TCP|10.0.0.1|80|yes`: protocol, address,
port, and whether a UDP listener there is known to answer. Prints one line a target: its index, the result, the seconds
it took, and a detail. Results are those of `gatewright.probe.connect`.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time

IN_FLIGHT = 200
QUERY = bytes.fromhex("4757 0100 0001 0000 0000 0000 00 0002 0001")
AGAIN = 0.2
PROHIBITED = (errno.EHOSTUNREACH, errno.EACCES, errno.EPERM)
NO_PROTOCOL = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)


class Attempt:
    """A target that is being tried."""

    def __init__(self, index: int, text: str) -> None:
        self.index = index
        self.protocol, self.address, port, answers = text.split("|")
        self.port, self.answers = int(port), answers == "yes"
        self.tries = 0
        self.began = self.first = self.sent = 0.0
        self.handle: socket.socket | None = None

    def begin(self) -> int:
        """Open a new socket; the error code of connecting."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        if self.protocol == "SCTP":
            self.handle = socket.socket(family, socket.SOCK_STREAM, 132)
        else:
            self.handle = socket.socket(family, socket.SOCK_DGRAM if self.protocol == "UDP" else socket.SOCK_STREAM)
        self.handle.setblocking(False)
        self.tries += 1
        self.began = time.monotonic()
        self.first = self.first or self.began
        code = self.handle.connect_ex((self.address, self.port))
        return self.send() if code == 0 and self.protocol == "UDP" else code

    def send(self) -> int:
        """Send the datagram that is to be answered; EINPROGRESS, or the error that an earlier one met."""
        assert self.handle is not None
        self.sent = time.monotonic()
        try:
            self.handle.send(QUERY)
        except BlockingIOError:
            pass
        except OSError as error:
            return error.errno or errno.EIO
        return errno.EINPROGRESS

    def outcome(self) -> int:
        """The error code that is there once the socket is ready."""
        assert self.handle is not None
        if self.protocol != "UDP":
            return self.handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            self.handle.recv(65535)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def end(self, result: str, detail: str = "") -> None:
        """Say what became of it."""
        seconds = time.monotonic() - self.first if self.first else 0.0
        sys.stdout.write(f"{self.index}|{result}|{seconds:.4f}|{detail}\n")
        self.close()

    def close(self) -> None:
        """Let go of the socket."""
        if self.handle is not None:
            self.handle.close()
            self.handle = None


def heard(code: int) -> tuple[str, str]:
    """The result that an error code stands for."""
    detail = os.strerror(code) if code else ""
    if code == 0:
        return "open", detail
    if code == errno.ECONNREFUSED:
        return "refused", detail
    if code in NO_PROTOCOL:
        return "unknown", "the node's kernel has no such protocol"
    return ("rejected" if code in PROHIBITED else "error"), detail


def overdue(attempt: Attempt, attempts: int) -> bool:
    """Whether to try again (True), after an attempt was silent for too long; the last one is told."""
    if attempt.tries < attempts:
        attempt.close()
        return True
    silent = attempt.protocol == "UDP" and not attempt.answers
    attempt.end("unknown" if silent else "dropped", f"no answer in {attempts} attempts")
    return False


def main(timeout: float, attempts: int, targets: list[str]) -> None:
    """Try every target, a bounded number at once."""
    queue = [Attempt(index, text) for index, text in enumerate(targets)][::-1]
    running: dict[int, Attempt] = {}
    poll = select.poll()
    while queue or running:
        while queue and len(running) < IN_FLIGHT:
            attempt = queue.pop()
            try:
                code = attempt.begin()
            except OSError as error:
                code = error.errno or errno.EIO
            if code != errno.EINPROGRESS or attempt.handle is None:
                attempt.end(*heard(code))
                continue
            number = attempt.handle.fileno()
            poll.register(number, select.POLLIN if attempt.protocol == "UDP" else select.POLLOUT)
            running[number] = attempt
        for number, _ in poll.poll(20):
            poll.unregister(number)
            attempt = running.pop(number)
            attempt.end(*heard(attempt.outcome()))
        now = time.monotonic()
        for number, attempt in list(running.items()):
            if now - attempt.began > timeout:
                poll.unregister(number)
                del running[number]
                if overdue(attempt, attempts):
                    queue.append(attempt)
            elif attempt.protocol == "UDP" and now - attempt.sent > AGAIN:
                attempt.send()
        sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
