"""What must be there before a node can be made to enforce policies: one clear message for each thing that is not.

The kernel is asked, not its version: a program with everything we use is checked by the kernel itself, in a dry run.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from pathlib import Path

from gatewright.engine.addresses import FAMILIES, IPNetwork
from gatewright.kernel.apply import generation
from gatewright.kernel.conntrack import table_use
from gatewright.kernel.denial import counters, limits
from gatewright.kernel.errors import KernelError, NftRefused
from gatewright.kernel.guards import Guards, guard_sets
from gatewright.kernel.links import pod_bridges
from gatewright.kernel.monitor import Monitor
from gatewright.kernel.nft import Nft
from gatewright.kernel.options import Options
from gatewright.kernel.program import ACCEPT, frame
from gatewright.kernel.table import (
    ADDRESS_FIELD,
    Chain,
    Field,
    InSet,
    OtherProtocols,
    Program,
    Rule,
    Set,
    Side,
    Verb,
    VerdictMap,
)
from gatewright.kernel.text import listing

_ANY_ADDRESSES = frozenset(map(ipaddress.ip_address, ("192.0.2.1", "2001:db8::1")))
_ANY_RANGES = frozenset(map(ipaddress.ip_network, ("192.0.2.0/24", "2001:db8::/32")))
_SWITCHES = Path("/proc/sys/net")
BRIDGE_SWITCHES = _SWITCHES / "bridge"
BRIDGE_SWITCH = {4: "bridge-nf-call-iptables", 6: "bridge-nf-call-ip6tables"}
_FORWARDING_SWITCH = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
_PROBE = "gatewright_preflight"
_FEATURES = (
    ("tables for both families", "CONFIG_NF_TABLES_INET", "chain c { }"),
    ("connection states", "CONFIG_NFT_CT and the module nft_ct", "chain c { ct state established accept; }"),
    ("connection marks", "CONFIG_NF_CONNTRACK_MARK", "chain c { ct mark & 0x1 == 0x1 accept; }"),
    ("resets", "CONFIG_NFT_REJECT_INET and the module nft_reject_inet", "chain c { reject with tcp reset; }"),
    ("counters", "Linux 4.10", "counter n { }; chain c { counter name n; }"),
    ("limits", "CONFIG_NFT_LIMIT and the module nft_limit", "limit n { rate 1/second }; chain c { limit name n; }"),
    (
        "NFLOG",
        "CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG and the modules nft_log, nfnetlink_log",
        "chain c { log group 0; }",
    ),
    ("sets of concatenated ranges", "Linux 5.6", "set n { type ipv4_addr . inet_service; flags interval; }"),
)
"""What is used, what brings it, and a table that needs it."""


class KernelLacks(KernelError):
    """The kernel cannot do something the program needs."""


class BridgeNotFiltered(KernelError):
    """Packets between pods on one bridge bypass the packet filter."""


class NotForwarding(KernelError):
    """The node passes nothing on, whatever policies say."""


def preflight(
    nft: Nft | None = None, *, bridge: bool | None = None, pod_ranges: Collection[IPNetwork] = ()
) -> list[KernelError]:
    """What is missing in the calling thread's network namespace for enforcing policies, empty when nothing is.

    `bridge`: whether the node's pods hang on a bridge rather than on routed links of their own; None: they do where a
    bridge has an address in `pod_ranges`, the pod ranges of this node.
    """
    try:
        nft = nft or Nft()
        generation()
        with Monitor(_PROBE):
            pass
    except KernelError as error:
        return [error]
    missing = [*_conntrack_problems(), *_feature_problems(nft)]
    if bridge or (bridge is None and pod_bridges(pod_ranges)):
        missing += bridge_problems({network.version for network in pod_ranges} or FAMILIES)
    return missing


def _conntrack_problems() -> Iterator[KernelError]:
    try:
        table_use()
    except KernelError as error:
        yield KernelLacks(f"{error}: load the modules nf_conntrack and nf_conntrack_netlink")


def _feature_problems(nft: Nft) -> list[KernelError]:
    """The kernel checks everything at once; if it refuses, one feature after another, to name those it lacks."""
    try:
        nft.check(listing(everything()))
    except NftRefused as refused:
        lacking = [KernelLacks(f"this kernel has no {what}: it needs {source}") for what, source in _lacking(nft)]
        return [*lacking] or [KernelLacks(f"this kernel cannot hold the program: {refused.message}")]
    except KernelError as error:
        return [error]
    return []


def _lacking(nft: Nft) -> Iterator[tuple[str, str]]:
    for what, source, body in _FEATURES:
        try:
            nft.check(f"table inet {_PROBE} {{ {body}; }}\n")
        except NftRefused:
            yield what, source


def everything(table: str = _PROBE) -> Program:
    """A program in which everything stands that any program can have."""
    address = ADDRESS_FIELD[6]
    kinds = (
        ("exact", (address, Field.PROTOCOL, Field.PORT), False, (1, 6, 80)),
        ("ranges", (address, Field.PROTOCOL, Field.PORT), True, (1, 9, 6, 6, 80, 90)),
        ("protocols", (address, Field.PROTOCOL), True, (1, 9, 0, 255)),
    )
    options = Options(table=table, log_group=0, counters=True, start_closed=True, check_sources=True)
    sets = tuple(Set(name, fields, interval, frozenset({item})) for name, fields, interval, item in kinds)
    uses = tuple(Rule(InSet(part.name, part.fields, Side.SOURCE), ACCEPT) for part in sets)
    maps = tuple(
        VerdictMap(f"{direction}{family}", ADDRESS_FIELD[family], Verb.GOTO, frozenset({(1, "class")}))
        for direction in ("egress", "ingress")
        for family in (4, 6)
    )
    chains = (*frame(options), Chain("class", (*uses, Rule(OtherProtocols(), ACCEPT))))
    guarded = guard_sets(options, Guards(_ANY_RANGES, _ANY_ADDRESSES, frozenset((1, item) for item in _ANY_ADDRESSES)))
    return Program.of(table, (*sets, *guarded), maps, chains, counters(chains), limits(options))


def bridge_problems(families: Collection[int] = FAMILIES, switches: Path = BRIDGE_SWITCHES) -> list[KernelError]:
    """What keeps packets between pods on one bridge away from the packet filter, in the families that pods have."""
    bypass = "packets between pods on one bridge bypass the packet filter"
    if not switches.is_dir():
        return [BridgeNotFiltered(f"{bypass}: load br_netfilter ({switches} is missing)")]
    return [
        BridgeNotFiltered(f"IPv{family} {bypass}: set net.bridge.{name} to 1")
        for family, name in BRIDGE_SWITCH.items()
        if family in families and (switches / name).read_text().strip() != "1"
    ]


def concerns(pod_ranges: Collection[IPNetwork] = (), switches: Path = _SWITCHES) -> list[KernelError]:
    """What keeps pods from reaching each other whatever policies say; no reason not to enforce them."""
    families = {4} | {network.version for network in pod_ranges}
    return [
        NotForwarding(f"this node forwards no IPv{family}: set net.{name.replace('/', '.')} to 1, or pods reach nobody")
        for family, name in _FORWARDING_SWITCH.items()
        if family in families and (switches / name).is_file() and (switches / name).read_text().strip() == "0"
    ]
