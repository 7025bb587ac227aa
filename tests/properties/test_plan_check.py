"""Laws of checking: a plan checks clean against manifests, and what a check says mends a spoiled plan does mend it."""

from __future__ import annotations

import json

from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from gatewright.engine.snapshot import Changes, Snapshot
from gatewright.intent.bind import bind
from gatewright.intent.boxes import Known, by_label, touch
from gatewright.intent.check import Failure, check
from gatewright.intent.check import failures as all_failures
from gatewright.intent.compare import Kind
from gatewright.intent.include import load_model
from gatewright.intent.plan import plan
from gatewright.intent.proof import prove
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


@st.composite
def guards(draw: st.DrawFn) -> Json:
    """A cluster-wide policy of some kind with a rule or two, about namespaces of the models."""
    kind = draw(st.sampled_from(["ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"]))
    old = kind != "ClusterNetworkPolicy"
    names = st.sampled_from([{}, *({"kubernetes.io/metadata.name": name} for name in ("default", "shop", "data"))])
    who = st.builds(lambda name: {"namespaces": {"matchLabels": name} if name else {}}, names)
    words = ["Allow" if old else "Accept", "Deny", *(["Pass"] if kind != "BaselineAdminNetworkPolicy" else [])]
    port = {"portNumber": {"port": 80}} if old else {"tcp": {"destinationPort": {"number": 80}}}
    sides: dict[str, list[Json]] = {}
    for side, field in (("ingress", "from"), ("egress", "to")):
        for _ in range(draw(st.integers(0, 2))):
            peers = draw(st.lists(who, min_size=1, max_size=2))
            rule: Json = {"action": draw(st.sampled_from(words)), field: peers}
            if draw(st.booleans()):
                rule["ports" if old else "protocols"] = [port]
            sides.setdefault(side, []).append(rule)
    spec: Json = {"subject": draw(who), **sides}
    spec |= {} if kind == "BaselineAdminNetworkPolicy" else {"priority": draw(st.integers(0, 3))}
    spec |= {} if old else {"tier": draw(st.sampled_from(["Admin", "Baseline"]))}
    version = f"policy.networking.k8s.io/v1alpha{1 if old else 2}"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "default"}, "spec": spec}


@given(models(), guards())
@settings(max_examples=100)
def test_what_mends_under_a_cluster_wide_policy_mends_and_opens_nothing(model: Json, guard: Json) -> None:
    """What the search worked out from what was compiled is what a check from the beginning finds."""
    documents, manifests = planned(model)
    snapshot = snapshot_of([*documents, guard], manifests)
    bound = bind(load_model("traffic.yaml", lambda _: json.dumps(model)), snapshot)
    stage = build_stage(bound, snapshot)
    proof = prove(stage, exact=True)
    for failure in all_failures(proof):
        if failure.mend is not None:
            edits = failure.mend.edits
            note([edit.what for edit in edits])
            after = by_label(prove(stage.with_changes(Changes(tuple(edit.result for edit in edits))), exact=True).gaps)
            assert Known(proof.gaps).cover(after)
            assert not touch(after, by_label([failure.example.gap]))
