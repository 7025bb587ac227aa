"""Laws of lint: what it calls superfluous can be taken out, what it mends means the same, and no cluster breaks it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import product
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.selectors import matches
from gatewright.engine.snapshot import Snapshot
from gatewright.findings.containment import selector_covers
from gatewright.findings.lint import Report, Settings, lint
from gatewright.findings.mending import mended
from gatewright.findings.model import Finding, Severity
from gatewright.findings.networks import NETWORKS
from gatewright.findings.registry import choose
from gatewright.objects.meta import LabelSelector
from gatewright.objects.read import Parsed, parse
from tests.properties.test_laws import answers
from tests.strategies import Cluster, clusters, pods
from tests.vocabulary import LABEL_KEYS, LABEL_VALUES, Json, selectors

pytestmark = pytest.mark.timeout(600)
FILE = "all.yaml"
EVERY_LABELS = [
    {key: value for key, value in zip(LABEL_KEYS, values, strict=True) if value}
    for values in product((*LABEL_VALUES, ""), repeat=len(LABEL_KEYS))
]
EVERY = choose(("ALL",))
NETWORK_POLICIES = clusters(max_pods=3, max_policies=4)
TIERS = clusters(max_pods=3, tiers=True)


class Dumper(yaml.SafeDumper):
    """Quotes what kubectl would take for true: the namespace `y`."""


Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="'" if text == "y" else None
))  # fmt: skip


def text_of(cluster: Cluster) -> str:
    """The cluster as a manifest."""
    return yaml.dump_all(cluster.objects, Dumper=Dumper, sort_keys=False)


def found(cluster: Cluster, *, complete: bool = False) -> Report:
    """Everything that lint finds in it."""
    parsed = parse(text_of(cluster), FILE)
    assert not parsed.problems
    return lint(parsed, Settings(EVERY, cluster.pod_cidrs, complete))


def without(cluster: Cluster, findings: Iterable[Finding]) -> Cluster:
    """The cluster without the parts that findings point at: policies, rules, peers, ports, excepts."""
    objects: list[Json | None] = [copy.deepcopy(item) for item in cluster.objects]
    for finding in sorted(findings, key=lambda one: one.place.path, reverse=True):
        place = finding.place
        for number, item in enumerate(objects):
            if item is None or (item["kind"], item["metadata"]["name"]) != (place.kind, place.name):
                continue
            if place.path:
                remove(item, place.path)
            else:
                objects[number] = None
    return cluster.with_objects([item for item in objects if item is not None])


def remove(item: Any, path: tuple[str | int, ...]) -> None:
    for step in path[:-1]:
        item = item[step]
    del item[path[-1]]


@given(TIERS, st.booleans(), st.sampled_from((None, *NETWORKS.values())))
def test_every_rule_answers_for_every_cluster_and_names_a_line(cluster: Cluster, complete: bool, network: Any) -> None:
    text = text_of(cluster)
    report = lint(parse(text, FILE), Settings(EVERY, cluster.pod_cidrs, complete, network))
    for finding in report.findings:
        assert 0 < finding.place.line <= text.count("\n")
        assert "\n" not in finding.message
    assert list(report.findings) == sorted(report.findings, key=lambda one: one.order)


def is_denial(finding: Finding) -> bool:
    """Whether GW505 points at a policy that denies in vain; it may do more in its other direction."""
    return finding.id == "GW505" and not finding.place.path


def hold_superfluous(cluster: Cluster, report: Report, *idents: str) -> None:
    """What each rule points at can be taken out, all of it together, and no answer changes.

    An answer that depended on an unknown address may become sure: the engine asks each rule for itself, and does not
    see that a block which two rules name has the address for both or for none.
    """
    for ident in idents:
        findings = [one for one in report.findings if one.id == ident and not is_denial(one)]
        if findings:
            pairs = zip(answers(cluster, cluster), answers(without(cluster, findings), cluster), strict=True)
            changed = [(question, old, new) for (question, old), (_, new) in pairs if old not in (new, "depends")]
            assert changed == [], ident


@given(NETWORK_POLICIES)
def test_what_is_superfluous_can_be_taken_out(cluster: Cluster) -> None:
    hold_superfluous(cluster, found(cluster), "GW501", "GW502", "GW503", "GW504", "GW505")


@given(TIERS)
def test_rules_that_never_decide_can_be_taken_out(cluster: Cluster) -> None:
    hold_superfluous(cluster, found(cluster, complete=True), "GW801", "GW803")


@given(NETWORK_POLICIES, st.lists(pods(0, True), max_size=3))
def test_a_warning_of_a_superfluous_rule_holds_whatever_pods_there_are(cluster: Cluster, others: list[Json]) -> None:
    findings = [one for one in found(cluster).findings if one.id == "GW502" and one.severity is Severity.WARNING]
    if not findings:
        return
    new = [{**pod, "metadata": {**pod["metadata"], "name": f"n{i}"}} for i, pod in enumerate(others)]
    changed = cluster.with_objects([*(item for item in cluster.objects if item["kind"] != "Pod"), *new])
    assert answers(without(changed, findings), changed) == answers(changed, changed)


@given(selectors(), selectors())
def test_a_selector_that_covers_another_matches_all_that_it_matches(wide: Json, narrow: Json) -> None:
    left, right = (msgspec.convert(one, LabelSelector) for one in (wide, narrow))
    assert selector_covers(left, left)
    if selector_covers(left, right):
        assert all(matches(left, labels) for labels in EVERY_LABELS if matches(right, labels))


@given(NETWORK_POLICIES)
def test_safe_fixes_change_nothing_that_is_allowed(cluster: Cluster) -> None:
    text = text_of(cluster)
    parsed = Parsed.merge([parse(text, FILE)])
    outcome = mended(parsed, Settings(EVERY, cluster.pod_cidrs), {FILE: text}.get)
    if not outcome.done:
        return
    new = outcome.texts[FILE]
    after = [item for item in yaml.safe_load_all(new) if item is not None]
    assert answers(cluster.with_objects(after), cluster) == answers(cluster, cluster)
    assert not [one for one in outcome.report.findings if one.id == "GW001"]
    compile_snapshot(Snapshot.of(parse(new, FILE).require()))
