"""Laws of the pods that policies wait for: whoever a policy may let in is somebody on the stage, and needs nothing."""

from __future__ import annotations

import json

from hypothesis import given, note
from hypothesis import strategies as st

from gatewright.engine.podset import PodSet
from gatewright.engine.snapshot import NAMESPACE_NAME_LABEL, Changes
from gatewright.intent.bind import bind
from gatewright.intent.compare import Kind
from gatewright.intent.include import load_model
from gatewright.intent.model import PodsOf
from gatewright.intent.proof import prove
from gatewright.intent.selected import peers_of, subjects_of
from gatewright.intent.simplest import labels_like
from gatewright.intent.stage import Stage, build_stage
from gatewright.objects.meta import Json
from gatewright.objects.read import decode
from tests.traffic_models import models

KEYS, VALUES = ("app", "zone", "track"), ("web", "api", "any")


@st.composite
def selectors(draw: st.DrawFn, keys: tuple[str, ...] = KEYS, values: tuple[str, ...] = VALUES) -> Json:
    """A label selector of few keys and values, so that it often meets a component, and sometimes nobody can meet it."""
    found: Json = {}
    if draw(st.booleans()):
        found["matchLabels"] = {draw(st.sampled_from(keys)): draw(st.sampled_from(values))}
    expressions = []
    for _ in range(draw(st.integers(0, 2))):
        operator = draw(st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]))
        one: Json = {"key": draw(st.sampled_from(keys)), "operator": operator}
        if operator in ("In", "NotIn"):
            one["values"] = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True))
        expressions.append(one)
    return {**found, "matchExpressions": expressions} if expressions else found


SPACES = selectors(("kubernetes.io/metadata.name", "team"), ("default", "shop", "new"))


@st.composite
def policies(draw: st.DrawFn, name: str) -> Json:
    """A policy of either kind with a peer or two."""
    if draw(st.booleans()):
        peers = draw(
            st.lists(
                st.fixed_dictionaries({"podSelector": selectors()})
                | st.fixed_dictionaries({"namespaceSelector": SPACES}, optional={"podSelector": selectors()}),
                min_size=1,
                max_size=2,
            )
        )
        spec: Json = {"podSelector": draw(selectors()), "policyTypes": ["Ingress"], "ingress": [{"from": peers}]}
        metadata = {"name": name, "namespace": draw(st.sampled_from(["default", "shop", "empty"]))}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    who = st.fixed_dictionaries({"namespaces": SPACES}) | st.fixed_dictionaries(
        {"pods": st.fixed_dictionaries({"namespaceSelector": SPACES, "podSelector": selectors()})}
    )
    action = draw(st.sampled_from(["Accept", "Pass", "Deny"]))
    spec = {"tier": "Admin", "priority": 5, "subject": draw(who), "ingress": [{"action": action, "from": [draw(who)]}]}
    version = "policy.networking.k8s.io/v1alpha2"
    return {"apiVersion": version, "kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": spec}


def staged(model: Json, documents: list[Json]) -> Stage:
    """The stage of a model whose components have pods, with policies."""
    traffic = load_model("traffic.yaml", lambda _: json.dumps(model))
    manifests = build_stage(bind(traffic)).snapshot
    items = tuple(item for document in documents if (item := decode(document)) is not None)
    given_objects = manifests.apply(Changes(items))
    return build_stage(bind(traffic, given_objects), given_objects)


@given(models(), policies("p"), policies("q"))
def test_every_peer_is_somebody_unless_nobody_can_be(model: Json, one: Json, other: Json) -> None:
    stage = staged(model, [one, other])
    for policy in (*stage.snapshot.policies, *stage.snapshot.cluster_policies):
        for pods in peers_of(policy):
            note(f"{pods}")
            assert stage.objects.members(pods) or not can_be(stage, pods)


def can_be(stage: Stage, pods: PodsOf) -> bool:
    """Whether labels meet a selector in a namespace that is there, or that could be made: each has a name."""
    space = pods.namespaces is None or bool(stage.objects.namespaces(pods.namespaces))
    if not space and pods.namespaces is not None:
        made = labels_like({NAMESPACE_NAME_LABEL: "made"}, pods.namespaces) or {}
        space = made.get(NAMESPACE_NAME_LABEL, "") not in ("", *stage.snapshot.namespaces)
    return space and labels_like({}, pods.labels) is not None


@given(models(), policies("p"), policies("q"))
def test_a_pod_that_is_waited_for_is_selected_and_of_one_component_at_most(model: Json, one: Json, other: Json) -> None:
    stage = staged(model, [one, other])
    every = (*stage.snapshot.policies, *stage.snapshot.cluster_policies)
    meant = [pods for policy in every for pods in (*peers_of(policy), *subjects_of(policy))]
    for index in stage.awaited_members:
        assert any(index in stage.objects.members(pods) for pods in meant)
        assert sum(index in stage.members(party) for party in stage.bound.components) < 2


@given(models(), policies("p"))
def test_no_flow_is_blocked_for_a_pod_that_is_not_there(model: Json, policy: Json) -> None:
    stage = staged(model, [policy])
    for gap in prove(stage, exact=True).gaps:
        if gap.kind is Kind.BLOCKED:
            for end in (gap.source, gap.destination):
                assert not (isinstance(end, PodSet) and end & stage.awaited_members)
