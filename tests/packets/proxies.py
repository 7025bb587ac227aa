"""A Service of one backend, programmed the way kube-proxy does: in its nftables mode, and in both kinds of iptables.

Cut down to what meets other programs: translation to the backend, the mark 0x4000 on what is to be masqueraded
(hairpin: a backend that reaches itself through its Service), the mark 0x8000 on what is to be dropped.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewright.engine.addresses import IPAddress
from gatewright.kernel.nft import Nft
from tests.packets.netns import Namespace

SERVICE = ipaddress.ip_address("10.96.0.1")
MARKED_FOR_DROP = 8181
"""Whatever goes to this TCP port of the backend gets the mark 0x8000."""
KINDS = ("nftables", "legacy", "nft")
_NFTABLES = """
table ip kube-proxy {{
  chain services {{
    ip daddr {backend} tcp dport {dropped} meta mark set meta mark | 0x8000 accept
    ip daddr {service} ip saddr {backend} meta mark set meta mark | 0x4000
    ip daddr {service} tcp dport 8000 dnat to {backend}:80
  }}
  chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade
  }}
  chain filter-forward {{ type filter hook forward priority filter; meta mark & 0x8000 == 0x8000 drop; }}
  chain filter-input {{ type filter hook input priority filter; meta mark & 0x8000 == 0x8000 drop; }}
}}
"""
_IPTABLES = """
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A KUBE-MARK-DROP -j MARK --or-mark 0x8000
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d {backend}/32 -p tcp --dport {dropped} -j KUBE-MARK-DROP
-A KUBE-SERVICES -d {service}/32 -s {backend}/32 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d {service}/32 -p tcp --dport 8000 -j DNAT --to-destination {backend}:80
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE
-A PREROUTING -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -j KUBE-FIREWALL
-A FORWARD -j KUBE-FIREWALL
-A FORWARD -j KUBE-FORWARD
COMMIT
"""


@contextmanager
def proxy(kind: str, node: Namespace, backend: IPAddress) -> Iterator[None]:
    """The Service, as long as the context lasts. Skips where the kind is not installed."""
    words = {"service": SERVICE, "backend": backend, "dropped": MARKED_FOR_DROP}
    if kind == "nftables":
        node.run(lambda: Nft().run(_NFTABLES.format(**words)))
    else:
        _iptables(kind, node, _IPTABLES.format(**words))
    try:
        yield
    finally:
        take_away(kind, node)


def take_away(kind: str, node: Namespace) -> None:
    """Everything of the proxy goes, whether it is there or not."""
    if kind == "nftables":
        node.run(lambda: Nft().run("add table ip kube-proxy\ndelete table ip kube-proxy\n"))
    else:
        _iptables(kind, node, "*nat\nCOMMIT\n*filter\nCOMMIT\n")


def _iptables(kind: str, node: Namespace, text: str) -> None:
    command = f"iptables-{kind}-restore"
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed: install the Debian package iptables")
    node.run(lambda: subprocess.run([command], input=text, text=True, check=True, capture_output=True, timeout=20))
