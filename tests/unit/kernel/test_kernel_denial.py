"""What a denied packet meets, and what a log line's prefix says: the words survive the way through the kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.model import Direction, RuleOrigin
from gatewright.kernel.denial import Prefix, denial, read_prefix
from gatewright.kernel.names import LONGEST_LOGGED, class_name, log_name
from gatewright.kernel.options import Options
from gatewright.kernel.table import Count, Log, Rule, Verb, Verdict

ON = Verdict(Verb.GOTO, "destination")
LONGEST_PREFIX = 127
"""NF_LOG_PREFIXLEN without the final zero."""


def test_a_plain_denial_is_a_drop() -> None:
    assert denial(Options(), "ingress/a/b", "policy", ON) == (Rule(None, Verdict(Verb.DROP)),)


def test_a_denial_logs_then_counts_then_drops() -> None:
    found = denial(Options(log_group=9, counters=True), "ingress/a/b", "policy", ON)
    assert [rule.then for rule in found] == [
        Log("drop ingress/a/b policy", 9, "denials"),
        Count("ingress/a/b/policy"),
        Verdict(Verb.DROP),
    ]


def test_an_audit_says_so_and_lets_through() -> None:
    found = denial(Options(log_group=9, audit=True), "egress/a/b", "admin0", ON)
    assert [rule.then for rule in found] == [Log("audit egress/a/b admin0", 9, "denials"), ON]


@given(
    st.builds(
        RuleOrigin, st.just("NetworkPolicy"), st.text("abz-.0", min_size=1, max_size=63), st.text("az.-", max_size=253)
    ),
    st.sampled_from(Direction),
    st.booleans(),
    st.sampled_from(("policy", "admin0", "baseline99")),
)
def test_every_prefix_fits_and_reads_back(origin: RuleOrigin, direction: Direction, audit: bool, why: str) -> None:
    name = class_name(direction, (f"{origin.kind}/{origin.namespace}/{origin.name}",))
    rule = denial(Options(log_group=1, audit=audit), name, why, ON)[0]
    assert isinstance(rule.then, Log)
    assert len(rule.then.prefix) <= LONGEST_PREFIX
    found = read_prefix(rule.then.prefix)
    assert found == Prefix(audit, log_name(name), why)
    assert found.direction is direction


def test_long_names_that_begin_alike_are_told_apart() -> None:
    first, second = (log_name(f"ingress/{'n' * 100}/{end}") for end in ("a", "b"))
    assert first != second
    assert len(first) == len(second) == LONGEST_LOGGED
    assert log_name("ingress/default/policy") == "ingress/default/policy"


@pytest.mark.parametrize("text", ["", "drop", "drop a", "accept ingress/a/b policy", "drop ingress/a/b policy more"])
def test_a_prefix_of_somebody_else_is_none(text: str) -> None:
    assert read_prefix(text) is None


@pytest.mark.parametrize("direction", Direction)
def test_a_namespace_called_like_the_other_direction_does_not_confuse(direction: Direction) -> None:
    for namespace in ("egress", "ingress"):
        name = class_name(direction, (f"NetworkPolicy/{namespace}/policy",))
        assert Prefix(False, name, "policy").direction is direction
