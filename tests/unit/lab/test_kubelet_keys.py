"""The certificates between endpoint and kubelet: made once, made again where they no longer fit, each for its side."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gatewright.lab.api.credentials import credentials
from gatewright.lab.errors import LabError
from gatewright.lab.kubelet.keys import client_context, server_keys


def shown(certificate: Path) -> str:
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-text"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_keys_are_made_once_and_each_for_its_side(tmp_path: Path) -> None:
    credentials(tmp_path)
    keys = server_keys(tmp_path, ("127.0.0.1", "::1"))
    first = keys.certificate.read_bytes()
    assert server_keys(tmp_path, ("127.0.0.1", "::1")).certificate.read_bytes() == first
    text = shown(keys.certificate)
    assert "IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in text
    assert ("TLS Web Server Authentication" in text, "Client Auth" in text) == (True, False)
    client_context(tmp_path)
    text = shown(tmp_path / "kubelet-client.crt")
    assert ("TLS Web Client Authentication" in text, "Server Auth" in text) == (True, False)
    assert all(one.stat().st_mode & 0o077 == 0 for one in tmp_path.iterdir())


def test_another_address_needs_another_certificate(tmp_path: Path) -> None:
    credentials(tmp_path)
    server_keys(tmp_path)
    assert "127.0.0.2" in shown(server_keys(tmp_path, ("127.0.0.2",)).certificate)


def test_another_authority_makes_the_old_ones_worthless(tmp_path: Path) -> None:
    credentials(tmp_path)
    old = server_keys(tmp_path).certificate.read_bytes()
    (tmp_path / "ca.crt").unlink()
    credentials(tmp_path)
    keys = server_keys(tmp_path)
    assert keys.certificate.read_bytes() != old
    verify = ["openssl", "verify", "-CAfile", str(tmp_path / "ca.crt"), str(keys.certificate)]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0


def test_a_folder_without_an_authority_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot keep the keys for kubelets"):
        server_keys(tmp_path)


def test_each_kubelet_keeps_its_own_in_its_folder(tmp_path: Path) -> None:
    authority = tmp_path / "api"
    authority.mkdir()
    credentials(authority)
    first = server_keys(authority, ("127.0.0.1",), tmp_path / "one")
    second = server_keys(authority, ("127.0.0.2",), tmp_path / "two")
    assert (first.certificate.parent.name, second.certificate.parent.name) == ("one", "two")
    assert "127.0.0.2" not in shown(first.certificate)
    assert first.clients == second.clients == authority / "ca.crt"
    verify = [
        "openssl",
        "verify",
        "-CAfile",
        str(authority / "ca.crt"),
        str(first.certificate),
        str(second.certificate),
    ]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0
    assert not (authority / "kubelet.crt").exists()
