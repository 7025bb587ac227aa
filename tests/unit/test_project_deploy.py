"""What deploys the agent: rendered by kustomize, right by the API's published schemas, and with no right too many."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from gatewright.cli.agent import command
from gatewright.sources.watch import NODE_KINDS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate  # type: ignore[import-untyped]

Json = dict[str, Any]
DEPLOY = Path(__file__).parents[2] / "deploy"
LAYERS = ["base", "events"]
KUBECTL = Path(sys.executable).parent / "kubectl"


def rendered(layer: str) -> list[Json]:
    """The objects of a layer."""
    text = subprocess.check_output([KUBECTL, "kustomize", DEPLOY / layer], text=True, timeout=30)
    return list(yaml.safe_load_all(text))


def one(layer: str, kind: str, name: str = "gatewright-agent") -> Json:
    return next(item for item in rendered(layer) if (item["kind"], item["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("layer", LAYERS)
def test_every_object_is_right_by_the_published_schema(layer: str) -> None:
    for item in rendered(layer):
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def test_a_wrong_field_would_be_found() -> None:
    item = one("base", "DaemonSet")
    item["spec"]["template"]["spec"]["hostNetwrok"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_arguments_are_options_of_the_command(layer: str) -> None:
    agent, verb, *options = one(layer, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert agent == "agent"
    parsed = CliRunner().invoke(command, [verb, *options, "--help"])
    assert parsed.exit_code == 0
    assert all(option.partition("=")[0] in parsed.output for option in options)


def test_the_agent_may_read_what_it_watches_and_nothing_else() -> None:
    rules = one("base", "ClusterRole")["rules"]
    allowed = {(group, name, verb) for rule in rules for group in rule["apiGroups"] for name in rule["resources"]
               for verb in rule["verbs"]}  # fmt: skip
    plurals = {"NetworkPolicy": "networkpolicies", "ClusterNetworkPolicy": "clusternetworkpolicies",
               "AdminNetworkPolicy": "adminnetworkpolicies",
               "BaselineAdminNetworkPolicy": "baselineadminnetworkpolicies"}  # fmt: skip
    wanted = {(group, plurals.get(kind, f"{kind.lower()}s"), verb) for group, kind in NODE_KINDS
              for verb in ("list", "watch")}  # fmt: skip
    assert allowed == wanted
    events = one("events", "ClusterRole", "gatewright-agent-events")["rules"]
    assert events == [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}]


def test_the_container_has_the_one_capability_that_it_needs() -> None:
    container = one("base", "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert "privileged" not in context


def test_the_image_has_what_is_copied_into_it() -> None:
    root = DEPLOY.parent
    text = (DEPLOY / "Containerfile").read_text()
    kept = (root / ".dockerignore").read_text()
    for line in text.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (root / name).exists()
                assert f"!{name}" in kept
