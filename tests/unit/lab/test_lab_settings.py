"""lab.yaml and what a lab can be: read strictly, refused with the field that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewright.lab.errors import LabError
from gatewright.lab.network.plan import Plan
from gatewright.lab.supervisor import foreign
from gatewright.lab.supervisor.settings import LabFile, LabSettings, NodeSettings, Taint, numbered, read_lab_file

FULL = """
name: shop
nodes:
  - name: front
    labels: {zone: a}
  - name: back
    taints: [{key: dedicated, value: db, effect: NoSchedule}]
network: flat
podCIDRs: [10.10.0.0/16]
startClosed: true
keepConnections: true
manifests: [app/]
"""


def read(tmp_path: Path, text: str) -> LabFile:
    path = tmp_path / "lab.yaml"
    path.write_text(text)
    return read_lab_file(path)


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    assert read(tmp_path, FULL) == LabFile(
        nodes=(
            NodeSettings("front", {"zone": "a"}),
            NodeSettings("back", taints=(Taint("dedicated", "NoSchedule", "db"),)),
        ),
        name="shop",
        network="flat",
        pod_cidrs=("10.10.0.0/16",),
        start_closed=True,
        keep_connections=True,
        manifests=("app/",),
    )


def test_nothing_said_and_a_number_of_nodes(tmp_path: Path) -> None:
    assert read(tmp_path, "") == LabFile()
    assert read(tmp_path, "nodes: 3").nodes == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node: 3", r"lab\.yaml: .*unknown field `node`"),
        ("nodes: [{name: a, label: {}}]", r"unknown field `label`.*nodes"),
        ("nodes: many", r"nodes"),
        ("startClosed: perhaps", r"startClosed"),
        ("[", r"lab\.yaml: not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LabError, match=said):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        read_lab_file(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "magic"}, 'network "magic": choose enforcing or flat'),
        ({"nodes": (NodeSettings("a"), NodeSettings("a"))}, 'node name "a" is given twice'),
        ({"nodes": (NodeSettings("A"),)}, 'node name "A": use at most 40'),
        ({"nodes": (NodeSettings("../x"),)}, "node name"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LabError, match=said):
        LabSettings(**{"nodes": numbered(1), "plan": Plan.of(), **changes})


KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "work",
    "clusters": [{"name": "c", "cluster": {"server": "https://api.example:8443"}}, {"name": "o", "cluster": {}}],
    "users": [{"name": "u", "user": {"token": "secret"}}],
    "contexts": [{"name": "work", "context": {"cluster": "c", "user": "u"}}],
}


def test_an_api_elsewhere_is_reached_at_the_router_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(KUBECONFIG))
    found = foreign.read(path, "demo")
    assert (found.host, found.port) == ("api.example", 8443)
    cluster = found.inside["clusters"][0]["cluster"]
    assert (cluster["server"], cluster["tls-server-name"]) == ("https://172.31.255.1:6443", "api.example")
    assert found.outside["clusters"][0]["cluster"] == {"server": "https://api.example:8443"}
    assert found.outside["current-context"] == "gatewright-demo"
    assert found.inside["users"] == [{"name": "gatewright-demo", "user": {"token": "secret"}}]


@pytest.mark.parametrize("server", ["http://api.example:8080", "https://api.example/clusters/one"])
def test_an_api_that_the_nodes_cannot_use_is_refused(tmp_path: Path, server: str) -> None:
    path = tmp_path / "kubeconfig"
    clusters = [{"name": "c", "cluster": {"server": server}}]
    path.write_text(yaml.safe_dump(KUBECONFIG | {"clusters": clusters}))
    with pytest.raises(LabError, match=server):
        foreign.read(path, "demo")
