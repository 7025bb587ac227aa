"""`list` and `explain` as a user meets them: output, exit codes, errors."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import assert_golden
from tests.unit.cli.running import run

ROOT = Path(__file__).parents[3]
SCENE = "tests/unit/cli/scene.yaml"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


ANSWERS = {
    "list": ("list",),
    "list-json": ("list", "-o", "json"),
    "list-pod-cidr": ("list", "--pod-cidr", "10.244.0.0/16"),
    "explain-allowed": ("explain", "api", "db", "3306"),
    "explain-denied": ("explain", "web", "db", "3306"),
    "explain-denied-json": ("explain", "web", "db", "3306", "-o", "json"),
    "explain-wrong-port": ("explain", "api", "db", "22"),
    "explain-other-namespace": ("explain", "ops/probe", "db", "3306"),
    "explain-depends": ("explain", "web", "metrics", "9090"),
    "explain-except": ("explain", "10.9.9.9", "metrics", "9090"),
    "explain-service": ("explain", "api", "svc/db", "3306"),
    "explain-labels": ("explain", "tier=front", "db", "3306"),
    "explain-nothing-isolates": ("explain", "db", "203.0.113.7", "443"),
    "explain-denied-icmp": ("explain", "api", "db", "icmp"),
    "explain-no-rules": ("explain", "web", "sealed", "80"),
    "explain-named-port": ("explain", "db", "web", "80"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = run(capsys, *ANSWERS[name], "-f", SCENE)
    assert err == ""
    assert_golden(f"cli/{name}.txt", f"exit code {code}\n{out}")


def test_of_rules_that_came_short_the_nearest_are_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"containers": [{"image": "i"}]},
        }
        for name in ("web", "db")
    ]
    peers = [{"podSelector": {"matchLabels": {"app": f"peer-{number}"}}} for number in range(6)]
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "db"}},
            "ingress": [{"from": peers, "ports": [{"port": port}]} for port in range(1, 6)],
        },
    }
    document = {"apiVersion": "v1", "kind": "List", "items": [*pods, policy]}
    (tmp_path / "m.json").write_text(json.dumps(document))
    lines = [line.strip() for line in run(capsys, "explain", "web", "db", "3", "-f", tmp_path)[1].splitlines()]
    heads = [line for line in lines if line.startswith(("nearest rule:", "next:", "and 2 more"))]
    assert heads == [
        "nearest rule: NetworkPolicy default/p spec.ingress[2]",
        "next: NetworkPolicy default/p spec.ingress[0]",
        "next: NetworkPolicy default/p spec.ingress[1]",
        "and 2 more that match less (-o json shows all)",
    ]
    nearest = lines[lines.index(heads[0]) + 1 : lines.index(heads[1])]
    assert [line.rpartition(" wants ")[2] for line in nearest[:4]] == [
        f"app=peer-{number}, found app=web" for number in range(4)
    ]
    assert nearest[4:] == ["or 2 more peers that match less (-o json shows all)"]
    assert lines[lines.index(heads[2]) - 1].startswith("and spec.ingress[0].ports[0] ")


def test_json_is_json_with_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "list", "-f", SCENE, "-o", "json")[1])["schema"] == "gatewright/connections/v1"
    answer = json.loads(run(capsys, "explain", "web", "db", "3306", "-f", SCENE, "-o", "json")[1])
    assert answer["schema"] == "gatewright/explanation/v1"


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((ROOT / SCENE).read_bytes())))
    assert run(capsys, "list", "-f", "-")[1] == run(capsys, "list", "-f", SCENE)[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "nobody", "db", "80"), "gatewright: 'nobody' names no pod or workload; namespace default has"),
        (("explain", "web", "db", "http"), "gatewright: 'http' is not a port: write PORT or PROTOCOL/PORT"),
        (("explain", "web", "svc/nobody", "80"), "gatewright: 'svc/nobody' names no Service; namespace default has db"),
        (("explain", "web", "svc/db", "80"), "gatewright: Service default/db has no port TCP 80; it has TCP 3306"),
        (("explain", "web", "svc/void", "80"), "gatewright: Service default/void: no pod behind it serves TCP 80;"),
        (("explain", "svc/db", "web", "80"), "a Service opens no connections; name a pod or workload"),
        (("list", "--pod-cidr", "nowhere"), "'nowhere' is not a CIDR"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run(capsys, *arguments, "-f", SCENE)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


BAD = {
    "a-no-yaml.yaml": "just some text\n",
    "b-tab.yaml": "apiVersion: v1\n\tkind: Pod\n",
    "c-unknown-field.yaml": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: c}\n"
    "spec:\n  podSelector: {}\n  ingres: []\n",
    "d-peer.yaml": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: d}\nspec:\n"
    "  podSelector: {}\n  ingress:\n  - from:\n    - {ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}\n"
    "    ports:\n    - port: 70000\n",
    "e-duplicate.yaml": "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: e}\nspec:\n"
    "  podSelector: {}\n  podSelector: {}\n",
    "f-empty.yaml": "",
    "g-good.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n",
}


def test_every_bad_input_of_a_run_is_told_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, text in BAD.items():
        (tmp_path / name).write_text(text)
    code, out, err = run(capsys, "list", "-f", str(tmp_path))
    assert (code, out) == (2, "")
    assert_golden("cli/bad-input.txt", err.replace(str(tmp_path), "DIR"))


def test_a_100_mb_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    code, _, err = run(capsys, "list", "-f", str(path))
    assert (code, err) == (2, f"gatewright: {path}:1: larger than 50 MB, the most that is read of one file; split it\n")


def test_debug_shows_the_traceback() -> None:
    command = [sys.executable, "-m", "gatewright", "--debug", "list", "-f", "/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_a_bug_is_one_line_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewright.cli.manifests.Manifests.read", lambda *_: 1 / 0)
    code, _, err = run(capsys, "list", "-f", SCENE)
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith("gatewright: internal error: ZeroDivisionError: division by zero; this is a bug")


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m gatewright list -f {SCENE} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False, timeout=30
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_the_entry_point_is_installed() -> None:
    assert shutil.which("gatewright", path=str(Path(sys.executable).parent))
