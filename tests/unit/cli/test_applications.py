"""Applications as their projects publish them: all of them list, and of three every connection is known beforehand.

A table in `tests/golden/applications` says what an application's policies allow, worked out by a person from its
manifests, with the reason for each connection. The application itself is not in this repository: beside its table is an
extract, written for it, with the same names, labels, ports and policies. Where the published manifests are beside this
checkout, they have to give the same answers.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.running import run

ROOT = Path(__file__).parents[3]
CORPUS = ROOT.parent / "shared" / "corpus"
TABLES = ROOT / "tests" / "golden" / "applications"
OUTSIDE = "0.0.0.0-255.255.255.255[External]"
published = pytest.mark.skipif(not CORPUS.exists(), reason="the published manifests are not beside this checkout")

WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet")
PLAIN = {
    "argo-cd": ("argo-cd/manifests/install.yaml",),
    "argo-cd-ha": ("argo-cd/manifests/ha/install.yaml",),
    "flux2": ("flux2/manifests/policies",),
    "kube-prometheus": ("kube-prometheus/manifests",),
    "online-boutique": ("online-boutique/release",),
    "online-boutique-policies": ("online-boutique/kustomize/base", "online-boutique/kustomize/components"),
    "sock-shop": ("sock-shop/deploy",),
    "voting-app": ("voting-app",),
}
CHARTS = sorted(str(file.parent.relative_to(CORPUS)) for file in CORPUS.rglob("Chart.yaml"))
KUSTOMIZATIONS = sorted(
    str(file.parent.relative_to(CORPUS))
    for file in CORPUS.rglob("kustomization.yaml")
    if "kind: Component" not in file.read_text()
)


@dataclass(frozen=True, slots=True)
class Application:
    """A table: the lines that `list` has to print, with their number in the table, and questions for `explain`."""

    namespace: str
    extract: tuple[Path, ...]
    published: tuple[Path, ...]
    lines: tuple[str, ...]
    explained: tuple[dict[str, str], ...]

    @staticmethod
    def load(name: str) -> Application:
        """Read a table. An end is `outside` or a workload that the table declares; without a reason nothing counts."""
        table = yaml.safe_load((TABLES / f"{name}.yaml").read_text())
        namespace = table["namespace"]
        ends = {one: f"{namespace}/{one}[{kind}]" for kind, names in table["workloads"].items() for one in names}
        ends["outside"] = OUTSIDE
        lines = [
            f"{ends[source]} => {ends[destination]} : {group['ports']}"
            for group in table["connections"]
            if group["why"]
            for source, destination in itertools.product(group["from"], group["to"])
        ]
        added = [TABLES / table["added"]] if "added" in table else []
        return Application(
            namespace,
            tuple(sorted((TABLES / name).glob("*.yaml"))),
            tuple([CORPUS / path for path in table["published"]] + added),
            tuple(lines),
            tuple(table["explained"]),
        )

    def sources(self, where: str) -> list[str]:
        """The options that name the extract, or the published manifests."""
        paths = self.extract if where == "extract" else self.published
        return [part for path in paths for part in ("-f", str(path))]


APPLICATIONS = {path.stem: Application.load(path.stem) for path in sorted(TABLES.glob("*.yaml"))}
everywhere = pytest.mark.parametrize("where", ["extract", pytest.param("published", marks=published)])


@everywhere
@pytest.mark.parametrize("name", APPLICATIONS)
def test_what_is_listed_is_what_a_person_worked_out(capsys: pytest.CaptureFixture[str], name: str, where: str) -> None:
    application = APPLICATIONS[name]
    code, out, _ = run(capsys, "list", *application.sources(where))
    assert code == 0
    assert Counter(out.splitlines()) == Counter(application.lines), "the same lines, each once"


@everywhere
@pytest.mark.parametrize(
    ("name", "question"),
    [(name, one["question"]) for name, application in APPLICATIONS.items() for one in application.explained],
)
def test_what_is_explained_is_what_a_person_worked_out(
    capsys: pytest.CaptureFixture[str], name: str, question: str, where: str
) -> None:
    application = APPLICATIONS[name]
    wanted = next(one for one in application.explained if one["question"] == question)
    asked = ("explain", *question.split(), "-n", application.namespace, "-o", "json")
    code, out, _ = run(capsys, *asked, *application.sources(where))
    (answer,) = json.loads(out)["explanations"]
    found = {"outcome": answer["outcome"], **{side: _side(answer[side]) for side in ("egress", "ingress")}}
    assert found == {key: wanted[key] for key in found}
    assert code == (0 if answer["outcome"] == "allowed" else 1)
    if "nearest" in wanted:
        assert [_condition(one) for one in answer["ingress"]["misses"][0]["failed"]] == [wanted["nearest"]]


def _side(side: dict[str, Any]) -> str:
    """A side of an explanation in the words of the tables."""
    if "rule" in side:
        return f"{side['outcome']} by {_name(side['rule'])} {side['rule']['field']}"
    if side["outcome"] == "denied":
        return f"denied by {', '.join(sorted(_name(policy) for policy in side['policies']))}"
    return str(side["reason"])


def _name(origin: dict[str, str]) -> str:
    return origin["policy"].rpartition("/")[2]


def _condition(condition: dict[str, str]) -> str:
    return f"wants {condition['wanted']}, found {condition['found']}"


@published
def test_every_published_application_is_listed() -> None:
    places = [path for paths in PLAIN.values() for path in paths]
    tried = {Path(place).parts[0] for place in (*places, *CHARTS, *KUSTOMIZATIONS)}
    assert tried == {entry.name for entry in CORPUS.iterdir() if entry.is_dir()}


@published
@pytest.mark.parametrize("name", PLAIN)
def test_plain_manifests_list_every_workload(capsys: pytest.CaptureFixture[str], name: str) -> None:
    paths = [CORPUS / path for path in PLAIN[name]]
    code, out, err = run(capsys, "list", "-R", *(part for path in paths for part in ("-f", path)))
    assert code == 0
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.y*ml"))]
    wanted = set(_workloads(file.read_bytes() for file in files))
    assert _listed(out) == wanted
    said = [line for line in err.splitlines() if not line.startswith("gatewright: warning: ")]
    assert said == (["No pod or workload was read, so no connections."] if name == "flux2" else [])


@published
@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
@pytest.mark.parametrize("place", CHARTS)
def test_charts_list_every_workload(capsys: pytest.CaptureFixture[str], place: str) -> None:
    code, out, err = run(capsys, "list", "-f", CORPUS / place)
    assert (code, err) == (0, "")
    assert _listed(out) == set(_workloads([_printed("helm", "template", CORPUS / place)])) != set()


@published
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("place", KUSTOMIZATIONS)
def test_kustomizations_list_every_workload(capsys: pytest.CaptureFixture[str], place: str) -> None:
    code, out, err = run(capsys, "list", "-k", CORPUS / place)
    assert (code, err) == (0, "No pod or workload was read, so no connections.\n" if "flux2" in place else "")
    wanted = set(_workloads([_printed("kubectl", "kustomize", CORPUS / place)]))
    assert _listed(out) == wanted
    assert bool(wanted) == ("flux2" not in place), "flux2 publishes policies alone"


def _listed(out: str) -> set[str]:
    """The workloads of the lines, as NAME[KIND]."""
    ends = {end for line in out.splitlines() for end in line.rpartition(" : ")[0].split(" => ")}
    return {end.partition("/")[2] for end in ends if not end.endswith("[External]")}


def _workloads(texts: Iterable[bytes]) -> Iterator[str]:
    """The workloads of manifests as a plain YAML reader sees them, as NAME[KIND]."""
    for text in texts:
        for item in yaml.load_all(text, yaml.CSafeLoader):
            if item and item["kind"] in WORKLOADS:
                yield f"{item['metadata']['name']}[{item['kind']}]"


def _printed(*command: object) -> bytes:
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)
    return done.stdout
