"""The two certificates between endpoint and kubelet, both signed by the endpoint's authority.

The kubelet shows one that is good for its address, and answers only who shows the endpoint's. Neither can stand for the
other: a server's certificate is not good for clients, nor a client's for servers.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from gatewright.lab.api.credentials import sign
from gatewright.lab.errors import LabError
from gatewright.lab.web import Keys

LOOPBACK = ("127.0.0.1", "::1")


def server_keys(folder: Path, addresses: Iterable[str] = LOOPBACK, into: Path | None = None) -> Keys:
    """What a kubelet at these addresses needs, signed by the authority of an endpoint's folder. Raises LabError.

    Made where it is missing: in the folder `into`, which is a kubelet's own, or in the endpoint's.
    """
    names = ",".join(f"IP:{address}" for address in addresses)
    subject = "/O=system:nodes/CN=gatewright-lab-kubelet"
    extensions = f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n"
    return Keys(*_pair(folder, into or folder, "kubelet", subject, extensions), folder / "ca.crt")


def client_context(folder: Path) -> ssl.SSLContext:
    """TLS to kubelets with the endpoint's client certificate, made where it is missing. Raises LabError."""
    subject, extensions = "/O=gatewright-lab/CN=gatewright-lab-api", "extendedKeyUsage=clientAuth\n"
    certificate, key = _pair(folder, folder, "kubelet-client", subject, extensions)
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise LabError(f"cannot use the keys for kubelets in {folder}: {error}; delete {certificate.name}") from error
    return context


def _pair(folder: Path, into: Path, name: str, subject: str, extensions: str) -> tuple[Path, Path]:
    certificate, key = into / f"{name}.crt", into / f"{name}.key"
    known = into / f"{name}.extensions"
    previous = os.umask(0o077)
    try:
        authority = hashlib.sha256((folder / "ca.crt").read_bytes()).hexdigest()
        wanted = f"# authority {authority}\n{extensions}"
        if not (certificate.exists() and key.exists() and known.exists() and known.read_text() == wanted):
            certificate.unlink(missing_ok=True)
            into.mkdir(exist_ok=True)
            known.write_text(wanted)
            sign(folder, str(into.absolute() / name), subject)
    except OSError as error:
        raise LabError(f"cannot keep the keys for kubelets in {into}: {error}") from error
    finally:
        os.umask(previous)
    return certificate, key
