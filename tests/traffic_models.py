"""Random traffic models for the properties: several namespaces, every kind of party and port, valid by construction.

Components are told apart by a label of their own, so they never overlap; everything else is drawn from few names and
numbers, so that flows meet, cover each other and come close to each other.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

NAMESPACES = ("default", "shop", "data")
PORTS: tuple[Any, ...] = (80, 81, "80-90", "UDP/53", "SCTP/80", "http", "UDP/http", {"name": "admin", "port": 9000})
OUTSIDE: dict[str, Any] = {
    "everybody": "anywhere",
    "office": ["10.1.0.0/16", {"cidr": "10.2.0.0/16", "except": ["10.2.3.0/24"]}],
    "wide": ["10.0.0.0/8"],
    "six": "2001:db8::/32",
    "both": ["0.0.0.0/0", "::/0"],
    "monitoring": {"namespace": "monitoring", "labels": {"app": "prometheus"}, "ports": [9090, "web"]},
    "observers": {"namespace": "monitoring"},
    "teams": {"namespaceSelector": {"matchLabels": {"team": "a"}}},
}
EXPLICIT: tuple[Any, ...] = (443, "UDP/500-510", [80, "SCTP/7"], "any")


@st.composite
def components(draw: st.DrawFn, name: str) -> Json:
    """One component: its own label by a selector of some kind, a namespace, ports."""
    own: Json = {"app": name}
    selectors: list[Json] = [
        {"labels": own},
        {"labels": {**own, "tier": "any"}},
        {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [name, f"{name}-old"]}]}},
        {
            "selector": {
                "matchLabels": own,
                "matchExpressions": [
                    {"key": "debug", "operator": "DoesNotExist"},
                    {"key": "zone", "operator": "Exists"},
                    {"key": "zone", "operator": "NotIn", "values": ["any"]},
                ],
            }
        },
    ]
    found = {**draw(st.sampled_from(selectors)), "namespace": draw(st.sampled_from(NAMESPACES))}
    found["ports"] = draw(st.lists(st.sampled_from(PORTS), min_size=1, max_size=3, unique_by=str))
    if draw(st.booleans()):
        found["dns"] = draw(st.booleans())
    return found


@st.composite
def flows(draw: st.DrawFn, inside: Json, outside: Json) -> Json:
    """One flow; its destination's ports, or some of them, or where it goes outside some of its own."""
    source = draw(st.sampled_from([*inside, *outside]))
    destination = draw(st.sampled_from([*inside] if source in outside else [*inside, *outside]))
    flow: Json = {"from": source, "to": destination}
    if destination in outside:
        flow["ports"] = 9090 if destination == "monitoring" else draw(st.sampled_from(EXPLICIT))
    elif draw(st.booleans()):
        one = draw(st.sampled_from(inside[destination]["ports"]))
        flow["ports"] = [one.get("name") if isinstance(one, dict) else one]
    return flow


@st.composite
def models(draw: st.DrawFn) -> Json:
    """A model file as a document. Nothing stands under `never`."""
    names = draw(st.lists(st.sampled_from(["web", "api", "db", "cache"]), min_size=1, unique=True))
    inside = {name: draw(components(name)) for name in names}
    outside = {name: OUTSIDE[name] for name in draw(st.lists(st.sampled_from([*OUTSIDE]), max_size=3, unique=True))}
    document: Json = {"apiVersion": "gatewright/v1alpha1", "kind": "Traffic", "components": inside, "outside": outside}
    document["flows"] = draw(st.lists(flows(inside, outside), max_size=7))
    if draw(st.booleans()):
        document["dns"] = draw(st.sampled_from(["none", {"addresses": "169.254.20.10/32"}]))
    return document
