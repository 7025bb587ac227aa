"""The endpoint's own authority, certificate and token, and the kubeconfig that holds what a client needs of them.

Made once for a folder by the `openssl` program, and kept: a client's kubeconfig stays good over restarts. Every file is
readable by its owner alone. The certificate is good for loopback addresses and for those that are named besides, under
which a lab's own nodes reach the endpoint; nothing of it leaves the machine.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gatewright.lab.errors import LabError

_YEARS = "3650"
_NAMES = ("IP:127.0.0.1", "IP:::1", "DNS:localhost")
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files of one endpoint, and its token."""

    authority: Path
    certificate: Path
    key: Path
    token: str


def credentials(folder: Path, names: Iterable[str] = ()) -> Credentials:
    """Those of a folder, made where they are missing; `names` are further ones of the server (`IP:...`, `DNS:...`).

    Raises LabError.
    """
    found = Credentials(folder / "ca.crt", folder / "server.crt", folder / "server.key", "")
    token = folder / "token"
    if not all(path.exists() for path in (found.authority, found.certificate, found.key, token)):
        previous = os.umask(0o077)
        try:
            _make(folder, names)
            token.write_text(secrets.token_urlsafe(32))
        except OSError as error:
            raise LabError(f"cannot keep the endpoint's keys in {folder}: {error}") from error
        finally:
            os.umask(previous)
    return Credentials(found.authority, found.certificate, found.key, token.read_text().strip())


def _make(folder: Path, names: Iterable[str]) -> None:
    authority = ("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=gatewright-lab", "-days", _YEARS)
    _openssl(folder, "req", "-x509", *_KEY, *authority)
    (folder / "server.extensions").write_text(
        f"subjectAltName={','.join((*_NAMES, *names))}\nextendedKeyUsage=serverAuth\n"
    )
    sign(folder, "server", "/CN=gatewright-lab-api")
    (folder / "server.extensions").unlink()


def sign(folder: Path, name: str, subject: str) -> None:
    """Make NAME.key and NAME.crt with the extensions of NAME.extensions, signed by the authority. Raises LabError."""
    _openssl(folder, "req", *_KEY, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", str(secrets.randbits(120)))
    how = ("-extfile", f"{name}.extensions", "-days", _YEARS)
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signer, *how, "-out", f"{name}.crt")
    (folder / f"{name}.csr").unlink(missing_ok=True)


def _openssl(folder: Path, *arguments: str) -> None:
    try:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False
        )
    except FileNotFoundError as error:
        raise LabError("the endpoint's certificates need the program openssl: install the package openssl") from error
    except subprocess.TimeoutExpired as error:
        raise LabError("openssl did not make the endpoint's certificates within 30 seconds: try again") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise LabError(f"openssl could not make the endpoint's certificates: {said[0]}")


def write_kubeconfig(path: Path, server: str, found: Credentials, name: str = "gatewright-lab") -> None:
    """Write a kubeconfig for the endpoint, whole or not at all, readable by its owner alone. Raises LabError."""
    authority = base64.b64encode(found.authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": found.token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    }
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(config)))
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise LabError(f"cannot write the kubeconfig {path}: {error.strerror}") from error
