"""Laws of checking: a plan checks clean against manifests, and what a check says mends a spoiled plan does mend it."""

from __future__ import annotations

import json

from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.intent.bind import bind
from gatewright.intent.check import Failure, check
from gatewright.intent.compare import Kind
from gatewright.intent.include import load_model
from gatewright.intent.plan import plan
from gatewright.intent.propose import without_policies
from gatewright.intent.stage import build_stage
from gatewright.objects.meta import Json
from gatewright.objects.read import decode
from gatewright.report.policies import to_yaml
from tests.traffic_models import models

ANYBODY: list[Json] = [
    {"from": [{"podSelector": {}}]},
    {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 80}]},
    {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
    {"ports": [{"protocol": "UDP", "port": 9, "endPort": 11}]},
]


def snapshot_of(documents: list[Json], manifests: Snapshot) -> Snapshot:
    items = [item for document in documents if (item := decode(document)) is not None]
    return manifests.apply(Changes(tuple(items)))


def failures(model: Json, snapshot: Snapshot) -> tuple[Failure, ...]:
    bound = bind(load_model("traffic.yaml", lambda _: json.dumps(model)), snapshot)
    return check(bound, snapshot, exact=True).failures


def planned(model: Json) -> tuple[list[Json], Snapshot]:
    """The documents of a plan, and manifests with a workload for every component."""
    bound = bind(load_model("traffic.yaml", lambda _: json.dumps(model)))
    manifests = build_stage(bound).snapshot
    found = plan(bound)
    note(to_yaml(found.policies))
    return [one.document for one in found.policies], manifests


@given(models())
@settings(max_examples=100)
def test_a_plan_checks_clean_against_manifests(model: Json) -> None:
    documents, manifests = planned(model)
    assert failures(model, snapshot_of(documents, manifests)) == ()


@given(models(), st.data())
@settings(max_examples=60)
def test_what_mends_a_flow_whose_rule_was_lost_mends_it(model: Json, data: st.DataObject) -> None:
    documents, manifests = planned(model)
    places = [
        (number, side, rule)
        for number, document in enumerate(documents)
        for side in ("ingress", "egress")
        for rule in range(len(document["spec"].get(side, ())))
    ]
    assume(places)
    number, side, rule = data.draw(st.sampled_from(places))
    spoiled = json.loads(json.dumps(documents))
    del spoiled[number]["spec"][side][rule]
    snapshot = snapshot_of(spoiled, manifests)
    found = failures(model, snapshot)
    assert {one.kind for one in found} == {Kind.BLOCKED}
    assert mended(model, snapshot) == ()


@given(models(), st.data())
@settings(max_examples=60)
def test_what_mends_a_rule_too_many_mends_it(model: Json, data: st.DataObject) -> None:
    documents, manifests = planned(model)
    number = data.draw(st.integers(0, len(documents) - 1))
    rule = data.draw(st.sampled_from(ANYBODY))
    spoiled = json.loads(json.dumps(documents))
    rules = spoiled[number]["spec"].setdefault("ingress", [])
    rules.insert(data.draw(st.integers(0, len(rules))), rule)
    snapshot = snapshot_of(spoiled, manifests)
    assume(failures(model, snapshot))  # else a flow allows as much
    assert all(one.kind is Kind.BEYOND for one in failures(model, snapshot))
    assert mended(model, snapshot) == ()


def mended(model: Json, snapshot: Snapshot) -> tuple[Failure, ...]:
    """What is left after the mend of the first failure was made, and again, as a person would do it."""
    assert without_policies(snapshot).policies == ()
    for _ in range(12):
        found = failures(model, snapshot)
        if not found or found[0].mend is None:
            return found
        note([edit.what for edit in found[0].mend.edits])
        snapshot = snapshot.apply(Changes(tuple(edit.result for edit in found[0].mend.edits)))
    return failures(model, snapshot)
