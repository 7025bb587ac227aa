"""What runs in the pods: something that listens, and something that tries to connect all the time and says how it went.

The images that people have are small and different, so a shell looks for what is there: python3 (the lab's pods have
it, too), agnhost, busybox's httpd and wget. A line of the client is `ADDRESS ok`, `ADDRESS refused` or `ADDRESS no`.
"""

from __future__ import annotations

from collections.abc import Sequence

PORT = 8080
ATTEMPT = 0.5
"""Seconds after which an attempt has failed, where the program can wait for parts of a second; else one second."""
EVERY = 0.05
"""Seconds between the beginnings of attempts; where one program tries after the other, between end and beginning."""

_SERVER = """\
import socket, sys
port = int(sys.argv[1])
try:
    listening = socket.create_server(("::", port), family=socket.AF_INET6, backlog=64, dualstack_ipv6=True)
except (OSError, ValueError):
    listening = socket.create_server(("", port), backlog=64)
while True:
    listening.accept()[0].close()
"""
_SERVE = """\
if command -v python3 >/dev/null 2>&1; then exec python3 -c "$1" "$2"; fi
if [ -x /agnhost ]; then exec /agnhost netexec --http-port="$2"; fi
if command -v httpd >/dev/null 2>&1; then exec httpd -f -p "$2" -h /etc; fi
echo "the image has neither python3 nor agnhost nor httpd" >&2
exit 1
"""
_CLIENT = """\
import errno, os, selectors, socket, sys, time
port, attempt, every, end = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), time.time() + float(sys.argv[4])
due, trying = dict.fromkeys(sys.argv[5:], 0.0), selectors.DefaultSelector()
def told(address, code):
    said = "ok" if code == 0 else "refused" if code == errno.ECONNREFUSED else "no"
    os.write(1, f"{address} {said}\\n".encode())
def ended(key, code):
    trying.unregister(key.fileobj)
    key.fileobj.close()
    told(key.data[0], code)
while time.time() < end:
    now = time.time()
    for address in [one for one in due if due[one] <= now]:
        due[address] = now + every
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.setblocking(False)
        code = made.connect_ex((address, port))
        if code in (0, errno.EINPROGRESS):
            trying.register(made, selectors.EVENT_WRITE, (address, now))
        else:
            made.close()
            told(address, code)
    for key, _ in trying.select(every / 4):
        ended(key, key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    for key in [one for one in trying.get_map().values() if one.data[1] + attempt < time.time()]:
        ended(key, errno.ETIMEDOUT)
"""
_TRY = """\
program=$1; port=$2; attempt=$3; every=$4; seconds=$5; shift 5
if command -v python3 >/dev/null 2>&1; then exec python3 -c "$program" "$port" "$attempt" "$every" "$seconds" "$@"; fi
once=""
wget --version >/dev/null 2>&1 && once="-t 1"
connect() {
  case $1 in *:*) host="[$1]";; *) host=$1;; esac
  if [ -x /agnhost ]; then /agnhost connect "$host:$port" --timeout=1s; return; fi
  wget -q $once -T 1 -O /dev/null "http://$host:$port/hostname"
}
end=$(($(date +%s) + seconds))
watch() {
  while [ "$(date +%s)" -lt "$end" ]; do
    if connect "$1" >/dev/null 2>&1; then echo "$1 ok"; else echo "$1 no"; fi
    sleep "$every" 2>/dev/null || sleep 1
  done
}
for address in "$@"; do watch "$address" & done
wait
"""


def serve() -> list[str]:
    """The command of a pod that listens."""
    return ["sh", "-c", _SERVE, "serve", _SERVER, str(PORT)]


def sleep(seconds: int) -> list[str]:
    """The command of a pod from which connections are tried."""
    return ["sleep", str(seconds)]


def connect(addresses: Sequence[str], seconds: int) -> list[str]:
    """The program that tries to connect to each address again and again."""
    return ["sh", "-c", _TRY, "try", _CLIENT, str(PORT), str(ATTEMPT), str(EVERY), str(seconds), *addresses]
