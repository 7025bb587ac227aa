"""The few names, labels, ports and addresses that every random object is drawn from, and the selectors over them."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import strategies as st

from tests.reference.world import CLUSTER_POLICIES

Json = dict[str, Any]
NAMESPACES = ("x", "y", "z")
OFTEN_THE_FIRST = ("x", "x", "x", "y", "z")
NODES = {"n0": ("192.168.0.1", "fd01::1"), "n1": ("192.168.0.2", "fd01::2")}
LABEL_KEYS, LABEL_VALUES = ("app", "tier"), ("a", "b")
PORT_NAMES, NUMBERS = ("web", "dns"), (1, 79, 80, 81, 8080, 65535)
PROTOCOLS = ("TCP", "UDP", "SCTP")
POLICY_KINDS = ("NetworkPolicy", *CLUSTER_POLICIES)
PREFIXES = {4: (0, 1, 8, 24, 28, 29, 30, 31, 32), 6: (0, 1, 16, 64, 124, 125, 126, 127, 128)}


def pod_ips(index: int) -> tuple[str, str]:
    """The addresses of the pod of that number: neighbours, so that small blocks have some of them and not others."""
    return f"10.0.0.{index + 1}", f"fd00::{index + 1:x}"


labels = st.dictionaries(st.sampled_from(LABEL_KEYS), st.sampled_from(LABEL_VALUES), max_size=2)


def requirements(keys: tuple[str, ...], values: tuple[str, ...]) -> st.SearchStrategy[Json]:
    """One matchExpressions entry."""
    listed = st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)
    with_values = st.fixed_dictionaries(
        {"key": st.sampled_from(keys), "operator": st.sampled_from(("In", "NotIn")), "values": listed}
    )
    without = st.fixed_dictionaries(
        {"key": st.sampled_from(keys), "operator": st.sampled_from(("Exists", "DoesNotExist"))}
    )
    return with_values | without


def selectors(keys: tuple[str, ...] = LABEL_KEYS, values: tuple[str, ...] = LABEL_VALUES) -> st.SearchStrategy[Json]:
    """A label selector; often empty or of one label, so that it often matches."""
    return st.one_of(
        st.just({}),
        st.fixed_dictionaries(
            {"matchLabels": st.dictionaries(st.sampled_from(keys), st.sampled_from(values), max_size=2)}
        ),
        st.fixed_dictionaries({"matchExpressions": st.lists(requirements(keys, values), min_size=1, max_size=2)}),
        st.fixed_dictionaries(
            {
                "matchLabels": st.dictionaries(st.sampled_from(keys), st.sampled_from(values), min_size=1, max_size=1),
                "matchExpressions": st.lists(requirements(keys, values), min_size=1, max_size=1),
            }
        ),
    )


pod_selectors: st.SearchStrategy[Json] = st.just({}) | selectors()
namespace_selectors = selectors() | selectors(("kubernetes.io/metadata.name",), NAMESPACES)


def block_around(address: str, prefix: int) -> str:
    """The block of that size that has the address."""
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
