"""The service proxy and the kernel: its transactions, others at the same table, the agent beside it, SCTP."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from gatewright.kernel.errors import NftTooLarge
from gatewright.kernel.nft import Nft
from gatewright.lab.proxy.kernel import Kernel
from gatewright.lab.proxy.pieces import NOTHING
from gatewright.lab.proxy.run import APART
from gatewright.lab.proxy.table import TABLE, Table
from tests.packets.netns import SCTP, Namespace, sctp_init
from tests.packets.sites import SILENT, Site, becomes, endpoint, site
from tests.unit.lab.serving import HTTP, HTTP_BACKEND, Json, endpoint_slice, service
from tests.unit.lab.test_proxy_program import BOTH, CASES, pieces

pytestmark = pytest.mark.packets
ADDRESS = {4: "10.96.0.50", 6: "fd00:10:96::50"}
EVERY = [one for name, one in CASES.items() if name != "one-external-address-of-two"]
"""Cases that are about the same Service."""


@pytest.fixture(scope="module")
def here(namespaces: None) -> Iterator[Site]:
    with site() as made:
        yield made


def listed(where: Namespace) -> list[str]:
    """The table as the kernel has it, without numbers and in no order."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key not in ("handle", "index", "elem")}
        return [plain(one) for one in value] if isinstance(value, list) else value

    found = where.run(lambda: Nft().list_table(TABLE)) or []
    elements = [
        json.dumps([kind, part["name"], one], sort_keys=True)
        for entry in found
        for kind, part in entry.items()
        if isinstance(part, dict) and kind in ("map", "set")
        for one in part.get("elem", ())
    ]
    return sorted([*(json.dumps(plain(entry), sort_keys=True) for entry in found), *elements])


def test_after_any_changes_the_kernel_holds_what_a_new_table_would(namespaces: None) -> None:
    chance = random.Random(7)
    changed, anew = Namespace(), Namespace()

    def work() -> None:
        kernel, table = Kernel(), Table(BOTH)
        kernel.replace(table)
        for _ in range(25):
            delta = table.change(pieces(chance.choice(EVERY)) or {("default", "web"): NOTHING})
            if delta:
                kernel.change(delta)
            fresh = Table(BOTH)
            fresh.change(table.pieces)
            anew.run(partial(Nft().run, fresh.whole()))
            assert listed(changed) == listed(anew)
        kernel.close()

    try:
        changed.run(work)
    finally:
        changed.close()
        anew.close()


def test_a_kernel_that_takes_no_large_transaction_gets_several(
    namespaces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Namespace()
    table = Table(BOTH)
    for number in range(120):
        name = f"s{number}"
        made = service(name, [f"10.96.1.{number + 1}"], HTTP)
        own = endpoint_slice(name, [HTTP_BACKEND], {"addresses": ["10.244.0.1"]})
        table.change(pieces((made, own)))
    run = Nft.run

    def small(self: Nft, text: str) -> None:
        if text.count("dnat") > 60:
            raise NftTooLarge
        run(self, text)

    def work() -> None:
        kernel = Kernel()
        monkeypatch.setattr(Nft, "run", small)
        kernel.replace(table)
        assert kernel.alterations() == [], "all of them are its own"
        kernel.close()

    try:
        where.run(work)
        in_steps = listed(where)
        monkeypatch.undo()
        where.run(partial(Nft().run, table.whole()))
        assert listed(where) == in_steps
    finally:
        where.close()


@pytest.mark.parametrize("change", [f"delete table inet {TABLE}", f"flush table inet {TABLE}", "flush ruleset"])
def test_what_others_do_to_the_table_is_undone(here: Site, change: str) -> None:
    node, pod = here.nodes[0], here.pods[2]
    proxy = node.start_proxy()
    here.deliver(service("web", [ADDRESS[4]], HTTP), endpoint_slice("web", [HTTP_BACKEND], endpoint(pod, 4)))
    becomes({pod.name}, here.pods[0].asks, 1, ADDRESS[4], 80)
    node.namespace.run(partial(Nft().run, f"{change}\n"))
    becomes({pod.name}, here.pods[0].asks, 1, ADDRESS[4], 80)
    becomes(True, lambda: proxy.repairs > 0)
    node.stop_proxy()
    node.begin_anew()


def test_what_others_do_to_their_own_tables_is_theirs(here: Site) -> None:
    node = here.nodes[0]
    proxy = node.start_proxy()
    here.deliver(service("web", [ADDRESS[4]], HTTP))
    becomes(True, lambda: proxy.transactions == 1)
    node.namespace.run(partial(Nft().run, "add table inet other\ndelete table inet other\n"))
    here.deliver(service("web", [ADDRESS[4]], {**HTTP, "port": 81}))
    becomes(2, lambda: proxy.transactions)
    assert proxy.repairs == 0
    node.stop_proxy()
    node.begin_anew()


def test_a_proxy_changes_only_what_changes_and_writes_nothing_twice(here: Site) -> None:
    node = here.nodes[0]
    proxy = node.start_proxy()
    own = endpoint_slice("web", [HTTP_BACKEND], endpoint(here.pods[0], 4))
    here.deliver(service("web", [ADDRESS[4]], HTTP), own)
    becomes({here.pods[0].name}, here.pods[2].asks, 1, here.pods[0].addresses[4], 8080)
    becomes(True, lambda: proxy.transactions > 0)
    before = proxy.transactions
    for _ in range(5):
        here.deliver(service("web", [ADDRESS[4]], HTTP), own)
    here.deliver(service("other", ["10.96.0.77"], HTTP))
    becomes(before + 1, lambda: proxy.transactions)
    node.stop_proxy()
    node.begin_anew()


@pytest.mark.parametrize("complete", [False, True])
def test_a_proxy_to_which_nothing_happens_does_nothing(here: Site, complete: bool) -> None:
    node = here.nodes[0]
    proxy = node.start_proxy()
    if complete:
        here.deliver(service("web", [ADDRESS[4]], HTTP))
        becomes(1, lambda: proxy.transactions)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.3
    node.stop_proxy()
    node.begin_anew()


def test_a_burst_of_changes_makes_few_transactions_and_its_end_is_not_forgotten(here: Site) -> None:
    node = here.nodes[0]
    proxy = node.start_proxy()
    here.deliver(service("web", [ADDRESS[4]], HTTP))
    becomes(1, lambda: proxy.transactions)
    began = time.monotonic()
    for number in range(60):
        pod = here.pods[1 + number % 3]
        here.deliver(endpoint_slice("web", [HTTP_BACKEND], endpoint(pod, 4)))
        time.sleep(0.005)
    took = time.monotonic() - began
    becomes({here.pods[3].name}, here.pods[0].asks, 5, ADDRESS[4], 80)
    assert 2 <= proxy.transactions <= 3 + took / APART
    node.stop_proxy()
    node.begin_anew()


@pytest.mark.parametrize("family", [4, 6])
def test_policies_see_the_pod_behind_the_service(here: Site, family: int) -> None:
    """Where the agent polices, in forward, destinations are translated already; masquerading comes after it."""
    node, client, server = here.nodes[0], here.pods[0], here.pods[1]
    word = "ip" if family == 4 else "ip6"
    address, source = server.addresses[family], client.addresses[family]
    agent = f"""
    table inet gatewright {{
      chain forward {{
        type filter hook forward priority filter; policy accept;
        {word} saddr {source} {word} daddr {address} tcp dport 8080 drop
      }}
    }}
    """
    node.start_proxy()
    here.deliver(
        service("web", [ADDRESS[4], ADDRESS[6]], HTTP),
        *(endpoint_slice("web", [HTTP_BACKEND], endpoint(server, version)) for version in (4, 6)),
    )
    becomes({server.name}, client.asks, 1, ADDRESS[family], 80)
    node.namespace.run(partial(Nft().run, agent))
    becomes(SILENT, client.ask, ADDRESS[family], 80)
    node.namespace.run(partial(Nft().run, "delete table inet gatewright\n"))
    becomes({server.name}, client.asks, 1, ADDRESS[family], 80)
    node.stop_proxy()
    node.begin_anew()


SIGNALS: Json = {"name": "s", "port": 3868, "targetPort": 3869, "protocol": "SCTP"}
SIGNALS_BACKEND: Json = {"name": "s", "port": 3869, "protocol": "SCTP"}


@pytest.mark.parametrize("family", [4, 6])
def test_sctp_is_translated(here: Site, family: int) -> None:
    """By a packet that was made by hand: this kernel need not have sockets of the protocol."""
    client, server = here.pods[0], here.pods[2]
    here.nodes[0].start_proxy()
    here.deliver(
        service("signals", [ADDRESS[4], ADDRESS[6]], SIGNALS),
        *(endpoint_slice("signals", [SIGNALS_BACKEND], endpoint(server, version)) for version in (4, 6)),
    )
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with server.namespace.run(lambda: socket.socket(kind, socket.SOCK_RAW, SCTP)) as listener:
        listener.settimeout(0.3)

        def arrived() -> int:
            identity = random.randbytes(16)

            def send() -> None:
                with socket.socket(kind, socket.SOCK_RAW, SCTP) as sender:
                    sender.connect((ADDRESS[family], 0))
                    sender.send(sctp_init(3868, identity))

            client.namespace.run(send)
            try:
                data = listener.recv(2048)
            except TimeoutError:
                return 0
            header = data[20:] if family == 4 else data
            return int.from_bytes(header[2:4], "big") if identity in data else 0

        becomes(3869, arrived)
    here.nodes[0].stop_proxy()
    here.nodes[0].begin_anew()


def test_a_node_with_one_family_has_a_table_of_that_family(here: Site) -> None:
    node, pod = here.nodes[0], here.pods[2]
    node.start_proxy(4)
    here.deliver(
        service("web", [ADDRESS[4], ADDRESS[6]], HTTP),
        *(endpoint_slice("web", [HTTP_BACKEND], endpoint(pod, version)) for version in (4, 6)),
    )
    becomes({pod.name}, here.pods[0].asks, 1, ADDRESS[4], 80)
    assert not any("v6" in line for line in listed(node.namespace))
    node.stop_proxy()
    node.begin_anew()
