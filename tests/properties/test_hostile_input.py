"""No input makes anything but objects or clean problems, and none costs more than bounded memory and time."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.objects.kinds import KINDS
from tests.fuzz.property import check, check_page, seeds

ROOT = Path(__file__).parents[2]
SEEDS = seeds()
NOISE = st.sampled_from([
    b"---\n", b"&a ", b"*a", b"<<: ", b"{", b"}", b"[", b"]", b": ", b"- ", b"\n  ", b"\t", b"'", b'"', b"|\n",
    b"null", b"0x", b"1e999", b"-1", b"yes", b"\xff", b"\x00", b"\xef\xbb\xbf", b"# Source: a/b\n", b"\r\n",
    b"!!int ", b"%YAML 1.1\n",
    "\u2028".encode(), b"99999999999999999999", b".inf", b"ipBlock: {cidr: ::/0}", b"kind: List\nitems: [", b"\\ud800",
])  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from(["10.0.0.0/8", "::/0", "TCP", "Ingress", "In", "web", "80", "Accept", "Admin", "default"]),
)  # fmt: skip
FIELDS = """
    spec metadata name namespace labels podSelector namespaceSelector matchLabels matchExpressions key operator
    values ingress egress from to ports port endPort protocol ipBlock cidr except policyTypes subject namespaces
    pods priority tier action networks nodes domainNames protocols tcp destinationPort range start end number
    destinationNamedPort containers image containerPort template status podIPs ip type selector targetPort nodePort
    externalIPs rules http paths backend service backendRefs parentRefs endpoints addresses items matches method
"""
KEYS = st.sampled_from(FIELDS.split())
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid input with a few places cut out, repeated or replaced by noise."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 20)))
        data[begin:end] = draw(NOISE | st.binary(max_size=4) | st.just(bytes(data[begin:end]) * 2))
    return bytes(data)


@st.composite
def shaped(draw: st.DrawFn) -> dict[str, Any]:
    """An object of a known kind whose fields are what they should be, or anything else."""
    group, name = draw(st.sampled_from(sorted(KINDS)))
    version = draw(st.sampled_from(KINDS[group, name].served))
    metadata = {"name": "x", "namespace": draw(st.sampled_from(["default", "shop"]))}
    tree = draw(st.dictionaries(KEYS, TREES, max_size=4))
    head = {"apiVersion": f"{group}/{version}" if group else version, "kind": name}
    return {"metadata": metadata, **tree, **head}


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    check(data)
    check_page(data)


@given(damaged())
def test_damaged_manifests(data: bytes) -> None:
    check(data)
    check_page(data)


@given(st.lists(shaped(), max_size=4))
def test_objects_of_any_shape(objects: list[dict[str, Any]]) -> None:
    check("\n---\n".join(json.dumps(one) for one in objects).encode())
    check_page(json.dumps({"items": objects}).encode())


MEGABYTE = 1 << 20
MEMORY = 768 * MEGABYTE
SECONDS = 20


def named(kind: str, metadata: str) -> str:
    """A manifest whose metadata begin with a name."""
    return f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: {metadata}}}\n"


BOMBS: dict[str, Callable[[], str]] = {
    "aliases that double": lambda: "a0: &a0 [x]\n"
    + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "lists that double": lambda: "kind: List\napiVersion: v1\nx:\n  a0: &a0 {kind: Namespace, apiVersion: v1}\n"
    + "".join(f"  a{n}: &a{n} {{kind: List, apiVersion: v1, items: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))
    + "items: [*a59]\n",
    "aliases in keys": lambda: "".join(f"? &k{n} {{a: {n}}}\n: *k{n}\n" for n in range(20_000)),
    "merges that double": lambda: "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}\n" for n in range(1, 60)),
    "an alias of itself": lambda: "a: &a [*a]\n",
    "deep flow": lambda: "[" * 200_000,
    "deep flow that closes": lambda: "[" * 20_000 + "]" * 20_000,
    "deep block": lambda: "".join(" " * n + "a:\n" for n in range(3000)),
    "deep JSON": lambda: '{"a":' * 50_000,
    "a huge key": lambda: f"{'k' * 8 * MEGABYTE}: 1\n",
    "a huge scalar": lambda: "a: " + "9" * 8 * MEGABYTE + "\n",
    "a huge quoted label": lambda: named("Pod", f"x, labels: {{a: '{'v' * 4 * MEGABYTE}'}}"),
    "numbers that are long": lambda: "".join(f"a{n}: 0x{'f' * 390}\n" for n in range(5000)),
    "many documents": lambda: "a: 1\n---\n" * 100_000,
    "many bad documents": lambda: "a: [\n---\n" * 30_000,
    "many duplicate keys": lambda: "a: 1\n" * 200_000,
    "many tags": lambda: "".join(f"- !t{n} x\n" for n in range(50_000)),
    "many anchors": lambda: "".join(f"- &a{n} x\n" for n in range(100_000)),
    "lists in lists of objects": lambda: "{kind: List, apiVersion: v1, items: [" * 90 + "]}" * 90,
    "a policy with many peers": lambda: "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
    "metadata: {name: x}\nspec:\n  podSelector: {}\n  ingress:\n  - from:\n"
    + "    - {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}\n" * 20_000,
    "a regular expression's worst name": lambda: named("Namespace", "a-" * 100_000),
    "line separators": lambda: "a: '" + "\u2028" * 100_000 + "'\n",
    "sources without end": lambda: "---\n# Source: a/b\n" * 50_000,
}  # fmt: skip
RUN = "import sys; from tests.fuzz import property as p; d = sys.stdin.buffer.read(); p.check(d); p.check_page(d)"


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_hostile_costs_bounded_memory_and_time(name: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=BOMBS[name]().encode(),
        capture_output=True,
        cwd=ROOT,
        preexec_fn=limit,
        timeout=SECONDS * 4,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()[-2000:]) == (0, "")
