"""What the lab is given is read as every verb reads it: files, charts, and with -k a kustomization that is built."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from gatewright.objects.meta import Object
from gatewright.objects.read import Parsed
from tests.unit.cli.running import run

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAME}\n"


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> list[Object]:
    """The objects that a lab, which only seems to run, was given."""
    given: list[Object] = []

    def take(name: str, parsed: Parsed, timeout: float = 0) -> dict[str, Any]:
        given.extend(parsed.require())
        return {"lines": [], "missing": [], "warnings": []}

    monkeypatch.setattr("gatewright.lab.client.apply", take)
    monkeypatch.setattr("gatewright.lab.client.delete", take)
    monkeypatch.setattr("gatewright.cli.lab.conclude", lambda name, warnings: {})
    return given


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("verb", [("apply", "--no-wait"), ("delete",)])
def test_a_kustomization_beside_files(
    capsys: pytest.CaptureFixture[str], applied: list[Object], tmp_path: Path, verb: tuple[str, ...]
) -> None:
    (tmp_path / "one.yaml").write_text(NAMESPACE.replace("NAME", "one"))
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "two.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n")
    (overlay / "kustomization.yaml").write_text("resources: [two.yaml]\nnamePrefix: my-\n")
    code, _, err = run(capsys, "lab", *verb, "-k", overlay, "-f", tmp_path / "one.yaml")
    assert (code, err) == (0, "")
    assert [item.name for item in applied] == ["my-two", "one"]


@pytest.mark.parametrize("verb", ["apply", "delete"])
def test_something_has_to_be_named(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, _, err = run(capsys, "lab", verb)
    assert (code, err.splitlines()[-1]) == (2, "Error: nothing to read: name manifests with -f or -k")


def test_a_bad_document_starts_nothing(
    capsys: pytest.CaptureFixture[str], applied: list[Object], tmp_path: Path
) -> None:
    """Unlike an answer, a lab is of all that was given or of none."""
    (tmp_path / "a.yaml").write_text(NAMESPACE.replace("NAME", "a"))
    (tmp_path / "b.yaml").write_text("kind: Pod\n")
    code, _, err = run(capsys, "lab", "apply", "-f", tmp_path)
    assert (code, applied, err.count("\n")) == (2, [], 1)
