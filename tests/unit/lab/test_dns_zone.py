"""The names of a cluster, question by question, and the same on the wire."""

from __future__ import annotations

from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from gatewright.lab.dns.wire import answer
from gatewright.lab.dns.zone import Zone, lookup, share
from gatewright.objects.core import Service
from gatewright.objects.routing import EndpointSlice
from tests.unit.lab.serving import HTTP, HTTP_BACKEND, Json, endpoint, endpoint_slice, service

PEER: Json = {"name": "peer", "port": 7, "protocol": "TCP"}
BOTH = ["10.96.0.50", "fd00:10:96::50"]
WEB = service("web", BOTH, HTTP)
WEB_SLICES = [
    endpoint_slice("web", [HTTP_BACKEND], endpoint("10.244.0.1"), endpoint("10.244.0.2", ready=False)),
    endpoint_slice("web", [HTTP_BACKEND], endpoint("fd00::1")),
]
PEERS_SLICES = [
    endpoint_slice("peers", [PEER], endpoint("10.244.0.1", hostname="Zero"), endpoint("10.244.0.3"), name="a"),
    endpoint_slice("peers", [{**PEER, "port": 8}], endpoint("10.244.0.4", hostname="four"), name="b"),
    endpoint_slice("peers", [PEER], endpoint("fd00::1", hostname="Zero")),
]


def alias(name: str, target: str) -> Service:
    return service(name, [], type="ExternalName", externalName=target)


EVERYTHING: list[tuple[Service, list[EndpointSlice]]] = [
    (WEB, WEB_SLICES),
    (service("peers", ["None"], PEER), PEERS_SLICES),
    (service("plain", ["None"]), [endpoint_slice("plain", [], endpoint("10.244.0.9"))]),
    (service("empty", ["None"], HTTP), []),
    (
        service("waiting", ["None"], HTTP),
        [endpoint_slice("waiting", [HTTP_BACKEND], endpoint("10.0.0.1", ready=False))],
    ),
    (service("mine", ["10.96.0.51"], HTTP), [endpoint_slice("mine", [HTTP_BACKEND], endpoint("192.0.2.1"))]),
    (service("kube-dns", ["10.96.0.10"], HTTP, namespace="kube-system"), []),
    (alias("away", "Example.org."), []),
    (alias("near", "web.default.svc.cluster.local"), []),
    (alias("nowhere", "missing.default.svc.cluster.local"), []),
    (alias("loop", "loop.default.svc.cluster.local"), []),
]


def zone_of(*known: tuple[Service, list[EndpointSlice]], complete: bool = True) -> Zone:
    zone = Zone()
    for one, slices in known:
        zone.put((one.namespace, one.name), share(one, slices))
    for namespace in ("default", "kube-system", "bare"):
        zone.put_namespace(namespace, there=True)
    zone.complete = complete
    return zone


ZONE = zone_of(*EVERYTHING)
IN = "default.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "kind", "code", "texts"),
    [
        (f"web.{IN}", "A", "NOERROR", ["10.96.0.50"]),
        ("WEB.Default.SVC.cluster.local", "A", "NOERROR", ["10.96.0.50"]),
        (f"web.{IN}", "AAAA", "NOERROR", ["fd00:10:96::50"]),
        (f"web.{IN}", "MX", "NOERROR", []),
        (f"web.{IN}", "SRV", "NOERROR", []),
        (f"_http._tcp.web.{IN}", "SRV", "NOERROR", [f"0 100 80 web.{IN}."]),
        (f"_http._udp.web.{IN}", "SRV", "NXDOMAIN", []),
        (f"_tcp.web.{IN}", "A", "NOERROR", []),
        (f"10-244-0-1.web.{IN}", "A", "NOERROR", ["10.244.0.1"]),
        (f"10-244-0-2.web.{IN}", "A", "NXDOMAIN", []),
        (f"web.{IN}.{IN}", "A", "NXDOMAIN", []),
        (f"web.svc.cluster.local.{IN}", "A", "NXDOMAIN", []),
        ("web.cluster.local", "A", "NXDOMAIN", []),
        ("web", "A", "REFUSED", []),
        ("example.org", "A", "REFUSED", []),
        ("notcluster.local", "A", "REFUSED", []),
        (f"nothing.{IN}", "A", "NXDOMAIN", []),
        (IN, "A", "NOERROR", []),
        ("svc.cluster.local", "A", "NOERROR", []),
        ("bare.svc.cluster.local", "A", "NOERROR", []),
        ("absent.svc.cluster.local", "A", "NXDOMAIN", []),
        (f"peers.{IN}", "A", "NOERROR", ["10.244.0.1", "10.244.0.3", "10.244.0.4"]),
        (f"peers.{IN}", "AAAA", "NOERROR", ["fd00::1"]),
        (f"zero.peers.{IN}", "A", "NOERROR", ["10.244.0.1"]),
        (f"10-244-0-3.peers.{IN}", "A", "NOERROR", ["10.244.0.3"]),
        (f"10-244-0-1.peers.{IN}", "A", "NXDOMAIN", []),
        (
            f"_peer._tcp.peers.{IN}",
            "SRV",
            "NOERROR",
            [f"0 100 7 10-244-0-3.peers.{IN}.", f"0 100 7 zero.peers.{IN}.", f"0 100 8 four.peers.{IN}."],
        ),
        (f"plain.{IN}", "A", "NOERROR", ["10.244.0.9"]),
        (f"empty.{IN}", "A", "NOERROR", []),
        (f"waiting.{IN}", "A", "NOERROR", []),
        (f"mine.{IN}", "A", "NOERROR", ["10.96.0.51"]),
        ("50.0.96.10.in-addr.arpa", "PTR", "NOERROR", [f"web.{IN}."]),
        ("3.0.244.10.in-addr.arpa", "PTR", "NOERROR", [f"10-244-0-3.peers.{IN}."]),
        ("1.0.244.10.in-addr.arpa", "PTR", "NOERROR", [f"10-244-0-1.web.{IN}.", f"zero.peers.{IN}."]),
        ("1.2.0.192.in-addr.arpa", "PTR", "NOERROR", [f"192-0-2-1.mine.{IN}."]),
        ("9.9.9.9.in-addr.arpa", "PTR", "NXDOMAIN", []),
        ("10-244-7-7.default.pod.cluster.local", "A", "NOERROR", ["10.244.7.7"]),
        ("10-244-7-7.default.pod.cluster.local", "AAAA", "NOERROR", []),
        ("fd00--7.bare.pod.cluster.local", "AAAA", "NOERROR", ["fd00::7"]),
        ("10-244-7-7.absent.pod.cluster.local", "A", "NXDOMAIN", []),
        ("a-b.default.pod.cluster.local", "A", "NXDOMAIN", []),
        (f"away.{IN}", "A", "NOERROR", ["example.org."]),
        (f"away.{IN}", "CNAME", "NOERROR", ["example.org."]),
        (f"near.{IN}", "A", "NOERROR", [f"web.{IN}.", "10.96.0.50"]),
        (f"near.{IN}", "MX", "NOERROR", [f"web.{IN}."]),
        (f"nowhere.{IN}", "A", "NXDOMAIN", [f"missing.{IN}."]),
        ("dns-version.cluster.local", "TXT", "NOERROR", ['"1.1.0"']),
        ("cluster.local", "A", "NOERROR", []),
        ("cluster.local", "NS", "NOERROR", ["ns.dns.cluster.local."]),
        ("ns.dns.cluster.local", "A", "NOERROR", ["10.96.0.10"]),
    ],
)
def test_what_is_said(name: str, kind: str, code: str, texts: list[str]) -> None:
    found = lookup(ZONE, name, kind)
    said = [text for _, _, own in found.records for text in own]
    assert (found.code, sorted(said) if kind in ("SRV", "PTR") else said) == (code, texts)
    nothing = code in ("NOERROR", "NXDOMAIN") and not any(own[1] == kind for own in found.records)
    outside = name.startswith("away")
    assert bool(found.negative) is (nothing and not outside)


def test_an_alias_of_itself_is_no_answer() -> None:
    assert lookup(ZONE, f"loop.{IN}", "A").code == "SERVFAIL"


def test_nothing_is_said_before_everything_is_known() -> None:
    assert lookup(zone_of(complete=False), f"web.{IN}", "A").code == "SERVFAIL"
    assert lookup(zone_of(complete=False), "example.org", "A").code == "REFUSED"


def test_names_go_with_their_service_and_come_back() -> None:
    zone = zone_of(*EVERYTHING)
    serial = zone.serial
    zone.put(("default", "web"), share(WEB, WEB_SLICES))
    assert zone.serial == serial, "nothing is different"
    zone.put(("default", "web"), share(None, []))
    assert zone.serial > serial
    for name in (f"web.{IN}", f"_tcp.web.{IN}", f"10-244-0-1.web.{IN}", "50.0.96.10.in-addr.arpa"):
        assert lookup(zone, name, "A").code == "NXDOMAIN", name
    assert [own for _, _, own in lookup(zone, "1.0.244.10.in-addr.arpa", "PTR").records] == [(f"zero.peers.{IN}.",)]
    zone.put(("default", "web"), share(WEB, WEB_SLICES))
    for name in (f"web.{IN}", f"_tcp.web.{IN}", f"10-244-0-1.web.{IN}", "50.0.96.10.in-addr.arpa"):
        assert lookup(zone, name, "A").code == "NOERROR", name
    zone.put_namespace("bare", there=False)
    assert lookup(zone, "bare.svc.cluster.local", "A").code == "NXDOMAIN"


# --- on the wire ------------------------------------------------------------------------------------------------------


def asked(name: str, kind: str = "A", *, udp: bool = True, zone: Zone = ZONE, **query: Any) -> dns.message.Message:
    found = answer(dns.message.make_query(name, kind, **query).to_wire(), zone, udp=udp)
    assert found is not None
    return dns.message.from_wire(found)


def test_an_answer_repeats_the_question_as_it_was_asked() -> None:
    found = asked("WEB.default.svc.cluster.LOCAL")
    assert found.answer[0].name.to_text() == "WEB.default.svc.cluster.LOCAL."
    assert found.flags & dns.flags.AA
    assert found.answer[0].ttl == 5


@pytest.mark.parametrize(
    ("name", "kind", "apex"),
    [
        (f"nothing.{IN}", "A", "cluster.local."),
        (f"web.{IN}", "MX", "cluster.local."),
        ("9.9.9.9.in-addr.arpa", "PTR", "in-addr.arpa."),
        (f"nowhere.{IN}", "A", "cluster.local."),
    ],
)
def test_what_does_not_exist_comes_with_the_zones_soa(name: str, kind: str, apex: str) -> None:
    found = asked(name, kind)
    (authority,) = found.authority
    assert (authority.name.to_text(), authority.rdtype, authority.ttl) == (apex, dns.rdatatype.SOA, 5)
    assert authority[0].minimum == 5


def test_services_are_told_with_the_addresses_of_their_hosts() -> None:
    found = asked(f"_peer._tcp.peers.{IN}", "SRV")
    helping = sorted((one.name.to_text(), one.rdtype.name) for one in found.additional)
    assert helping == [
        (f"10-244-0-3.peers.{IN}.", "A"),
        (f"four.peers.{IN}.", "A"),
        (f"zero.peers.{IN}.", "A"),
        (f"zero.peers.{IN}.", "AAAA"),
    ]


def test_addresses_come_in_another_order_each_time() -> None:
    orders = {tuple(one.to_text() for one in asked(f"peers.{IN}").answer[0]) for _ in range(60)}
    assert len(orders) == 6


def test_what_does_not_fit_is_cut_off_by_udp_and_whole_by_tcp() -> None:
    endpoints = [endpoint(f"10.244.{number // 200}.{number % 200 + 1}") for number in range(300)]
    zone = zone_of((service("many", ["None"], HTTP), [endpoint_slice("many", [HTTP_BACKEND], *endpoints)]))
    found = asked(f"many.{IN}", zone=zone)
    assert found.flags & dns.flags.TC
    assert not found.answer
    assert len(asked(f"many.{IN}", zone=zone, udp=False).answer[0]) == 300
    assert len(asked(f"many.{IN}", zone=zone, use_edns=0, payload=8192).answer[0]) == 300


def test_edns_is_answered() -> None:
    assert asked(f"web.{IN}", use_edns=0, payload=1232).edns == 0
    assert asked(f"web.{IN}").edns == -1


def refused(data: bytes) -> dns.rcode.Rcode:
    found = answer(data, ZONE)
    assert found is not None
    return dns.message.from_wire(found).rcode()


def test_what_is_no_plain_question_is_refused_with_its_reason() -> None:
    query = dns.message.make_query(f"web.{IN}", "A")
    query.set_opcode(dns.opcode.STATUS)
    assert refused(query.to_wire()) == dns.rcode.NOTIMP
    two = dns.message.make_query(f"web.{IN}", "A")
    two.question.append(dns.message.make_query(f"web.{IN}", "AAAA").question[0])
    assert refused(two.to_wire()) == dns.rcode.FORMERR
    assert refused(dns.message.make_query("version.bind", "TXT", "CH").to_wire()) == dns.rcode.REFUSED
    assert refused(query.to_wire()[:13] + b"\xff") == dns.rcode.FORMERR


def test_what_is_no_query_is_not_answered() -> None:
    response = dns.message.make_response(dns.message.make_query(f"web.{IN}", "A")).to_wire()
    assert answer(response, ZONE) is None
    assert answer(b"short", ZONE) is None
    assert answer(response[:2] + b"\x80" + b"\xff" * 20, ZONE) is None
