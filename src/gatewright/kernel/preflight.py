"""What must be there before a node can be made to enforce policies: one clear message for each thing that is not.

The kernel is asked, not its version: a program with everything we use is checked by the kernel itself, in a dry run.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from gatewright.kernel.apply import generation
from gatewright.kernel.conntrack import table_use
from gatewright.kernel.denial import counters, limits
from gatewright.kernel.errors import KernelError, NftRefused
from gatewright.kernel.guards import Guards, guard_sets
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
BRIDGE_SWITCHES = Path("/proc/sys/net/bridge")
BRIDGE_SWITCH = {4: "bridge-nf-call-iptables", 6: "bridge-nf-call-ip6tables"}


class KernelLacks(KernelError):
    """The kernel cannot do something the program needs."""


class BridgeNotFiltered(KernelError):
    """Packets between pods on one bridge bypass the packet filter."""


def preflight(nft: Nft | None = None, *, bridge: bool = False) -> list[KernelError]:
    """What is missing in the calling thread's network namespace, empty when nothing is.

    `bridge`: the node's pods hang on a bridge rather than on routed links of their own.
    """
    try:
        nft = nft or Nft()
        generation()
        table_use()
    except KernelError as error:
        return [error]
    missing: list[KernelError] = []
    try:
        nft.check(listing(everything()))
    except NftRefused as error:
        missing.append(
            KernelLacks(
                f"this kernel cannot hold the program ({error.message}): it needs CONFIG_NF_TABLES_INET, NFT_CT, "
                "NFT_REJECT and sets of concatenated ranges (Linux 5.6)"
            )
        )
    if bridge:
        missing += bridge_problems()
    return missing


def everything(table: str = "gatewright_preflight") -> Program:
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


def bridge_problems(switches: Path = BRIDGE_SWITCHES) -> list[KernelError]:
    """What keeps packets between pods on one bridge away from the packet filter."""
    bypass = "packets between pods on one bridge bypass the packet filter"
    if not switches.is_dir():
        return [BridgeNotFiltered(f"{bypass}: load br_netfilter ({switches} is missing)")]
    return [
        BridgeNotFiltered(f"IPv{family} {bypass}: set net.bridge.{name} to 1")
        for family, name in BRIDGE_SWITCH.items()
        if (switches / name).read_text().strip() != "1"
    ]
