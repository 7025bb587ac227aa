"""The command that opens connections in a pod, whatever its image has: python3, agnhost, or busybox's nc.

A shell looks for them. What the last two cannot tell is `unknown`: nc speaks no UDP that it could judge, and no SCTP.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from importlib import resources

AT_ONCE = 20
"""Targets that a shell tries at once; a program of python3 tries more."""
_TRY = """\
program=$1; timeout=$2; attempts=$3; shift 3
if command -v python3 >/dev/null 2>&1; then exec python3 -c "$program" "$timeout" "$attempts" "$@"; fi
whole=${timeout%%.*}; [ "${whole:-0}" -ge 1 ] || whole=1
agnhost() {
  case $2 in *:*) host="[$2]";; *) host=$2;; esac
  said=$(/agnhost connect "$host:$3" --timeout="${whole}s" --protocol="$(echo "$1" | tr A-Z a-z)" 2>&1)
  case $said in
    "") echo open;; *REFUSED*) echo refused;; *TIMEOUT*) [ "$1$4" = UDPno ] && echo unknown || echo dropped;;
    *) echo "error|0|$(echo "$said" | tr -d '|' | head -n 1)";;
  esac
}
netcat() {
  if [ "$1" != TCP ]; then echo "unknown|0|the image can measure TCP alone"; return; fi
  said=$(timeout $((whole + 1)) nc -w "$whole" "$2" "$3" </dev/null 2>&1); code=$?
  case $code:$said in
    0:*|124:*|143:*) echo open;; *refused*) echo refused;; *"timed out"*) echo dropped;;
    *nreachable*|*ermitted*|*"No route"*) echo rejected;; *) echo "error|0|$(echo "$said" | tr -d '|' | head -n 1)";;
  esac
}
if [ -x /agnhost ]; then tool=agnhost; elif command -v nc >/dev/null 2>&1; then tool=netcat; else
  echo "the image has neither python3 nor agnhost nor nc" >&2; exit 127
fi
index=0
for target in "$@"; do
  ( IFS="|"; set -- $target; unset IFS; echo "$index|$($tool "$@")" ) &
  index=$((index + 1)); [ $((index % AT_ONCE)) -eq 0 ] && wait
done
wait
"""


@functools.cache
def _text() -> str:
    return resources.files("gatewright.probe.live").joinpath("inpod.py").read_text()


def command(targets: Iterable[tuple[str, str, int, bool]], timeout: float, attempts: int) -> list[str]:
    """The command for targets: protocol, address, port, and whether a UDP listener there answers."""
    words = [
        f"{protocol}|{address}|{port}|{'yes' if answers else 'no'}" for protocol, address, port, answers in targets
    ]
    script = _TRY.replace("AT_ONCE", str(AT_ONCE))
    return ["sh", "-c", script, "try", _text(), str(timeout), str(attempts), *words]


def results(output: bytes, count: int) -> Sequence[tuple[str, float, str] | None]:
    """(result, seconds, detail) of each target, None where nothing was said of it."""
    found: list[tuple[str, float, str] | None] = [None] * count
    for line in output.decode("utf-8", "replace").splitlines():
        index, _, rest = line.partition("|")
        result, seconds, detail = (*rest.split("|", 2), "", "")[:3]
        if index.isdecimal() and int(index) < count and result:
            found[int(index)] = (result, _number(seconds), detail)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
