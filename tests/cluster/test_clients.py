"""Client libraries against any API server: lightkube, and the official Python client with its watch and informer."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightkube
import pytest
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.networking_v1 import NetworkPolicySpec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.resources.networking_v1 import NetworkPolicy
from lightkube.types import PatchType

pytestmark = [pytest.mark.cluster]

# The official client is typed in parts alone, and mypy would refuse to call the others.
client: Any = importlib.import_module("kubernetes.client")
config: Any = importlib.import_module("kubernetes.config")
informer: Any = importlib.import_module("kubernetes.informer")
watch: Any = importlib.import_module("kubernetes.watch")


@pytest.fixture
def light(kubeconfig: Path, namespace: str) -> Any:
    return lightkube.Client(lightkube.KubeConfig.from_file(kubeconfig), namespace=namespace, field_manager="tests")


def _config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name), data=data)


def test_lightkube_creates_reads_changes_and_deletes(light: Any) -> None:
    light.create(_config_map("a", colour="red"))
    found = light.get(ConfigMap, "a")
    found.data = {"colour": "blue"}
    light.replace(found)
    assert light.get(ConfigMap, "a").data == {"colour": "blue"}
    light.patch(ConfigMap, "a", {"data": {"size": "big"}}, patch_type=PatchType.MERGE)
    assert [one.data for one in light.list(ConfigMap, fields={"metadata.name": "a"})] == [
        {"colour": "blue", "size": "big"}
    ]
    light.delete(ConfigMap, "a")
    with pytest.raises(ApiError) as refused:
        light.get(ConfigMap, "a")
    assert refused.value.status.code == 404


def test_lightkube_applies(light: Any) -> None:
    metadata = ObjectMeta(name="p")
    policy = NetworkPolicy(metadata=metadata, spec=NetworkPolicySpec(podSelector=LabelSelector(matchLabels={"a": "b"})))
    applied = light.apply(policy)
    assert applied.spec is not None
    assert applied.spec.policyTypes == ["Ingress"]
    changed = NetworkPolicySpec(podSelector=LabelSelector(matchLabels={"a": "c"}))
    with pytest.raises(ApiError) as refused:
        light.apply(NetworkPolicy(metadata=ObjectMeta(name="p"), spec=changed), field_manager="other")
    assert refused.value.status.code == 409


def test_lightkube_lists_in_pages_and_scales(light: Any) -> None:
    for number in range(5):
        light.create(_config_map(f"c{number}"))
    assert len([one for one in light.list(ConfigMap, chunk_size=2) if one.metadata.name.startswith("c")]) == 5
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }
    light.create(Deployment.from_dict({"metadata": {"name": "d"}, "spec": spec}))
    scale = light.get(Deployment.Scale, "d")
    assert scale.spec is not None
    scale.spec.replicas = 3
    light.replace(scale)
    assert light.get(Deployment, "d").spec.replicas == 3


def test_lightkube_watches(light: Any) -> None:
    light.create(_config_map("a"))
    seen: list[tuple[str, str]] = []
    for kind, found in light.watch(ConfigMap, server_timeout=10):
        if found.metadata.name in ("a", "b"):
            seen.append((kind, found.metadata.name))
        if seen == [("ADDED", "a")]:
            light.create(_config_map("b"))
        if len(seen) == 2:
            light.delete(ConfigMap, "a")
        if len(seen) == 3:
            break
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_lightkube_waits_for_a_condition(light: Any) -> None:
    pod = Pod.from_dict({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    light.create(pod)
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    timer = threading.Timer(0.2, lambda: light.patch(Pod.Status, "p", status, patch_type=PatchType.MERGE))
    timer.start()
    light.wait(Pod, "p", for_conditions=["Ready"])
    timer.join()


@pytest.fixture
def official(kubeconfig: Path) -> Iterator[Any]:
    with config.new_client_from_config(str(kubeconfig)) as made:
        yield client.CoreV1Api(made)


def test_the_official_client_creates_reads_changes_and_deletes(official: Any, namespace: str) -> None:
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"), data={"colour": "red"})
    official.create_namespaced_config_map(namespace, body)
    official.patch_namespaced_config_map("a", namespace, {"data": {"colour": "blue"}})
    assert official.read_namespaced_config_map("a", namespace).data == {"colour": "blue"}
    official.delete_namespaced_config_map("a", namespace)
    with pytest.raises(client.ApiException) as refused:
        official.read_namespaced_config_map("a", namespace)
    assert refused.value.status == 404


def test_the_official_client_lists_and_watches_on_without_missing_anything(official: Any, namespace: str) -> None:
    """The loop of an informer: a list, a watch from its revision, another watch from where the first one ended."""
    official.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a")))
    listed = official.list_namespaced_config_map(namespace)
    revision = listed.metadata.resource_version
    known = {item.metadata.name for item in listed.items}
    for name in ("b", "c"):
        official.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name)))
        watching = watch.Watch()
        stream = watching.stream(
            official.list_namespaced_config_map, namespace, resource_version=revision, timeout_seconds=5
        )
        for event in stream:
            known.add(event["object"].metadata.name)
            revision = event["object"].metadata.resource_version
            watching.stop()
    assert {"a", "b", "c"} <= known


def test_the_official_client_works_with_workloads_and_policies(official: Any, namespace: str) -> None:
    apps, networking = client.AppsV1Api(official.api_client), client.NetworkingV1Api(official.api_client)
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"a": "b"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i")]),
    )
    selector = client.V1LabelSelector(match_labels={"a": "b"})
    spec = client.V1DeploymentSpec(replicas=2, selector=selector, template=template)
    apps.create_namespaced_deployment(namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec))
    apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 4}})
    assert apps.read_namespaced_deployment("d", namespace).spec.replicas == 4
    policy = client.V1NetworkPolicy(
        metadata=client.V1ObjectMeta(name="p"), spec=client.V1NetworkPolicySpec(pod_selector=selector)
    )
    made = networking.create_namespaced_network_policy(namespace, policy)
    assert made.spec.policy_types == ["Ingress"]


def test_the_official_clients_informer_follows_changes(official: Any, namespace: str) -> None:
    """Its `stop` overlooks a watch that is just being opened; with a period for resyncs such a one ends by itself."""
    running = informer.SharedInformer(official.list_namespaced_config_map, namespace=namespace, resync_period=5)
    added = threading.Event()
    running.add_event_handler("ADDED", lambda found: added.set() if found.metadata.name == "late" else None)
    running.start()
    try:
        official.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="late")))
        assert added.wait(10)
    finally:
        running.stop()
