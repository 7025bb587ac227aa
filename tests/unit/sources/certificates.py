"""Certificates for tests, made by openssl: an authority, what it signed, and an authority that signed none of it."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificates:
    """PEM files in one folder: `ca`, `stranger`, and with their keys `server` (127.0.0.1, api.test) and `client`."""

    folder: Path

    def file(self, name: str) -> str:
        """The path of `ca.crt`, `client.key` and so on."""
        return str(self.folder / name)

    def text(self, name: str) -> str:
        """What stands in the file."""
        return (self.folder / name).read_text()

    def server(self, *, ask_client: bool = False, name: str = "server") -> ssl.SSLContext:
        """What a server needs; `ask_client` refuses clients without a certificate of the authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file(f"{name}.crt"), self.file(f"{name}.key"))
        if ask_client:
            context.load_verify_locations(self.file("ca.crt"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make(folder: Path) -> Certificates:
    """Make all of them, good for two days, and one of a server that is good for another host only."""
    made = Certificates(folder)
    for name in ("ca", "stranger"):
        _openssl(folder, "req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", "2", *_files(name))
    names = {"server": "IP:127.0.0.1,DNS:api.test", "elsewhere": "DNS:api.test", "client": "DNS:client"}
    for name, alternatives in names.items():
        (folder / "extensions").write_text(f"subjectAltName={alternatives}\n")
        request = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        _openssl(folder, "req", *_KEY, "-subj", f"/CN={name}", *request)
        signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signer, "-days", "2", "-out", f"{name}.crt")
    return made


def _files(name: str) -> tuple[str, ...]:
    return ("-keyout", f"{name}.key", "-out", f"{name}.crt")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)
