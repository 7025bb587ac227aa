"""Login programs: the `exec` of a kubeconfig's user, run as client-go runs it, once and without a person.

The program prints an ExecCredential (client.authentication.k8s.io, v1 and v1beta1 alike) with a token or a client
certificate. It runs within bounds of time and output, and whatever it does wrong is one line.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from gatewright.errors import line
from gatewright.sources.kubeconfig import PIPE, ClusterUnavailable
from gatewright.sources.programs import ProgramFailed, run

if TYPE_CHECKING:
    from lightkube.config.models import User, UserExec

VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
LARGEST = 1024 * 1024
"""Bytes of one credential."""


class _Status(msgspec.Struct, frozen=True):
    token: str | None = None
    certificate: str | None = msgspec.field(default=None, name="clientCertificateData")
    key: str | None = msgspec.field(default=None, name="clientKeyData")
    expires: datetime | None = msgspec.field(default=None, name="expirationTimestamp")


class _ExecCredential(msgspec.Struct, frozen=True):
    status: _Status


_DECODER = msgspec.json.Decoder(_ExecCredential)  # made here: several threads may log in at once


@dataclass(frozen=True, slots=True)
class Login:
    """A user with credentials, and when they end where the program says so."""

    user: User
    expires: datetime | None = None


def logged_in(user: User, cluster: str) -> Login:
    """The user with what its login program gives, where it has one. Raises ClusterUnavailable."""
    if user.exec is None or user.token or user.token_file:
        return Login(user)
    status = _run(user.exec, cluster)
    if status.token:
        return Login(msgspec.structs.replace(user, token=status.token, exec=None), status.expires)
    if not (status.certificate and status.key):
        what = "gives neither a token nor a client certificate with its key"
        raise ClusterUnavailable(f"{cluster}: the login program {user.exec.command} {what}; log in with it first")
    data = (_base64(status.certificate), _base64(status.key))
    certified = msgspec.structs.replace(user, client_cert_data=data[0], client_key_data=data[1], exec=None)
    return Login(certified, status.expires)


def _run(login: UserExec, cluster: str) -> _Status:
    if login.apiVersion not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise ClusterUnavailable(f"{cluster}: the login program speaks {login.apiVersion}, not one of {known}")
    info = {"kind": "ExecCredential", "apiVersion": login.apiVersion, "spec": {"interactive": False}}
    environment = {**os.environ, **{one.name: one.value for one in login.env or ()}}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(info)
    try:
        output = run([login.command, *(login.args or ())], LARGEST, environment=environment)
        return _DECODER.decode(output).status
    except ProgramFailed as error:
        hint = f"; {line(login.installHint)}" if login.installHint and "does not start" in str(error) else ""
        what = f"the login program {line(error)}{hint}; kubectl may know better, pipe it: {PIPE}"
        raise ClusterUnavailable(f"{cluster}: {what}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = f"the login program {login.command} prints no ExecCredential: {line(error)}"
        raise ClusterUnavailable(f"{cluster}: {what}") from error


def _base64(pem: str) -> str:
    """As a kubeconfig holds it; a login program prints the PEM itself."""
    return base64.b64encode(pem.encode()).decode()
