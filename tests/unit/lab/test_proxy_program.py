"""The service proxy's table as a person reads it, and every change of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.snapshot import Changes
from gatewright.lab.backing import Backing, Owner
from gatewright.lab.proxy.fronts import fronts
from gatewright.lab.proxy.pieces import NOTHING, Piece, piece
from gatewright.lab.proxy.table import Delta, Table
from gatewright.objects.meta import Object
from tests.golden import assert_golden
from tests.unit.lab.serving import HTTP, HTTP_BACKEND, Json, endpoint, endpoint_slice, service

NODE = "node-1"
BOTH = (ipaddress.ip_address("172.31.255.11"), ipaddress.ip_address("fd00:10:31::b"))
V4, V6 = "10.96.0.50", "fd00:10:96::50"
HERE, THERE = endpoint("10.244.1.1", NODE), endpoint("10.244.2.1", "node-2")
HERE_6, THERE_6 = endpoint("fd00:10:244:1::1", NODE), endpoint("fd00:10:244:2::1", "node-2")
REACHED = {**HTTP, "nodePort": 30080}
DNS: Json = {"name": "dns", "port": 53, "protocol": "UDP"}
ENDING = endpoint("10.244.1.9", NODE, ready=False, serving=True, terminating=True)


def slices(*endpoints: Json, name: str = "web") -> tuple[Object, ...]:
    return tuple(
        endpoint_slice(name, [HTTP_BACKEND], *own)
        for own in ([one for one in endpoints if (":" in one["addresses"][0]) is six] for six in (False, True))
        if own
    )


CASES: dict[str, tuple[Object, ...]] = {
    "nothing": (),
    "cluster-address": (service("web", [V4, V6], HTTP), *slices(HERE, THERE, HERE_6)),
    "no-endpoints": (service("web", [V4], REACHED, type="NodePort", externalIPs=["198.51.100.7"]),),
    "node-port": (service("web", [V4], REACHED, type="NodePort"), *slices(HERE, THERE)),
    "node-port-local": (
        service("web", [V4], REACHED, type="NodePort", externalTrafficPolicy="Local"),
        *slices(HERE, THERE),
    ),
    "node-port-local-elsewhere": (
        service("web", [V4], REACHED, type="LoadBalancer", externalTrafficPolicy="Local"),
        *slices(THERE),
    ),
    "internal-local": (service("web", [V4], HTTP, internalTrafficPolicy="Local"), *slices(HERE, THERE)),
    "internal-local-elsewhere": (service("web", [V4], HTTP, internalTrafficPolicy="Local"), *slices(THERE)),
    "external-addresses": (service("web", [V4], HTTP, externalIPs=["198.51.100.7", "2001:db8::7"]), *slices(HERE)),
    "affinity": (
        service(
            "web",
            [V4, V6],
            REACHED,
            type="NodePort",
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
        ),
        *slices(HERE, THERE, HERE_6),
    ),
    "ending-only": (service("web", [V4], HTTP), *slices(ENDING)),
    "headless": (service("web", ["None"], HTTP), *slices(HERE)),
    "one-external-address-of-two": (
        service("a", [V4], HTTP, externalIPs=["198.51.100.7"]),
        service("b", ["10.96.0.51"], HTTP, externalIPs=["198.51.100.7"]),
        *slices(HERE, name="a"),
        *slices(THERE, name="b"),
    ),
    "protocols": (
        service("web", [V4], DNS, {"port": 7, "protocol": "SCTP", "name": "s"}),
        endpoint_slice("web", [{"name": "dns", "port": 53, "protocol": "UDP"}], HERE, name="a"),
        endpoint_slice("web", [{"name": "s", "port": 7, "protocol": "SCTP"}], THERE, name="b"),
    ),
}


def pieces(objects: tuple[Object, ...], versions: tuple[int, ...] = (4, 6)) -> dict[Owner, Piece]:
    backing = Backing()
    found = {}
    for owner in sorted(backing.take(Changes(objects))):
        known = backing.service(owner)
        found[owner] = piece(fronts(known, backing.slices(owner), NODE, versions)) if known else NOTHING
    return found


def table(objects: tuple[Object, ...], addresses: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]) -> Table:
    made = Table(addresses)
    made.change(pieces(objects, made.versions))
    return made


@pytest.mark.parametrize("name", CASES)
def test_the_table(name: str) -> None:
    v4_alone = not any(":" in str(one) for one in CASES[name]) or name == "external-addresses"
    assert_golden(f"services/{name}.nft", table(CASES[name], BOTH[:1] if v4_alone else BOTH).whole())


def test_the_table_on_a_node_with_several_addresses_of_a_family() -> None:
    more = (*BOTH, ipaddress.ip_address("192.0.2.9"))
    text = table(CASES["node-port"], more).whole()
    assert "ip daddr { 172.31.255.11, 192.0.2.9 } meta l4proto" in text
    assert "snat ip to 172.31.255.11" in text


CHANGES: dict[str, tuple[str, str]] = {
    "a-service-comes": ("nothing", "cluster-address"),
    "a-service-goes": ("affinity", "nothing"),
    "its-first-endpoint": ("no-endpoints", "node-port"),
    "an-endpoint-less": ("node-port", "node-port-local-elsewhere"),
    "affinity-begins": ("cluster-address", "affinity"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change(name: str) -> None:
    before, after = (pieces(CASES[one]) for one in CHANGES[name])
    made = Table(BOTH)
    made.change(before)
    assert_golden(f"services/change-{name}.nft", made.change({**dict.fromkeys(before, NOTHING), **after}).text())


def test_what_stays_the_same_changes_nothing() -> None:
    made = table(CASES["affinity"], BOTH)
    assert not made.change(pieces(CASES["affinity"]))


def test_an_external_address_passes_to_the_other_service_that_claims_it() -> None:
    made = table(CASES["one-external-address-of-two"], BOTH)
    slot = ("services_v4", "198.51.100.7 . tcp . 80")
    delta = made.change({("default", "a"): NOTHING})
    assert delta.added == {slot: "goto external/default/b/tcp/http/v4"}
    assert delta.gone[slot] == "goto external/default/a/tcp/http/v4"


def test_two_services_of_one_pod_share_what_both_need() -> None:
    both = (service("a", [V4], HTTP), service("b", ["10.96.0.51"], HTTP), *slices(HERE, name="a"))
    made = table((*both, *slices(HERE, name="b")), BOTH)
    hairpin = ("hairpin_v4", "10.244.1.1 . 10.244.1.1")
    assert hairpin not in made.change({("default", "a"): NOTHING}).gone
    assert hairpin in made.change({("default", "b"): NOTHING}).gone


# --- whatever comes before ------------------------------------------------------------------------------------------


@dataclass
class Model:
    """A table by what was said of its changes; a change that does not fit what is there is a fault."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: dict[tuple[str, str], str] = field(default_factory=dict)

    def apply(self, delta: Delta) -> None:
        assert not delta.new_sets.keys() & self.sets.keys()
        self.sets |= delta.new_sets
        assert not set(delta.new_chains) & self.chains.keys()
        assert delta.written.keys() - set(delta.new_chains) <= self.chains.keys()
        for slot, verdict in delta.gone.items():
            assert self.elements.pop(slot) == verdict
        assert not delta.added.keys() & self.elements.keys()
        self.elements |= delta.added
        self.chains |= delta.written
        for name in delta.gone_chains:
            del self.chains[name]
        for name in delta.gone_sets:
            del self.sets[name]
        rules = " ".join(rule for own in self.chains.values() for rule in own)
        for verdict in self.elements.values():
            assert not verdict.startswith("goto ") or verdict == "goto refuse" or verdict[5:] in self.chains
        for word in rules.split():
            assert not word.startswith(("cluster/", "local/", "endpoint/")) or word.rstrip(",") in self.chains
            assert not word.startswith("@") or word[1:] in self.sets


@st.composite
def states(draw: st.DrawFn) -> dict[Owner, Piece]:
    """Up to three Services in any shape, with endpoints here, there, ready or not."""
    found: dict[Owner, Piece] = {}
    for name in ("a", "b", "c"):
        if not draw(st.booleans()):
            found["default", name] = NOTHING
            continue
        spec: Json = {
            "type": draw(st.sampled_from(["ClusterIP", "NodePort"])),
            "externalTrafficPolicy": draw(st.sampled_from(["Cluster", "Local"])),
            "internalTrafficPolicy": draw(st.sampled_from(["Cluster", "Local"])),
            "sessionAffinity": draw(st.sampled_from(["None", "ClientIP"])),
            "externalIPs": draw(st.sampled_from([[], ["198.51.100.7"]])),
        }
        endpoints = [
            endpoint(
                f"10.244.{number}.1",
                f"node-{number}",
                ready=draw(st.booleans()),
                serving=draw(st.booleans()),
                terminating=draw(st.booleans()),
            )
            for number in draw(st.sets(st.integers(1, 3)))
        ]
        address = f"10.96.0.{ord(name)}"
        objects = (
            service(name, [address], {**HTTP, "nodePort": 30000 + ord(name)}, **spec),
            *slices(*endpoints, name=name),
        )
        found |= pieces(objects)
    return found


@given(st.lists(states(), min_size=1, max_size=5))
def test_changes_lead_to_the_table_that_would_be_made_anew(steps: list[dict[Owner, Piece]]) -> None:
    made, model = Table(BOTH), Model()
    for step in steps:
        model.apply(made.change(step))
        fresh, other = Table(BOTH), Model()
        other.apply(fresh.change(step))
        assert model == other
        assert made.whole() == fresh.whole()
