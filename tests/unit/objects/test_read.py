"""Reading objects: every fault with its place, none hidden by another, in the words of the API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatewright.errors import InvalidInput
from gatewright.objects.core import Namespace, Pod
from gatewright.objects.meta import Object
from gatewright.objects.policy import NetworkPolicy
from gatewright.objects.read import Parsed, decode, parse
from gatewright.objects.workloads import CronJob, Deployment

HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n"


def said(text: str) -> list[str]:
    return [str(problem) for problem in parse(text, "f.yaml").problems]


def only(text: str) -> Object:
    (item,) = parse(text, "f.yaml").require()
    return item


# Each: what stands below `spec:` (from line 5 on), and what must be said of it.
POLICY_FAULTS: dict[str, tuple[str, list[str]]] = {
    "unknown fields, all of them": (
        "  podSelector: {}\n  ingres: []\n  egress: [{form: []}]\n",
        ['f.yaml:6: NetworkPolicy p: unknown field "spec.ingres"',
         'f.yaml:7: NetworkPolicy p: unknown field "spec.egress[0].form"'],
    ),
    "a selector that is a string": (
        "  podSelector: all\n",
        [("f.yaml:5: NetworkPolicy p: json: cannot unmarshal string into Go struct field "
         "NetworkPolicySpec.spec.podSelector of type v1.LabelSelector")],
    ),
    "a label that YAML makes a number": (
        "  podSelector:\n    matchLabels:\n      version: 1\n",
        [("f.yaml:7: NetworkPolicy p: json: cannot unmarshal number into Go struct field "
         "LabelSelector.spec.podSelector.matchLabels of type string")],
    ),
    "ipBlock beside a selector": (
        "  ingress:\n  - from:\n    - ipBlock: {cidr: 10.0.0.0/8}\n      podSelector: {}\n",
        [("f.yaml:7: NetworkPolicy p: spec.ingress[0].from[0]: "
         "Forbidden: may not specify both ipBlock and another peer")],
    ),
    "an empty peer": (
        "  egress:\n  - to:\n    - {}\n",
        ["f.yaml:7: NetworkPolicy p: spec.egress[0].to[0]: Required value: must specify a peer"],
    ),
    "a port out of range": (
        "  ingress:\n  - ports:\n    - port: 70000\n",
        [("f.yaml:7: NetworkPolicy p: spec.ingress[0].ports[0].port: "
         "Invalid value: 70000: must be between 1 and 65535, inclusive")],
    ),
    "endPort below port, and a block that is no block": (
        "  egress:\n  - ports: [{port: 90, endPort: 80}]\n    to: [{ipBlock: {cidr: 10.0.0.0}}]\n",
        [("f.yaml:6: NetworkPolicy p: spec.egress[0].ports[0].endPort: "
         "Invalid value: 90: must be greater than or equal to `port`"),
         ("f.yaml:7: NetworkPolicy p: spec.egress[0].to[0].ipBlock.cidr: "
         'Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)')],
    ),
    "an except outside its block": (
        "  egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]\n",
        [("f.yaml:5: NetworkPolicy p: spec.egress[0].to[0].ipBlock.except[0]: "
         'Invalid value: "11.0.0.0/8": must be a strict subset of `cidr`')],
    ),
    "a duplicate key": (
        "  podSelector: {}\n  podSelector: {matchLabels: {a: b}}\n",
        ['f.yaml:6: NetworkPolicy p: key "podSelector" already set in map'],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", POLICY_FAULTS)
def test_faults_of_a_policy(case: str) -> None:
    spec, expected = POLICY_FAULTS[case]
    assert said(f"{HEAD}spec:\n{spec}") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("some text\n", "not a Kubernetes object: expected a mapping with apiVersion and kind"),
        ("- a\n", "not a Kubernetes object: expected a mapping with apiVersion and kind"),
        ("a: b\n", "not a Kubernetes object: Object 'Kind' is missing"),
        ("kind: Pod\n", "Pod: not a Kubernetes object: apiVersion not set"),
        (
            "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}\n",
            ("NetworkPolicy p: the API version in the data (extensions/v1beta1) does not match the expected API version"
            " (networking.k8s.io/v1)"),
        ),
        (
            "apiVersion: v1\nkind: Namespace\n",
            "Namespace: metadata.name: Required value: name or generateName is required",
        ),
    ],
)  # fmt: skip
def test_what_is_no_object(text: str, expected: str) -> None:
    assert said(text) == [f"f.yaml:1: {expected}"]


def test_one_bad_document_hides_no_other() -> None:
    parsed = parse("a: [\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\nkind: 5\n", "f.yaml")
    assert [item.name for item in parsed.objects] == ["x"]
    assert len(parsed.problems) == 2
    with pytest.raises(InvalidInput) as raised:
        parsed.require()
    assert len(str(raised.value).splitlines()) == 2


def test_text_that_is_not_utf8() -> None:
    (problem,) = parse(b"a: b\nc: \xff\n", "f.yaml").problems
    assert str(problem) == "f.yaml:2: not YAML: the text is not UTF-8"


def test_defaults_nulls_and_places() -> None:
    policy = only(
        f"{HEAD}spec:\n  podSelector:\n  ingress: null\n  egress:\n  - ports: [{{port: 53, protocol: null}}]\n"
    )
    assert isinstance(policy, NetworkPolicy)
    assert policy.namespace == "default"
    assert policy.policy_types == ("Ingress", "Egress")
    assert policy.spec.egress[0].ports[0].protocol is None
    assert str(policy.origin) == "f.yaml:1"
    assert policy.origin is not None
    assert str(policy.origin.at(("spec", "egress", 0, "ports", 0))) == "f.yaml:8"


def test_a_place_is_a_value() -> None:
    text = f"{HEAD}spec: {{podSelector: {{}}}}\n"
    one, same, other = only(text).origin, only(text).origin, only("# moved\n" + text).origin
    assert one == same
    assert len({one, same, other}) == 2


def test_a_null_label_is_an_empty_one() -> None:
    pod = only(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: }}\nspec: {containers: [{name: c, image: i}]}\n"
    )
    assert pod.labels == {"a": ""}


def test_cluster_wide_kinds_have_no_namespace() -> None:
    assert only("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, namespace: other}\n").namespace == ""


def test_lists_are_their_items() -> None:
    items = '{"metadata": {"name": "a"}}, {"metadata": {"name": "b", "namespace": "n"}}'
    parsed = parse('{"apiVersion": "v1", "kind": "NamespaceList",\n"items": [' + items + "]}", "f.json")
    assert [(item.kind, item.name) for item in parsed.require()] == [("Namespace", "a"), ("Namespace", "b")]
    mixed = (
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {kind: x}\n"
    )
    assert said(mixed) == ["f.yaml:5: x: not a Kubernetes object: apiVersion not set"]


def test_what_a_list_says_for_its_items_has_their_line() -> None:
    text = "apiVersion: extensions/v1beta1\nkind: NetworkPolicyList\nitems:\n- metadata:\n    name: a\n"
    refused = "the API version in the data (extensions/v1beta1) does not match the expected API version"
    assert said(text) == [f"f.yaml:4: NetworkPolicy a: {refused} (networking.k8s.io/v1)"]


def test_other_kinds_are_passed_over_and_counted() -> None:
    parsed = parse("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", "f.yaml")
    assert (parsed.objects, parsed.problems, parsed.documents) == ((), (), 1)


def test_workloads() -> None:
    template = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}"
    deployment = only(
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec: {{replicas: 3, {template}}}\n"
    )
    assert isinstance(deployment, Deployment)
    assert (deployment.replicas, deployment.template.metadata.labels) == (3, {"a": "b"})
    job = only(
        f"apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: j}}\nspec: {{jobTemplate: {{spec: {{{template}}}}}}}\n"
    )
    assert isinstance(job, CronJob)
    assert job.template.spec.containers[0].image == "i"


def test_of_two_declarations_the_later_counts_with_a_warning() -> None:
    one = parse("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "1.yaml")
    same = parse("# again\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "2.yaml")
    other = parse("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {a: b}}\n", "3.yaml")
    assert not Parsed.merge([one, same]).warnings
    merged = Parsed.merge([one, same, other])
    (kept,) = merged.require()
    assert kept.labels == {"a": "b"}
    (warning,) = merged.warnings
    assert str(warning) == ("3.yaml:1: Namespace x: replaces another declaration of it at 2.yaml:2; keep one of them")


def test_objects_from_an_api_have_no_place() -> None:
    pod = decode({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
                  "spec": {"containers": [{"name": "c", "image": "i"}]},
                  "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}})  # fmt: skip
    assert isinstance(pod, Pod)
    assert (pod.origin, pod.ips) == (None, ("10.0.0.1", "fd00::1"))
    assert decode({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}) is None
    assert isinstance(decode({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}), Namespace)
    with pytest.raises(InvalidInput):
        decode({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})


RECORDED = Path(__file__).parents[4] / "shared" / "apiserver" / "validation.jsonl"
DECIDED_ELSEWHERE = {
    "metadata name: p, namespace: other (25)": "the request's path names another namespace; a file has no path",
    "no kind": "the request's path names the kind; a file must say it",
    "namespace name: aaaaaaaaaaaaaaaaaaaaaaaa (70)": "the label is set by the server's defaulting, from the same name",
}
READ_KINDS = ("NetworkPolicy", "ClusterNetworkPolicy", "Pod", "Service", "Namespace")


def recorded() -> list[dict[str, Any]]:
    if not RECORDED.exists():
        return []
    cases = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return [case for case in cases if case["kind"] in READ_KINDS and case["case"] not in DECIDED_ELSEWHERE]


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded answers of an API server are not beside this checkout")
@pytest.mark.parametrize("case", recorded(), ids=lambda case: f"{case['kind']}: {case['case']}")
def test_agrees_with_a_real_api_server(case: dict[str, Any]) -> None:
    found = [problem.what.partition(": ")[2] for problem in parse(case["object"], "f.yaml").problems]
    if case["code"] == 201:
        assert found == []
    elif case["code"] == 422:
        assert found == [
            f"{cause['field']}: {cause['message']}" for cause in case["causes"] if cause["field"] != "<nil>"
        ]
    else:
        assert found
        assert all(one in case["message"] for one in found)
