"""What a node lacks is named, one line each, with what to do; a fit kernel lacks nothing, and keeps nothing of it."""

from __future__ import annotations

import ipaddress

import pytest

from gatewright.engine.addresses import IPNetwork
from gatewright.kernel.denylog import DenyLog
from gatewright.kernel.errors import NotPermitted
from gatewright.kernel.links import pod_bridges
from gatewright.kernel.nft import Library, Mode, Nft, Outcome
from gatewright.kernel.preflight import concerns, everything, preflight
from tests.packets.netns import Namespace

pytestmark = pytest.mark.packets
RANGES: list[IPNetwork] = [ipaddress.ip_network(text) for text in ("10.88.0.0/24", "fd88::/64")]
BRIDGE = ["link add cni0 type bridge", "addr add 10.88.0.1/24 dev cni0", "link set cni0 up"]


class Without:
    """A kernel that refuses every table in which one of these words stands."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def execute(self, text: str, mode: Mode) -> Outcome:
        if any(word in text for word in self.words):
            return Outcome(False, "", "/dev/stdin:1:1-2: Error: Could not process rule: No such file or directory\n")
        return Library().execute(text, mode)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "log ",
            "no NFLOG: it needs CONFIG_NFT_LOG, CONFIG_NETFILTER_NETLINK_LOG and the modules nft_log, nfnetlink_log",
        ),
        ("limit ", "no limits: it needs CONFIG_NFT_LIMIT and the module nft_limit"),
        ("counter ", "no counters: it needs Linux 4.10"),
        ("reject", "no resets: it needs CONFIG_NFT_REJECT_INET and the module nft_reject_inet"),
        ("ct mark", "no connection marks: it needs CONFIG_NF_CONNTRACK_MARK"),
        ("ct state", "no connection states: it needs CONFIG_NFT_CT and the module nft_ct"),
        ("inet_service; flags interval", "no sets of concatenated ranges: it needs Linux 5.6"),
    ],
)
def test_a_kernel_without_a_feature_is_told_so(empty: Namespace, word: str, said: str) -> None:
    found = empty.run(lambda: [str(error) for error in preflight(Nft(Without(word)))])
    assert found == [f"this kernel has {said}"]


def test_everything_that_lacks_is_named(empty: Namespace) -> None:
    found = empty.run(lambda: [str(error) for error in preflight(Nft(Without("log ", "limit ")))])
    assert len(found) == 2


def test_a_refusal_that_is_none_of_the_known_keeps_the_kernel_s_words(empty: Namespace) -> None:
    found = empty.run(lambda: [str(error) for error in preflight(Nft(Without("vmap")))])
    assert found == ["this kernel cannot hold the program: Could not process rule: No such file or directory"]


def test_a_fit_kernel_lacks_nothing_and_the_check_leaves_nothing(empty: Namespace, nft: Nft) -> None:
    def work() -> tuple[list[str], object]:
        return [str(error) for error in preflight(nft)], nft.list_table(everything().table)

    assert empty.run(work) == ([], None)


def test_pods_on_a_bridge_need_the_bridge_to_be_filtered(empty: Namespace) -> None:
    empty.ip(BRIDGE)
    assert empty.run(lambda: pod_bridges(RANGES)) == {"cni0"}
    empty.sysctl(**{"bridge__bridge-nf-call-iptables": 1, "bridge__bridge-nf-call-ip6tables": 0})
    found = empty.run(lambda: [str(error) for error in preflight(pod_ranges=RANGES)])
    assert len(found) == 1
    assert found[0].endswith("set net.bridge.bridge-nf-call-ip6tables to 1")
    assert empty.run(lambda: preflight(pod_ranges=RANGES, bridge=False)) == []


def test_another_s_bridge_is_no_concern(empty: Namespace) -> None:
    empty.ip([line.replace("cni0", "docker0").replace("10.88", "172.17") for line in BRIDGE])
    empty.sysctl(**{"bridge__bridge-nf-call-iptables": 0})
    assert empty.run(lambda: preflight(pod_ranges=RANGES)) == []


def test_a_node_that_forwards_nothing_is_a_concern(empty: Namespace) -> None:
    assert empty.run(lambda: [str(error) for error in concerns(RANGES)]) == [
        "this node forwards no IPv4: set net.ipv4.ip_forward to 1, or pods reach nobody",
        "this node forwards no IPv6: set net.ipv6.conf.all.forwarding to 1, or pods reach nobody",
    ]
    empty.sysctl(ipv4__ip_forward=1)
    assert empty.run(lambda: concerns(RANGES[:1])) == []


def test_without_permission_nothing_is_claimed_to_lack(empty: Namespace) -> None:
    class Forbidden:
        """A process without rights."""

        def execute(self, text: str, mode: Mode) -> Outcome:
            return Outcome(False, "", "Error: Could not process rule: Operation not permitted\n")

    found = empty.run(lambda: preflight(Nft(Forbidden())))
    assert [type(error) for error in found] == [NotPermitted]


def test_the_deny_log_can_be_read(empty: Namespace) -> None:
    """What the check of the kernel claims about NFLOG holds: a group can be had."""
    with empty.run(lambda: DenyLog(100)) as log:
        assert log.read() == []
