"""What the name server answers: the zone as data, and one round on the wire."""

from __future__ import annotations

import json
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from gatewright.lab.nameserver import ZoneFile, respond
from gatewright.lab.services import allocate
from gatewright.lab.zone import ZONE_FILE, Zone, lookup, zone_of
from gatewright.objects.core import Service
from tests.unit.lab.clusters import backend, objects, pod, service

SERVICES = (
    service("web", "selector: {app: x}, ipFamilyPolicy: PreferDualStack, ports: [{port: 80, name: http}]")
    + service("peers", "clusterIP: None, selector: {app: x}, ports: [{port: 7, targetPort: http, name: p}]")
    + service("empty", "clusterIP: None, selector: {app: nobody}")
    + service("alias", "type: ExternalName, externalName: web.default.svc.cluster.local")
    + service("away", "type: ExternalName, externalName: example.org")
)


@pytest.fixture(scope="module")
def zone() -> Zone:
    found = [item for item in objects(SERVICES) if isinstance(item, Service)]
    allocations, _ = allocate(found, {}, (4, 6))
    known = [
        backend(pod("a", spec="hostname: a, subdomain: peers, "), "10.244.0.1", "fd00::1"),
        backend(pod("b"), "10.244.0.2"),
    ]
    return zone_of(found, allocations, known, ["default", "kube-system"])


@pytest.mark.parametrize(
    ("name", "kind", "code", "texts"),
    [
        ("web.default.svc.cluster.local", "A", "NOERROR", ["10.96.0.32"]),
        ("WEB.default.SVC.cluster.local", "A", "NOERROR", ["10.96.0.32"]),
        ("web.default.svc.cluster.local", "AAAA", "NOERROR", ["fd00:10:96::20"]),
        ("web.default.svc.cluster.local", "MX", "NOERROR", []),
        ("web.default.svc.cluster.local.default.svc.cluster.local", "A", "NXDOMAIN", []),
        ("web", "A", "REFUSED", []),
        ("example.org", "A", "REFUSED", []),
        ("nothing.default.svc.cluster.local", "A", "NXDOMAIN", []),
        ("default.svc.cluster.local", "A", "NOERROR", []),
        ("nowhere.svc.cluster.local", "A", "NXDOMAIN", []),
        ("peers.default.svc.cluster.local", "A", "NOERROR", ["10.244.0.1", "10.244.0.2"]),
        ("a.peers.default.svc.cluster.local", "A", "NOERROR", ["10.244.0.1"]),
        ("10-244-0-2.peers.default.svc.cluster.local", "A", "NOERROR", ["10.244.0.2"]),
        ("empty.default.svc.cluster.local", "A", "NOERROR", []),
        ("_http._tcp.web.default.svc.cluster.local", "SRV", "NOERROR", ["0 100 80 web.default.svc.cluster.local."]),
        ("_tcp.web.default.svc.cluster.local", "A", "NOERROR", []),
        ("32.0.96.10.in-addr.arpa", "PTR", "NOERROR", ["web.default.svc.cluster.local."]),
        ("1.0.244.10.in-addr.arpa", "PTR", "NOERROR", ["a.peers.default.svc.cluster.local."]),
        ("1.1.1.1.in-addr.arpa", "PTR", "NXDOMAIN", []),
        ("10-1-2-3.default.pod.cluster.local", "A", "NOERROR", ["10.1.2.3"]),
        ("10-1-2-3.nowhere.pod.cluster.local", "A", "NXDOMAIN", []),
        ("fd00--1.default.pod.cluster.local", "AAAA", "NOERROR", ["fd00::1"]),
        ("alias.default.svc.cluster.local", "A", "NOERROR", ["web.default.svc.cluster.local.", "10.96.0.32"]),
        ("away.default.svc.cluster.local", "A", "NOERROR", ["example.org."]),
    ],
)
def test_answers(zone: Zone, name: str, kind: str, code: str, texts: list[str]) -> None:
    answer = lookup(zone, zone.existing(), name, kind)
    assert answer.code == code
    assert sorted(text for _, _, text in answer.records) == sorted(texts)


def wire(source: ZoneFile, name: str, kind: str, *, udp: bool = True) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    answer = respond(query.to_wire(), source, udp=udp)
    assert answer is not None
    message = dns.message.from_wire(answer)
    assert query.is_response(message)
    return message


def test_on_the_wire(zone: Zone, tmp_path: Path) -> None:
    (tmp_path / ZONE_FILE).write_text(json.dumps(zone.to_json()))
    source = ZoneFile(tmp_path)
    message = wire(source, "web.default.svc.cluster.local.", "A")
    assert [record.to_text() for record in message.answer[0]] == ["10.96.0.32"]
    assert message.flags & dns.flags.AA
    missing = wire(source, "nothing.default.svc.cluster.local.", "A")
    assert missing.rcode() == dns.rcode.NXDOMAIN
    assert missing.authority[0].rdtype == dns.rdatatype.SOA
    assert wire(source, "example.org.", "A").rcode() == dns.rcode.REFUSED


def test_a_new_zone_is_seen_at_the_next_question(zone: Zone, tmp_path: Path) -> None:
    source = ZoneFile(tmp_path)
    assert wire(source, "web.default.svc.cluster.local.", "A").rcode() == dns.rcode.NXDOMAIN
    (tmp_path / ZONE_FILE).write_text(json.dumps(zone.to_json()))
    assert wire(source, "web.default.svc.cluster.local.", "A").rcode() == dns.rcode.NOERROR


def test_an_answer_that_is_too_long_is_cut_over_udp_and_whole_over_tcp(tmp_path: Path) -> None:
    many = Zone({"many.default.svc.cluster.local": {"A": [f"10.0.{n // 250}.{n % 250}" for n in range(900)]}})
    (tmp_path / ZONE_FILE).write_text(json.dumps(many.to_json()))
    source = ZoneFile(tmp_path)
    assert wire(source, "many.default.svc.cluster.local.", "A").flags & dns.flags.TC
    assert len(wire(source, "many.default.svc.cluster.local.", "A", udp=False).answer[0]) == 900


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 12, b"\xff" * 40])
def test_what_is_no_query_is_not_answered(data: bytes, tmp_path: Path) -> None:
    assert respond(data, ZoneFile(tmp_path), udp=True) is None
