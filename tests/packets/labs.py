"""Labs for tests: started and asked by the command line, as root and as an ordinary user, and always taken down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
_AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env")
"""`env` is what finds and starts the program then, with nothing left of root's rights."""
_RUN = "from gatewright.cli.main import main; main()"


@dataclass(frozen=True)
class Lab:
    """One lab and who runs it. `base` is where its user's labs leave their directories."""

    name: str
    words: tuple[str, ...]
    environment: dict[str, str]
    files: Path
    base: Path

    def run(self, *arguments: str, code: int | None = 0, stdin: str = "", timeout: float = 60) -> str:
        """Run `gatewright lab ...`; what it printed. Fails the test when the exit code is another (None: any)."""
        done = self.process(*arguments, stdin=stdin, timeout=timeout)
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def error(self, *arguments: str, code: int = 2) -> str:
        """Run what must fail; what it said on stderr."""
        done = self.process(*arguments)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr

    def process(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `gatewright lab ...`."""
        return subprocess.run(
            [*self.words, "lab", *arguments],
            env=self.environment | {"GATEWRIGHT_LAB": self.name},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self, manifests: str, *arguments: str) -> str:
        """Bring it up with these manifests."""
        return self.run("up", "-f", str(self.file(manifests)), *arguments)

    def apply(self, manifests: str) -> str:
        """Apply these manifests."""
        return self.run("apply", "-f", str(self.file(manifests)))

    def file(self, manifests: str) -> Path:
        """A file with these manifests that the lab's user can read."""
        path = self.files / f"{uuid.uuid4().hex}.yaml"
        path.write_text(manifests)
        path.chmod(0o644)
        return path

    def exec(self, pod: str, *command: str, code: int | None = 0) -> str:
        """Run a program in a pod."""
        return self.run("exec", pod, "--", *command, code=code)

    def reaches(self, pod: str, url: str) -> bool:
        """Whether an HTTP client in a pod gets an answer within a second."""
        return self.process("exec", pod, "--", "curl", "-gs", "--max-time", "1", url).returncode == 0

    def status(self) -> dict[str, Any]:
        """`lab status -o json`."""
        found: dict[str, Any] = json.loads(self.run("status", "-o", "json"))
        return found

    def address(self, pod: str, family: int = 4) -> str:
        """A pod's address (`namespace/name`)."""
        entry = next(one for one in self.status()["pods"] if f"{one['namespace']}/{one['name']}" == pod)
        addresses: list[str] = entry["addresses"]
        return next(text for text in addresses if (":" in text) == (family == 6))

    def node_address(self, family: int = 4) -> str:
        """The first node's address."""
        addresses: list[str] = self.status()["nodes"][0]["addresses"]
        return next(text for text in addresses if (":" in text) == (family == 6))

    def process_of(self, component: str) -> int:
        """The process of a component (`agent`) on its first node, as the machine counts."""
        for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda one: int(one.name)):
            with contextlib.suppress(OSError):
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.pid and (process / "comm").read_text().strip() == f"lab-{component}":
                    return int(process.name)
        raise AssertionError(f"no {component} of {self.name}")

    @property
    def directory(self) -> Path:
        """Where it keeps its state."""
        return self.base / self.name

    @property
    def pid(self) -> int:
        """Its process."""
        return int((self.directory / "pid").read_text().split()[0])


def until(condition: Callable[[], bool], within: float = 30) -> bool:
    """Wait until it holds; whether it does within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@contextlib.contextmanager
def lab_of(user: str) -> Iterator[Lab]:
    """A lab that is not up yet, of `root` or of an ordinary `user`; skips where that cannot be."""
    for program in ("curl", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="gatewright-") as directory:
        files = Path(directory)
        files.chmod(0o755)
        lab = _as_root(files) if user == "root" else _as_user(files)
        try:
            yield lab
        finally:
            lab.process("down")


def _name() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def _as_root(files: Path) -> Lab:
    if os.geteuid() != 0:
        pytest.skip("not root")
    environment = os.environ | {"KUBECONFIG": str(files / "kubeconfig")}
    return Lab(_name(), (sys.executable, "-c", _RUN), environment, files, Path("/run/gatewright/lab"))


def _as_user(files: Path) -> Lab:
    runtime = files / "runtime"
    runtime.mkdir(mode=0o700)
    environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime)}
    words: tuple[str, ...] = (sys.executable, "-c", _RUN)
    if os.geteuid() == 0:
        os.chown(runtime, NOBODY, NOBODY)
        words = (*_AS_NOBODY, _python_for_everybody(), "-c", _RUN)
        packages = Path(click.__file__).parents[1]
        environment |= {"PYTHONPATH": f"{ROOT / 'src'}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
        if subprocess.run([*words, "--version"], env=environment, capture_output=True, check=False).returncode:
            pytest.skip("an ordinary user cannot run this checkout (it cannot read it, or its Python)")
    if subprocess.run([*words[: -2 if os.geteuid() else -3], "unshare", "-Urn", "true"], check=False).returncode:
        pytest.skip("this machine does not let users make namespaces")
    return Lab(_name(), words, environment, files, runtime / "gatewright/lab")


def _python_for_everybody() -> str:
    """A Python of this version that every user may run: the system's, where ours lies in a home directory."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if subprocess.run([*_AS_NOBODY, candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    pytest.skip(f"no {version} that an ordinary user may run")
