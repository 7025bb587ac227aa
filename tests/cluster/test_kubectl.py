"""Stock kubectl, command by command, against any API server."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Protocol

import pytest

from tests.cluster.endpoint import KUBECTL, kubectl

pytestmark = [pytest.mark.cluster]

POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db-policy}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress: [{from: [{podSelector: {matchLabels: {name: api-pod}}}], ports: [{port: 3306}]}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red}\n"


class Run(Protocol):
    """kubectl in the test's namespace."""

    def __call__(self, *arguments: str, text: str = "", expected: int | None = 0, **environment: str) -> str: ...


@pytest.fixture
def run(kubeconfig: Path, namespace: str) -> Run:
    def call(*arguments: str, text: str = "", expected: int | None = 0, **environment: str) -> str:
        return kubectl(kubeconfig, *arguments, text=text, expected=expected, namespace=namespace, **environment)

    return call


def test_create_says_created_and_a_second_time_that_it_exists(run: Run) -> None:
    assert run("create", "-f", "-", text=POLICY) == "networkpolicy.networking.k8s.io/db-policy created\n"
    said = run("create", "-f", "-", text=POLICY, expected=1)
    assert 'networkpolicies.networking.k8s.io "db-policy" already exists' in said


def test_get_prints_the_columns_of_the_kind(run: Run) -> None:
    run("create", "-f", "-", text=POLICY)
    run("create", "-f", "-", text=DEPLOYMENT)
    assert run("get", "netpol").split()[:5] == ["NAME", "POD-SELECTOR", "AGE", "db-policy", "role=db"]
    assert run("get", "deploy", "-o", "wide").split()[8:12] == ["web", "0/2", "0", "0"]
    assert run("get", "netpol", "-o", "name") == "networkpolicy.networking.k8s.io/db-policy\n"


def test_get_gives_the_defaulted_object_as_json_and_yaml(run: Run) -> None:
    run("create", "-f", "-", text=POLICY)
    policy = json.loads(run("get", "netpol", "db-policy", "-o", "json"))
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": 3306, "protocol": "TCP"}]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert "podSelector:\n    matchLabels:\n      role: db" in run("get", "netpol", "db-policy", "-o", "yaml")


def test_get_selects_by_labels_and_fields(run: Run) -> None:
    run("run", "one", "--image=i", "--labels=app=x")
    run("run", "two", "--image=i", "--labels=app=y")
    assert run("get", "pods", "-l", "app in (x,z),!b", "-o", "name") == "pod/one\n"
    assert run("get", "pods", "--field-selector", "metadata.name=two", "-o", "name") == "pod/two\n"
    assert "app=x" in run("get", "pods", "--show-labels")


def test_get_watches_what_changes(run: Run, kubeconfig: Path, namespace: str) -> None:
    run("create", "-f", "-", text=CONFIG)
    command = [str(KUBECTL), "--kubeconfig", str(kubeconfig), "-n", namespace, "get", "cm", "-w", "-o", "name"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout
            while "settings" not in watching.stdout.readline():
                pass
            run("label", "cm", "settings", "a=b")
            assert watching.stdout.readline() == "configmap/settings\n"
        finally:
            watching.terminate()


def test_describe_prints_what_a_policy_allows(run: Run) -> None:
    run("create", "-f", "-", text=POLICY)
    assert "To Port: 3306/TCP" in run("describe", "netpol", "db-policy")
    run("create", "-f", "-", text=DEPLOYMENT)
    assert "2 desired | 0 updated" in run("describe", "deploy", "web")


def test_apply_changes_and_leaves_alone_what_is_the_same(run: Run) -> None:
    assert run("apply", "-f", "-", text=CONFIG) == "configmap/settings created\n"
    assert run("apply", "-f", "-", text=CONFIG) == "configmap/settings unchanged\n"
    assert run("apply", "-f", "-", text=CONFIG.replace("red", "blue")) == "configmap/settings configured\n"
    assert run("get", "cm", "settings", "-o", "jsonpath={.data.colour}") == "blue"


def test_apply_removes_what_it_set_before_and_keeps_what_others_set(run: Run) -> None:
    run("apply", "-f", "-", text=CONFIG.replace("colour: red", "colour: red, size: big"))
    run("patch", "cm", "settings", "-p", '{"data": {"other": "mine"}}')
    run("apply", "-f", "-", text=CONFIG)
    assert json.loads(run("get", "cm", "settings", "-o", "jsonpath={.data}")) == {"colour": "red", "other": "mine"}


def test_server_side_apply_refuses_to_take_a_field_from_its_owner(run: Run) -> None:
    run("apply", "--server-side", "--field-manager=one", "-f", "-", text=CONFIG)
    blue = CONFIG.replace("red", "blue")
    said = run("apply", "--server-side", "--field-manager=two", "-f", "-", text=blue, expected=1)
    assert 'conflict with "one": .data.colour' in said
    run("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-", text=blue)
    assert run("get", "cm", "settings", "-o", "jsonpath={.data.colour}") == "blue"


def test_server_side_apply_removes_what_its_manager_no_longer_names(run: Run) -> None:
    run("apply", "--server-side", "-f", "-", text=CONFIG.replace("colour: red", "colour: red, size: big"))
    run("apply", "--server-side", "-f", "-", text=CONFIG)
    assert json.loads(run("get", "cm", "settings", "-o", "jsonpath={.data}")) == {"colour": "red"}


def test_labels_and_annotations_come_and_go(run: Run) -> None:
    run("create", "-f", "-", text=CONFIG)
    run("label", "cm", "settings", "tier=front")
    assert "already has a value" in run("label", "cm", "settings", "tier=back", expected=1)
    run("label", "--overwrite", "cm", "settings", "tier=back")
    run("annotate", "cm", "settings", "note=hello")
    metadata = json.loads(run("get", "cm", "settings", "-o", "jsonpath={.metadata}"))
    assert (metadata["labels"], metadata["annotations"]) == ({"tier": "back"}, {"note": "hello"})
    run("label", "cm", "settings", "tier-")
    assert run("get", "cm", "settings", "-o", "jsonpath={.metadata.labels}") == ""


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("json", '[{"op": "replace", "path": "/spec/ingress/0/ports/0/port", "value": 5432}]'),
        ("merge", '{"spec": {"ingress": [{"ports": [{"port": 5432}]}]}}'),
        ("strategic", '{"spec": {"ingress": [{"ports": [{"port": 5432}]}]}}'),
    ],
)
def test_patch(run: Run, kind: str, patch: str) -> None:
    run("create", "-f", "-", text=POLICY)
    run("patch", "netpol", "db-policy", f"--type={kind}", "-p", patch)
    assert run("get", "netpol", "db-policy", "-o", "jsonpath={.spec.ingress[0].ports[0].port}") == "5432"


def test_set_image_changes_one_container_of_two(run: Run) -> None:
    both = DEPLOYMENT.replace("containers: [", "containers: [{name: side, image: busybox}, ")
    run("create", "-f", "-", text=both)
    run("set", "image", "deploy/web", "c=nginx:2")
    images = run("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    assert images == "busybox nginx:2"


def test_scale(run: Run) -> None:
    run("create", "-f", "-", text=DEPLOYMENT)
    assert run("scale", "deploy", "web", "--replicas=5") == "deployment.apps/web scaled\n"
    assert run("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "5"
    said = run("scale", "deploy", "web", "--current-replicas=2", "--replicas=1", expected=1)
    assert "Expected replicas to be 2, was 5" in said


def test_delete_waits_until_the_object_is_gone(run: Run) -> None:
    run("create", "-f", "-", text=POLICY)
    assert 'networkpolicy.networking.k8s.io "db-policy" deleted' in run("delete", "netpol", "db-policy")
    assert 'networkpolicies.networking.k8s.io "db-policy" not found' in run("get", "netpol", "db-policy", expected=1)
    assert "not found" in run("delete", "netpol", "db-policy", expected=1)


def test_delete_all_of_a_kind(run: Run) -> None:
    for name in ("a", "b"):
        run("create", "configmap", name, "--from-literal=k=v")
    run("delete", "cm", "--selector", "x notin (y)", "--field-selector", "metadata.name!=kube-root-ca.crt")
    assert "configmap/a" not in run("get", "cm", "-o", "name")


def test_explain_knows_every_field(run: Run) -> None:
    assert "podSelector\t<LabelSelector>" in run("explain", "netpol.spec")
    assert "topologySpreadConstraints" in run("explain", "pod.spec")
    assert "describes a peer to allow traffic to/from" in run("explain", "netpol.spec.ingress.from")
    assert "FIELD: port <IntOrString>" in run("explain", "netpol.spec.ingress.ports.port")
    assert "does not exist" in run("explain", "netpol.spec.nothing", expected=1)


def test_wait_for_a_condition_and_for_deletion(run: Run) -> None:
    run("run", "pod", "--image=i")
    assert "timed out" in run("wait", "--for=condition=Ready", "pod/pod", "--timeout=1s", expected=1)
    ready = '{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}'
    run("patch", "pod", "pod", "--subresource=status", "-p", ready)
    assert "condition met" in run("wait", "--for=condition=Ready", "pod/pod", "--timeout=5s")
    run("delete", "pod", "pod", "--wait=false", "--grace-period=0", "--force")
    run("wait", "--for=delete", "pod/pod", "--timeout=5s")


def test_diff_shows_what_apply_would_change(run: Run) -> None:
    run("apply", "-f", "-", text=CONFIG)
    assert run("diff", "-f", "-", text=CONFIG) == ""
    said = run("diff", "-f", "-", text=CONFIG.replace("red", "blue"), expected=1)
    assert "-  colour: red\n+  colour: blue" in said


def test_auth_can_i(run: Run) -> None:
    assert run("auth", "can-i", "create", "networkpolicies") == "yes\n"
    assert "Username" in run("auth", "whoami")


def test_edit_with_an_editor_that_is_a_script(run: Run) -> None:
    run("create", "-f", "-", text=CONFIG)
    assert run("edit", "cm", "settings", KUBE_EDITOR="sed -i s/red/green/") == "configmap/settings edited\n"
    assert run("get", "cm", "settings", "-o", "jsonpath={.data.colour}") == "green"


def test_rollout_status_follows_the_status_of_a_deployment(run: Run) -> None:
    run("create", "-f", "-", text=DEPLOYMENT)
    assert "timed out" in run("rollout", "status", "deploy/web", "--timeout=1s", expected=1)
    status = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    run("patch", "deploy", "web", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    assert "successfully rolled out" in run("rollout", "status", "deploy/web", "--timeout=5s")


def test_a_server_dry_run_changes_nothing(run: Run) -> None:
    assert "created (server dry run)" in run("create", "-f", "-", "--dry-run=server", text=POLICY)
    assert "not found" in run("get", "netpol", "db-policy", expected=1)


def test_unknown_fields_are_refused_warned_of_or_ignored(run: Run) -> None:
    wrong = POLICY.replace("podSelector: {matchLabels: {role: db}}", "podSelector: {}\n  podSelektor: {}")
    assert 'unknown field "spec.podSelektor"' in run("create", "-f", "-", text=wrong, expected=1)
    assert 'Warning: unknown field "spec.podSelektor"' in run("create", "-f", "-", "--validate=warn", text=wrong)
    run("delete", "netpol", "db-policy")
    assert "Warning" not in run("create", "-f", "-", "--validate=ignore", text=wrong)


def test_what_is_invalid_is_refused_in_the_servers_words(run: Run) -> None:
    said = run("create", "-f", "-", text=POLICY.replace("port: 3306", "port: 99999"), expected=1)
    assert "spec.ingress[0].ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive" in said


def test_replace_needs_the_object_and_its_newest_state(run: Run) -> None:
    assert "not found" in run("replace", "-f", "-", text=CONFIG, expected=1)
    run("create", "-f", "-", text=CONFIG)
    old = run("get", "cm", "settings", "-o", "yaml")
    run("replace", "-f", "-", text=CONFIG.replace("red", "blue"))
    assert "the object has been modified" in run("replace", "-f", "-", text=old, expected=1)


def test_commands_that_make_objects(run: Run) -> None:
    run("create", "secret", "generic", "keys", "--from-literal=a=b")
    assert run("get", "secret", "keys", "-o", "jsonpath={.data.a}") == "Yg=="
    run("create", "deployment", "d", "--image=i", "--port=80")
    run("create", "service", "clusterip", "s", "--tcp=80:8080")
    run("create", "job", "j", "--image=i")
    run("create", "cronjob", "c", "--image=i", "--schedule=*/5 * * * *")
    run("create", "serviceaccount", "robot")
    run("create", "ingress", "i", "--rule=example.com/*=s:80")
    run("expose", "deployment", "d", "--name=d")
    assert run("get", "svc", "d", "-o", "jsonpath={.spec.ports[0].targetPort}") == "80"


def test_a_zero_is_kept_where_its_absence_would_mean_something_else(run: Run) -> None:
    run("create", "deployment", "none", "--image=i", "--replicas=0")
    assert run("get", "deployment", "none", "-o", "jsonpath={.spec.replicas}") == "0"
    container = run("get", "deployment", "none", "-o", "jsonpath={.spec.template.spec.containers[0]}")
    assert "stdin" not in container


def test_a_namespace_takes_what_it_holds_with_it(run: Run, kubeconfig: Path) -> None:
    kubectl(kubeconfig, "create", "namespace", "short-lived")
    kubectl(kubeconfig, "create", "-f", "-", "-n", "short-lived", text=CONFIG)
    kubectl(kubeconfig, "delete", "namespace", "short-lived")
    assert "short-lived" not in kubectl(kubeconfig, "get", "cm", "-A")


def test_a_pod_on_a_node_is_given_time_to_end(run: Run) -> None:
    run("run", "slow", "--image=i", "--overrides", '{"spec": {"nodeName": "nowhere"}}')
    run("delete", "pod", "slow", "--wait=false")
    assert "Terminating" in run("get", "pod", "slow")
    started = time.monotonic()
    run("delete", "pod", "slow", "--grace-period=0", "--force")
    assert time.monotonic() - started < 10
    assert "not found" in run("get", "pod", "slow", expected=1)


def test_what_the_server_says_about_itself(run: Run) -> None:
    assert "Server Version: v1." in run("version")
    assert "networkpolicies" in run("api-resources", "--api-group=networking.k8s.io")
    assert run("get", "--raw", "/readyz").startswith("ok")
    assert "the server doesn't have a resource type" in run("get", "nosuchkind", expected=1)


@pytest.mark.parametrize(
    "kind",
    ["deploy", "rs", "sts", "ds", "job", "cj", "ing", "ep", "endpointslices", "cm", "secret", "controllerrevisions"],
)
def test_every_kind_can_be_listed(run: Run, kind: str) -> None:
    said = run("get", kind)
    assert said.startswith(("No resources found", "NAME"))
