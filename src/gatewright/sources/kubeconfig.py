"""Which cluster to ask, and as whom: what kubectl would take from the same command line and environment.

That is `--kubeconfig`, else the files of `KUBECONFIG` merged (what is named first counts), else `~/.kube/config`, else
the service account of the pod this runs in. lightkube's types hold it. What is wrong with any of it is one
`ClusterUnavailable` that names the file and the field, before the first connection: a library would say `[Errno 2]`.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.errors import GatewrightError, line

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import SingleConfig

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PIPE = "kubectl get ns,pods,svc,netpol -A -o yaml | gatewright list -f -"

_FILES = {"clusters": ("certificate-authority",), "users": ("client-certificate", "client-key", "tokenFile")}
"""Fields that name files: relative to the kubeconfig that they stand in."""
_ONE = {"clusters": "cluster", "users": "user", "contexts": "context"}
_ONE_AT_A_TIME = threading.Lock()
"""lightkube's types are msgspec's, which works a type out at its first use, without a lock: two threads that read their
first kubeconfig at once would end the process."""


class ClusterUnavailable(GatewrightError):
    """No cluster could be asked: no configuration, no connection, no credentials it accepts."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster: the kubeconfig and the context, each the one that kubectl would take when None."""

    kubeconfig: str | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """One context with its cluster and user, and what lightkube does not read of the cluster."""

    single: SingleConfig
    proxy: str | None = None
    tls_server_name: str | None = None

    @property
    def name(self) -> str:
        """What messages call the cluster."""
        return f"cluster {self.single.context_name}"

    @property
    def namespace(self) -> str:
        """The namespace of the context."""
        return self.single.namespace.strip() or "default"


def configuration(where: Where) -> Configuration:
    """The context to use. For several threads. Raises ClusterUnavailable where there is none that can be used."""
    with _ONE_AT_A_TIME:
        return _configuration(where)


def _configuration(where: Where) -> Configuration:
    try:
        from lightkube.config.kubeconfig import KubeConfig
        from lightkube.core.exceptions import ConfigError
    except ImportError as error:
        what = f"a live cluster needs lightkube: pip install 'gatewright[live]', or pipe its objects: {PIPE}"
        raise ClusterUnavailable(what) from error
    named = where.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    files = [Path(part).expanduser() for part in ([where.kubeconfig] if where.kubeconfig else named.split(":")) if part]
    found = [file for file in files if file.is_file()]
    try:
        if not found and not where.kubeconfig and not where.context and _in_a_pod():
            named = f"service account {SERVICE_ACCOUNT}"
            single = KubeConfig.from_service_account(SERVICE_ACCOUNT).get()
            assert single is not None
            return Configuration(_checked(single, named))
        if not found:
            raise ClusterUnavailable(f"no kubeconfig at {named}; name one with --kubeconfig, or set KUBECONFIG")
        merged = _merged(found)
        wanted = where.context or merged["current-context"]
        if not wanted:
            raise ClusterUnavailable(f"{named}: no current context; name one with --context")
        config = KubeConfig.from_dict(merged)
        if wanted not in config.contexts:
            known = ", ".join(sorted(config.contexts)) or "none"
            raise ClusterUnavailable(f"{named}: no context {wanted!r}; it has {known}")
        context = config.contexts[wanted]
        for kind, holder, name in (("cluster", config.clusters, context.cluster), ("user", config.users, context.user)):
            if name and name not in holder:
                raise ClusterUnavailable(f"{named}: context {wanted!r} names the {kind} {name!r}, which is not there")
        single = config.get(wanted)
        assert single is not None
        cluster = next(one["cluster"] for one in merged["clusters"] if one["name"] == context.cluster)
        return Configuration(_checked(single, named), cluster.get("proxy-url"), cluster.get("tls-server-name"))
    except (ConfigError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ClusterUnavailable(f"{named}: not a kubeconfig that can be used: {line(error)}") from error


def extract(where: Where) -> dict[str, Any]:
    """A kubeconfig of the one context to use, with absolute paths to its files. Raises ClusterUnavailable."""
    config = configuration(where)
    named = where.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    merged = _merged(file for part in named.split(":") if part and (file := Path(part).expanduser()).is_file())
    context = next(one for one in merged["contexts"] if one["name"] == config.single.context_name)
    kept = {"clusters": context["context"].get("cluster"), "users": context["context"].get("user")}
    entries = {plural: [one for one in merged[plural] if one["name"] == name] for plural, name in kept.items()}
    named_context = {"contexts": [context], "current-context": context["name"]}
    return {"apiVersion": "v1", "kind": "Config", **entries, **named_context}


def _in_a_pod() -> bool:
    return (SERVICE_ACCOUNT / "token").is_file() and "KUBERNETES_SERVICE_HOST" in os.environ


def _merged(files: Iterable[Path]) -> dict[str, Any]:
    """Several kubeconfigs as one: of each name, and of the current context, the first counts."""
    import yaml

    merged: dict[str, Any] = {"current-context": None, "clusters": [], "users": [], "contexts": []}
    for file in files:
        try:
            content = yaml.safe_load(file.read_bytes())
        except yaml.MarkedYAMLError as error:  # its own text would show the line, which may hold a token
            place = f"{file}:{error.problem_mark.line + 1}" if error.problem_mark else str(file)
            raise ClusterUnavailable(f"{place}: not YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise ClusterUnavailable(f"{file}: not YAML: it is not UTF-8 text") from error
        if not isinstance(content, dict):
            raise ClusterUnavailable(f"{file}: not a kubeconfig that can be used: it is no mapping")
        merged["current-context"] = merged["current-context"] or content.get("current-context")
        for plural, singular in _ONE.items():
            known = {one["name"] for one in merged[plural]}
            new = [one for one in content.get(plural) or () if one["name"] not in known]
            merged[plural] += [{**one, singular: _placed(one[singular] or {}, plural, file)} for one in new]
    return merged


def _placed(entry: dict[str, Any], plural: str, file: Path) -> dict[str, Any]:
    """The entry with the files that it names made absolute."""
    directory = file.absolute().parent
    entry = {**entry, **{key: str(directory / entry[key]) for key in _FILES.get(plural, ()) if entry.get(key)}}
    command = (entry.get("exec") or {}).get("command", "") if plural == "users" else ""
    if "/" in command:  # client-go: a path is relative to the kubeconfig, a bare name is looked up in PATH
        entry["exec"] = {**entry["exec"], "command": str(directory / command)}
    return entry


def _checked(single: SingleConfig, named: str) -> SingleConfig:
    """The context, with every file that it needs there and readable."""
    from lightkube.config.models import User

    single = single._replace(user=single.user or User())
    cluster, user = single.cluster, single.user
    assert user is not None
    for field, path in (
        ("certificate-authority", cluster.certificate_auth),
        ("client-certificate", user.client_cert),
        ("client-key", user.client_key),
        ("tokenFile", user.token_file),
    ):
        if path:
            try:
                Path(path).read_bytes()
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ClusterUnavailable(f"{named}: {field} {path}: {reason}; mend the path or the file") from error
    for field, data in (
        ("certificate-authority-data", cluster.certificate_auth_data),
        ("client-certificate-data", user.client_cert_data),
        ("client-key-data", user.client_key_data),
    ):
        try:
            base64.b64decode(data or "", validate=True)
        except binascii.Error as error:
            raise ClusterUnavailable(f"{named}: {field}: not base64: {line(error)}; copy it whole") from error
    if bool(user.client_cert or user.client_cert_data) != bool(user.client_key or user.client_key_data):
        raise ClusterUnavailable(f"{named}: a client certificate needs both client-certificate and client-key")
    if user.auth_provider:
        what = "auth-provider is a way to log in that kubectl has given up too; use an exec plugin"
        raise ClusterUnavailable(f"{named}: {what}, or pipe: {PIPE}")
    _check_certificates(single, named)
    return single


def _check_certificates(single: SingleConfig, named: str) -> None:
    """Raise ClusterUnavailable for a certificate or key that OpenSSL cannot read, by its field."""
    import ssl

    from lightkube.config.client_adapter import user_cert, verify_cluster
    from lightkube.config.models import User

    assert single.user is not None
    for field, user in (("certificate-authority", User()), ("client-certificate or client-key", single.user)):
        try:
            if field == "certificate-authority" or user_cert(user, single.abs_file):
                verify_cluster(single.cluster, user, single.abs_file)
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise ClusterUnavailable(f"{named}: {field}: not what OpenSSL can read as PEM: {reason}") from error
