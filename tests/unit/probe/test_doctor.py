"""The doctor's answer for every solution and variant, and that no evidence that is missing turns an answer into yes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from gatewright.findings.networks import NETWORKS, Network
from gatewright.probe.doctor import images, solutions
from gatewright.probe.doctor.answer import document
from gatewright.probe.doctor.evidence import DAEMONSETS, GROUPS, NODES, Reply, blindness, read_cni, right
from gatewright.probe.doctor.solutions import BadKnowledge, Capability, State, knowledge, read_solution
from gatewright.report.doctor import to_text
from tests.unit.probe.doctor_clusters import FOLDER, Case, Cluster, cases

CASES = cases()
DOCTOR = json.loads((Path(__file__).parents[3] / "docs/schemas/doctor-v1.schema.json").read_text())
SOLUTIONS = {one.id for one in knowledge().solutions}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer(case: Case) -> None:
    answer = case.cluster().answer()
    expected = case.expected
    assert answer.enforced == expected["enforced"], answer.why
    assert expected.get("why", "") in answer.why
    nodes = {one.node: str(one.enforced) for one in answer.nodes}
    assert nodes | expected.get("nodes", {}) == nodes
    parts = {str(name): str(part.state) for name, part in answer.parts.items()}
    assert parts | expected.get("parts", {}) == parts
    variants = [variant for one in answer.found for variant in one.variants]
    assert "variant" not in expected or expected["variant"] in variants
    assert expected.get("changes", "") in "\n".join(answer.changes)
    assert expected.get("missing", "") in "\n".join(answer.missing)
    assert expected.get("deviation", "") in "\n".join(one.what for one in answer.deviations)
    for piece in expected.get("evidence", ()):
        assert any(piece in str(one) for one in answer.evidence), answer.evidence


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_that_is_refused_never_makes_a_yes(case: Case) -> None:
    whole = case.cluster()
    answer = whole.answer()
    for path in dict.fromkeys(whole.asked):
        for status in (403, 500, 408):
            cluster = case.cluster()
            cluster.refused[path] = status
            blind = cluster.answer()
            assert blind.enforced != "yes" or answer.enforced == "yes", (path, blind.why)
            if path in (NODES, DAEMONSETS, GROUPS) or "/pods?" in path:
                assert blind.enforced == "unknown", (path, blind.why)
                assert any(right(path) in one for one in blind.missing), (path, blind.missing)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_objects_that_are_gone_never_make_a_yes(case: Case) -> None:
    """What is taken away entirely: an object, or everything below a part of one, that is not a setting's own value."""
    before = case.cluster().answer()
    if before.enforced == "yes":
        return
    for number, one in enumerate(case.cluster().objects):
        if one["kind"] in ("DaemonSet", "CiliumNodeConfig", "Node"):
            continue  # these are what is enforced, where, or by whom: without them it is another cluster
        cluster = case.cluster()
        del cluster.objects[number]
        assert cluster.answer().enforced != "yes", one["metadata"]


def _leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield from _leaves(value, (*path, key))


YES = [case for case in CASES if case.expected["enforced"] == "yes"]


@pytest.mark.parametrize("case", YES, ids=lambda case: case.name)
def test_a_pod_that_lacks_its_image_its_node_or_its_readiness_is_no_yes(case: Case) -> None:
    base = case.cluster()
    pods = [number for number, one in enumerate(base.objects) if one["kind"] == "Pod"]
    policing = [number for number in pods if _polices(base, number)]
    assert policing or "k3s" in case.name
    for number in policing:
        for change in (_without_images, _without_node, _without_readiness):
            cluster = case.cluster()
            cluster.objects[number] = change(copy.deepcopy(cluster.objects[number]))
            assert cluster.answer().enforced != "yes", change.__name__


def _polices(cluster: Cluster, number: int) -> bool:
    """Whether the answer is another one without this pod."""
    without = copy.copy(cluster)
    without.objects = [one for index, one in enumerate(cluster.objects) if index != number]
    return without.answer().enforced != "yes"


def _without_images(pod: Any) -> Any:
    for container in pod["spec"]["containers"]:
        container["image"] = "corp.example/own:1"
    return pod


def _without_node(pod: Any) -> Any:
    del pod["spec"]["nodeName"]
    return pod


def _without_readiness(pod: Any) -> Any:
    pod["status"] = {}
    return pod


SETTINGS = {"data", "env", "args", "command", "volumes", "selector", "readyReplicas"}
"""Where another value is another configuration, or another cluster."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_objects_of_other_shapes_are_no_yes_and_no_crash(case: Case) -> None:
    """Every part of every object in turn is something else: a number, a text, nothing."""
    base = case.cluster()
    before = base.answer().enforced
    for number, one in enumerate(base.objects):
        if one["metadata"]["name"] == "mynet":
            continue  # a stranger is one by what its parts say
        for path in _leaves(one):
            if len(path) < 2 or path[0] in ("kind", "metadata"):
                continue
            cluster = case.cluster()
            parent = cluster.objects[number]
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = 7
            after = cluster.answer().enforced
            assert after != "yes" or before == "yes" or SETTINGS & {*path} or one["kind"] == "CiliumNodeConfig", path


def test_every_solution_has_a_case_for_each_variant_and_one_that_is_no_yes() -> None:
    for solution in knowledge().solutions:
        if solution.id in ("kube-network-policies", "gatewright-lab", "azure-npm"):
            continue  # stand in the files of the networks that they go with
        having = [case for case in CASES if case.name.startswith(f"{solution.id}: ")]
        assert having, solution.id
        assert any(case.expected["enforced"] != "yes" for case in having), solution.id
    told = {v for case in CASES for one in case.cluster().answer().found for v in one.variants}
    titles = {variant.title for one in knowledge().solutions for variant in one.variants}
    assert titles == told & titles, titles - told


@pytest.mark.parametrize("solution", knowledge().solutions, ids=lambda one: one.id)
def test_what_a_file_names_is_there(solution: solutions.Solution) -> None:
    groups = solution.runs.containers
    named = {setting.container for setting in solution.settings.values()} | {solution.version}
    assert named - {""} <= groups.keys()
    ranges = [one for part in solution.capabilities.values() if not isinstance(part, State) for one in part]
    used = [one.when for one in solution.variants] + [one.when for one in solution.needs]
    used += [one.when for one in solution.deviations] + [one.when for one in ranges]
    assert {name for when in used for name in when} <= solution.settings.keys()
    assert set(solution.beside) | set(solution.yields) <= SOLUTIONS | {"none"}
    bounds = [(one.since, one.before) for one in solution.variants] + [(one.since, one.before) for one in ranges]
    bounds += [(one.since, one.before) for one in solution.deviations]
    assert all(images.parse_version(bound) for pair in bounds for bound in pair if bound)
    assert solution.sources
    assert all(source.startswith("https://") for source in solution.sources)
    enforcing = any(one.enforced is State.YES for one in solution.variants)
    assert not enforcing or solution.capabilities[Capability.INGRESS] is State.YES


def test_a_file_that_is_wrong_is_told_by_its_field() -> None:
    good = (FOLDER.parents[3] / "src/gatewright/probe/doctor/solutions/bridge.yaml").read_bytes()
    with pytest.raises(BadKnowledge, match=r"bridge\.yaml: .*`enforcd`"):
        read_solution(good.replace(b"enforced:", b"enforcd:"), "bridge.yaml")
    with pytest.raises(BadKnowledge, match=r"schema: 2 is not 1"):
        read_solution(good.replace(b"schema: 1", b"schema: 2"), "bridge.yaml")
    with pytest.raises(BadKnowledge, match=r"bridge\.yaml"):
        read_solution(b"a: [b", "bridge.yaml")


@pytest.mark.parametrize(
    ("image", "path", "version"),
    [
        ("calico/node:v3.30.1", "calico/node", (3, 30, 1, 0, 0)),
        ("registry.example:5000/mirror/calico/node:v3.30.1@sha256:aa", "mirror/calico/node", (3, 30, 1, 0, 0)),
        ("localhost/calico/node", "calico/node", None),
        ("node:latest", "node", None),
        ("kindest/kindnetd:v20250214-acbabc1a", "kindest/kindnetd", (20250214, 0, 0, 0, 0)),
        ("amazon-k8s-cni:v1.18.1-eksbuild.3", "amazon-k8s-cni", (1, 18, 1, 0, 0)),
        ("a/b:v3", "a/b", None),
        ("a/b:stable", "a/b", None),
        ("a/b@sha256:24a7", "a/b", None),
        ("a/b:v1.2.0-rc.1", "a/b", (1, 2, 0, 0, -1)),
        ("a/b:v3.31.0-0.dev-12-gabcdef0", "a/b", (3, 31, 0, 0, -1)),
        ("a/b:1.2.3.4.5", "a/b", None),
        ("", "", None),
    ],
)
def test_names_of_images(image: str, path: str, version: images.Version | None) -> None:
    assert images.path_of(image) == path
    found = images.version_of(image)
    assert found == version


def test_an_image_is_known_by_its_whole_path_or_behind_a_mirrors() -> None:
    assert images.is_known("mirror.example/k8s/calico/node:v1.0.0", ["calico/node"])
    assert not images.is_known("mirror.example/k8s/notcalico/node:v1.0.0", ["calico/node"])
    assert images.is_known("1.dkr.example/amazon-k8s-cni:v1.0.0", ["amazon-k8s-cni"])
    assert not images.is_known("corp.example/own/amazon-k8s-cni:v1.0.0", ["amazon-k8s-cni"])


def test_rights_are_named_as_roles_name_them() -> None:
    assert right(DAEMONSETS) == "list daemonsets.apps"
    assert right("/api/v1/namespaces/a/pods?labelSelector=x") == "list pods in namespace a"
    assert right("/api/v1/namespaces/a/configmaps/b") == "get configmaps b in namespace a"
    assert right("/apis/policy.networking.k8s.io/v1alpha2") == "get the path /apis/policy.networking.k8s.io/v1alpha2"
    assert not blindness(NODES, msgspec.convert({"status": 404}, Reply))


def test_cni_files_in_the_order_in_which_a_runtime_takes_them() -> None:
    files = {
        "20-b.conflist": b'{"plugins": [{"type": "ptp"}, {"type": "portmap"}]}',
        "10-a.conf": b'{"type": "bridge"}',
        "00-broken.conf": b"{",
        "05-odd.json": b"[1]",
        "notes.txt": b"{}",
    }
    read = read_cni(files.items())
    assert [(one.path, one.types) for one in read] == [
        ("00-broken.conf", ()),
        ("05-odd.json", ()),
        ("10-a.conf", ("bridge",)),
        ("20-b.conflist", ("ptp", "portmap")),
    ]


def test_text_begins_with_the_answer_and_shows_nodes_that_do_not_enforce_first() -> None:
    [case] = [one for one in CASES if one.name == "kube-router: a node without a pod"]
    lines = to_text(document(case.cluster().answer())).splitlines()
    assert lines[0] == "enforced: partly"
    why = "enforced on 1 of 2 nodes; not on n2: no pod of DaemonSet kube-system/kube-router runs there"
    assert lines[1] == f"cluster test enforces network policies only in part: {why}"
    nodes = [line.split()[:2] for line in lines if line.startswith(("n1 ", "n2 "))]
    assert nodes == [["n2", "no"], ["n1", "yes"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_documents_follow_their_schema(case: Case) -> None:
    jsonschema.validate(json.loads(json.dumps(document(case.cluster().answer()))), DOCTOR)


PARTS = {
    "sctp": Capability.SCTP,
    "end_port": Capability.END_PORT,
    "admin_tiers": Capability.ADMIN_NETWORK_POLICY,
    "cluster_tiers": Capability.CLUSTER_NETWORK_POLICY,
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=lambda one: one.name)
def test_lint_and_the_doctor_do_not_contradict_each_other(network: Network) -> None:
    """Lint's coarse table, by name: what it says for certain, the doctor says of some version or configuration."""
    if network.name == "kubenet":
        return  # leaves nothing that the doctor could recognise
    [solution] = [one for one in knowledge().solutions if one.id == network.name]
    assert network.enforces or any(one.enforced is State.NO for one in solution.variants)
    for field, capability in PARTS.items():
        known = solution.capabilities.get(capability, State.UNKNOWN)
        states = {known} if isinstance(known, State) else {one.state for one in known}
        said = getattr(network, field)
        if network.enforces and said is not None:
            assert states != ({State.NO} if said else {State.YES}), capability
