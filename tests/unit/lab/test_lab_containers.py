"""Containers: what runs, with which environment and files; what the stand-in says; what is kept of their output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewright.lab import container as containers
from gatewright.lab.containerlog import LIMIT, ContainerLog, tail
from gatewright.lab.standin import answer
from gatewright.objects.core import ConfigMap, Container, EnvVar, PodSpec, VolumeMount
from tests.unit.lab.clusters import one, pod


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$$(A)", "$(A)"), ("$(UNKNOWN)", "$(UNKNOWN)"), ("$A", "$A")],
)
def test_references(text: str, expanded: str) -> None:
    assert containers.expand(text, {"A": "1", "B": "2"}) == expanded


def test_an_environment_may_refer_to_what_stands_before() -> None:
    variables = (EnvVar(name="A", value="1"), EnvVar(name="B", value="$(A)2"), EnvVar(name="C", value="$(D)"))
    values = containers.environment(Container(env=(*variables, EnvVar(name="D", value="x"))), "host")
    assert (values["A"], values["B"], values["C"], values["HOSTNAME"]) == ("1", "12", "$(D)", "host")


@pytest.mark.parametrize(
    ("container", "initial", "runs"),
    [
        (Container(command=("sh", "-c"), args=("true",)), False, containers.COMMAND),
        (Container(command=("no-such-program",)), False, containers.STAND_IN),
        (Container(), False, containers.STAND_IN),
        (Container(args=("x",)), False, containers.STAND_IN),
        (Container(command=("no-such-program",)), True, containers.SKIPPED),
    ],
)
def test_what_runs(container: Container, initial: bool, runs: str) -> None:
    assert containers.choose(container, {"PATH": os.environ["PATH"]}, initial).runs == runs


@pytest.mark.parametrize(
    ("volume", "files", "problems"),
    [
        ("configMap: {name: files}", {"a": "1", "b": "2"}, []),
        ("configMap: {name: files, items: [{key: a, path: deep/er}]}", {"deep/er": "1"}, []),
        ("configMap: {name: files, items: [{key: a, path: ../../out}]}", {}, ["leaves the volume"]),
        ("configMap: {name: files, items: [{key: c, path: c}]}", {}, ['has no key "c"']),
        ("configMap: {name: none}", {}, ['configmap "none" not found']),
        ("configMap: {name: none, optional: true}", {}, []),
        ("emptyDir: {}", {}, []),
    ],
)
def test_volumes(
    volume: str, files: dict[str, str], problems: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "VOLUMES", tmp_path / "volumes")
    spec = one(pod("p", spec=f"volumes: [{{name: v, {volume}}}], ")).spec  # type: ignore[attr-defined]
    missing = containers.fill_volumes(spec, {"files": ConfigMap(data={"a": "1", "b": "2"})})
    directory = tmp_path / "volumes/v"
    found = {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}
    assert found == files
    assert len(missing) == len(problems)
    assert all(problem in line for problem, line in zip(problems, missing, strict=True))
    assert not (tmp_path / "out").exists()


def test_a_sub_path_cannot_leave_its_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "VOLUMES", tmp_path)
    (tmp_path / "v").mkdir()
    place = VolumeMount(name="v", mount_path="/x", sub_path="../../etc")
    with pytest.raises(OSError, match="leaves the volume"):
        containers.mount_volumes(Container(volume_mounts=(place,)))


def test_other_volume_sources_are_said_to_be_empty() -> None:
    spec = one(pod("p", spec="volumes: [{name: v, secret: {secretName: s}}], ")).spec  # type: ignore[attr-defined]
    assert isinstance(spec, PodSpec)
    (note,) = containers.volume_notes(spec)
    assert "volume v" in note


@pytest.mark.parametrize(
    ("heard", "said"),
    [
        (b"", b"me\n"),
        (b"hello", b"me\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", None),
        (b"HEAD / HTTP/1.1\r\n\r\n", b"Content-Length: 3\r\nConnection: close\r\n\r\n"),
        (b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\nme\n"),
    ],
    ids=["silence", "no HTTP", "half a request", "HEAD", "GET"],
)
def test_the_stand_in_says_who_it_is(heard: bytes, said: bytes | None) -> None:
    found = answer(b"me\n", heard)
    assert found is said if said is None else found is not None and found.endswith(said)


def test_a_log_is_bounded_and_keeps_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    log = ContainerLog(descriptor)
    for number in range(3 * LIMIT // 100):
        log.write(f"{number:098}\n".encode())
    os.close(descriptor)
    assert path.stat().st_size <= LIMIT
    lines = path.read_text().splitlines()
    assert int(lines[-1]) == 3 * LIMIT // 100 - 1
    assert [int(line) for line in lines] == list(range(int(lines[0]), int(lines[-1]) + 1))
    assert tail(path, 2).splitlines() == lines[-2:]
    assert tail(tmp_path / "none", 2) == ""
