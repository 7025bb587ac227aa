"""Stock kubectl, the lab's endpoint over TLS, the agent, packets: `kubectl create -f db-policy.yaml` is just that."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.agents import NODE, UnderAgent, end_all
from tests.cluster.endpoint import KUBECTL, kubectl, process
from tests.packets.netns import UDP, node

pytestmark = [pytest.mark.packets, pytest.mark.cluster]
EXAMPLE = Path(__file__).parents[2] / "examples" / "three-tier" / "policies"
APPLICATION = ({"name": "web-pod"}, {"name": "api-pod"}, {"role": "db"})
WEB, API, DB = range(3)


@dataclass
class WithKubectl(UnderAgent):
    """What a person does who has kubectl."""

    def kubectl(self, *words: str, text: str = "") -> str:
        """Run kubectl on the node; what it prints."""
        return self.where.namespace.run(lambda: kubectl(self.folder / "kubeconfig", *words, text=text))

    def create(self, *items: object) -> None:
        """Create objects, all with one command."""
        self.kubectl("create", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


@pytest.fixture
def agent(namespaces: None, tmp_path: Path) -> Iterator[WithKubectl]:
    """The three pods of the example on a node under an agent, in a cluster of the lab's endpoint."""
    if not KUBECTL.exists():
        pytest.skip("kubectl is not installed beside this Python")
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(node(len(APPLICATION)))
        where.namespace.run(lambda: stack.enter_context(process(tmp_path)))
        made = WithKubectl(where, tmp_path)
        stack.callback(end_all, made)
        pods = []
        for number, labels in enumerate(APPLICATION):
            spec = {"nodeName": NODE, "containers": [{"name": "c", "image": "none"}]}
            metadata = {"name": f"p{number}", "namespace": "default", "labels": labels}
            pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        made.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}, *pods)
        for number in range(len(APPLICATION)):
            addresses = [str(one) for one in where.pods[number].addresses.values()]
            status = {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses]}
            patch = json.dumps({"status": status})
            made.kubectl("patch", "pod", f"p{number}", "--subresource=status", "--type=merge", "-p", patch)
        made.start()
        made.in_step()
        yield made


def test_the_policy_of_the_text_lets_only_the_api_reach_the_database(agent: WithKubectl) -> None:
    assert agent.reaches(WEB, DB, port=3306)
    created = agent.kubectl("create", "-f", str(EXAMPLE / "db-policy.yaml"))
    assert created == "networkpolicy.networking.k8s.io/db-policy created\n"
    agent.becomes(False, WEB, DB, port=3306)
    assert agent.reaches(API, DB, port=3306)
    assert agent.reaches(API, DB, port=3306, family=6)
    assert not agent.reaches(API, DB, port=80)
    agent.kubectl("delete", "-f", str(EXAMPLE / "db-policy.yaml"))
    agent.becomes(True, WEB, DB, port=3306)


def test_what_kubectl_changes_the_kernel_follows(agent: WithKubectl) -> None:
    agent.kubectl("apply", "-f", str(EXAMPLE / "db-policy.yaml"))
    agent.becomes(False, WEB, DB, port=3306)
    agent.kubectl("label", "pod", "p0", "name=api-pod", "--overwrite")
    agent.becomes(True, WEB, DB, port=3306)
    patch = '[{"op": "replace", "path": "/spec/ingress/0/ports/0/protocol", "value": "UDP"}]'
    agent.kubectl("patch", "networkpolicy", "db-policy", "--type=json", "-p", patch)
    agent.becomes(False, API, DB, port=3306)
    assert agent.reaches(API, DB, port=3306, protocol=UDP)
    agent.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(EXAMPLE / "db-policy.yaml"))
    agent.becomes(True, API, DB, port=3306)
    agent.kubectl("delete", "pod", "p1", "--force", "--grace-period=0")
    agent.becomes(False, API, DB, port=3306)


def test_a_restarted_cluster_finds_its_agent_in_step(agent: WithKubectl) -> None:
    """The agent watches over TLS with the token of the kubeconfig, from bookmarks on."""
    agent.kubectl("create", "-f", str(EXAMPLE))
    agent.until(lambda: agent.status()["programmed"]["policies"] == len(list(EXAMPLE.iterdir())), "all policies")
    assert all(one["connected"] and not one["relists"] for one in agent.status()["watched"])
    assert agent.status()["problems"] == []
