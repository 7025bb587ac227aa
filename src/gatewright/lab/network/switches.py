"""The kernel's switches of a network namespace that routes, and which address families the kernel has."""

from __future__ import annotations

from pathlib import Path

from gatewright.lab.errors import LabError

_SYSTEM = Path("/proc/sys/net")
_OF_A_ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    "ipv6/conf/all/accept_redirects": "0",
    "ipv6/conf/default/accept_redirects": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
}
"""Two of them by their effect: links get no link-local addresses of their own, and no address waits to be found unique.

Without link-local addresses the kernel sends no IPv6 redirects either (it has no switch for them)."""


def route_packets() -> None:
    """Make the calling thread's network namespace a router. For links made afterwards. Raises LabError."""
    for name, value in _OF_A_ROUTER.items():
        path = _SYSTEM / name
        try:
            if path.exists() and path.read_text().strip() != value:
                path.write_text(value)
        except OSError as error:
            raise LabError(f"cannot set {path} to {value} ({error.strerror}); is /proc/sys read-only here?") from error


def kernel_families() -> tuple[int, ...]:
    """The address families that this kernel has, 4 and maybe 6."""
    disabled = _SYSTEM / "ipv6/conf/all/disable_ipv6"
    try:
        return (4, 6) if disabled.read_text().strip() == "0" else (4,)
    except OSError:
        return (4,)
