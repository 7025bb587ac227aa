"""The lab's context in the user's own kubeconfig: put there when a lab comes up, taken away when it goes down.

As kind does it: clusters, users and contexts of other names stay as they are. The file is locked as kubectl locks it
(`FILE.lock`) and replaced whole. Which context was the current one before is remembered, and is so again afterwards.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gatewright.errors import line
from gatewright.lab.errors import LabError

Tree = dict[str, Any]
_PLURALS = ("clusters", "users", "contexts")
_LOCKED_WITHIN = 5.0
_BEFORE = "gatewright-previous-context"
"""The extension of the lab's own context in which the context that was current before it is kept."""


def context_of(lab: str) -> str:
    """What a lab's context is called."""
    return f"gatewright-{lab}"


def user_file() -> Path:
    """The kubeconfig that kubectl writes to: the first of $KUBECONFIG, else ~/.kube/config."""
    named = [one for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    return Path(named[0]) if named else Path.home() / ".kube" / "config"


def merge(source: Path, target: Path) -> str:
    """Put a lab's kubeconfig into the user's and make it the current context; the context's name. Raises LabError."""
    new = _read(source)
    name = str(new["current-context"])
    with _locked(target):
        old = _read(target)
        config = _without(old, name)
        for plural in _PLURALS:
            config[plural] = [*config[plural], *new[plural]]
        current = old.get("current-context")
        if before := current if current != name else _before(old, name):
            context = next(one for one in config["contexts"] if one["name"] == name)["context"]
            context["extensions"] = [{"name": _BEFORE, "extension": before}]
        config["current-context"] = name
        _write(target, config)
    return name


def remove(name: str, target: Path) -> bool:
    """Take a context away again, with its cluster and user; whether it was there. Raises LabError."""
    if not target.exists():
        return False
    with _locked(target):
        config = _read(target)
        found = next((one for one in config["contexts"] if one.get("name") == name), None)
        if found is None:
            return False
        config = _without(config, name)
        if config.get("current-context") == name:
            before = _before({"contexts": [found]}, name)
            known = any(one.get("name") == before for one in config["contexts"])
            config["current-context"] = before if known else ""
        _write(target, config)
    return True


def _before(config: Tree, name: str) -> str:
    """Which context was the current one before this one; empty where that is not known."""
    context = next((one.get("context") or {} for one in config["contexts"] if one.get("name") == name), {})
    extensions = context.get("extensions") or ()
    return str(next((one.get("extension") for one in extensions if one.get("name") == _BEFORE), ""))


def _without(config: Tree, name: str) -> Tree:
    return config | {plural: [one for one in config[plural] if one.get("name") != name] for plural in _PLURALS}


def _read(path: Path) -> Tree:
    try:
        read = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        read = None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LabError(
            f"{path}: cannot be read as a kubeconfig: {line(error)}; mend it, or use --no-kubeconfig"
        ) from error
    config = {"apiVersion": "v1", "kind": "Config", "preferences": {}} if read is None else read
    if not isinstance(config, dict):
        raise LabError(f"{path}: is no kubeconfig; mend it, or use --no-kubeconfig")
    for plural in _PLURALS:
        entries = config.get(plural) or []
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise LabError(f"{path}: {plural}: is no list of named entries; mend it, or use --no-kubeconfig")
        config[plural] = entries
    return config


def _write(path: Path, config: Tree) -> None:
    target = path.resolve()  # a file that is a link stays one
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(config, file, sort_keys=False)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise LabError(f"cannot write {path}: {error.strerror}; or use --no-kubeconfig") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + _LOCKED_WITHIN
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0))
                break
            except FileExistsError:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"{path} is locked by another program; if none runs, remove {lock}, or use --no-kubeconfig"
                    ) from None
                time.sleep(0.05)
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}; or use --no-kubeconfig") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
