"""Discovery: which groups, versions and resources there are, in the legacy form and aggregated in one document."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import msgspec

from gatewright.lab.api.resources import GROUP_VERSIONS, RESOURCES, VERBS, Resource

Tree = dict[str, Any]

REVIEWS = {
    ("authorization.k8s.io", "v1"): (
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview"),
        ("subjectaccessreviews", "SubjectAccessReview"),
    ),
    ("authentication.k8s.io", "v1"): (("selfsubjectreviews", "SelfSubjectReview"),),
}
"""Resources that are asked by a POST and kept nowhere: what may I do, who am I."""


def subresources(resource: Resource) -> list[Tree]:
    """A resource's subresources as aggregated discovery has them."""
    found = []
    if resource.scale:
        found.append(_subresource("scale", "autoscaling", "v1", "Scale", ["get", "patch", "update"]))
    if resource.status:
        found.append(_subresource("status", "", "", resource.kind, ["get", "patch", "update"]))
    if resource.kind == "Pod":
        found.append(_subresource("binding", "", "v1", "Binding", ["create"]))
        found.append(_subresource("exec", "", "v1", "PodExecOptions", ["create", "get"]))
        found.append(_subresource("log", "", "", "Pod", ["get"]))
        found.append(_subresource("portforward", "", "v1", "PodPortForwardOptions", ["create", "get"]))
        found.append(_subresource("eviction", "policy", "v1", "Eviction", ["create"]))
    if resource.kind == "Namespace":
        found.append(_subresource("finalize", "", "", "Namespace", ["update"]))
    return sorted(found, key=lambda one: str(one["subresource"]))


def _subresource(name: str, group: str, version: str, kind: str, verbs: list[str]) -> Tree:
    return {"subresource": name, "responseKind": {"group": group, "version": version, "kind": kind}, "verbs": verbs}


def _served() -> tuple[tuple[str, str], ...]:
    return (*GROUP_VERSIONS, *REVIEWS)


def core_versions() -> Tree:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups() -> Tree:
    """`/apis`."""
    names = dict.fromkeys(group for group, _ in _served() if group)
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in names]}


def _group(name: str) -> Tree:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version} for group, version in _served() if group == name
    ]
    versions.sort(key=lambda one: one["version"], reverse=True)
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def group(name: str) -> Tree | None:
    """`/apis/GROUP`; None where there is none."""
    if name not in {served for served, _ in _served() if served}:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def resources(name: str, version: str) -> Tree | None:
    """`/apis/GROUP/VERSION`, `/api/v1`; None where there is none."""
    if (name, version) not in _served():
        return None
    listed: list[Tree] = []
    for resource in RESOURCES:
        if (resource.group, resource.version) == (name, version):
            listed += _legacy(resource)
    listed += [
        {"name": plural, "singularName": kind.lower(), "namespaced": False, "kind": kind, "verbs": ["create"]}
        for plural, kind in REVIEWS.get((name, version), ())
    ]
    full = f"{name}/{version}" if name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": full, "resources": listed}


def _legacy(resource: Resource) -> list[Tree]:
    own: Tree = {"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced}
    own |= {"kind": resource.kind, "verbs": list(VERBS)}
    if resource.short_names:
        own["shortNames"] = list(resource.short_names)
    if resource.categories:
        own["categories"] = list(resource.categories)
    found = [own]
    for sub in subresources(resource):
        kind = sub["responseKind"]
        more = {name: kind[name] for name in ("group", "version") if kind["group"] and kind[name]}
        name = f"{resource.plural}/{sub['subresource']}"
        head = {"name": name, "singularName": "", "namespaced": resource.namespaced}
        found.append({**head, **more, "kind": kind["kind"], "verbs": sub["verbs"]})
    return found


@lru_cache(maxsize=2)
def aggregated(core: bool) -> tuple[bytes, str]:
    """(JSON, entity tag) of the aggregated document of `/api` or `/apis`."""
    items = []
    for name in dict.fromkeys(group for group, _ in _served() if bool(group) != core):
        versions = [
            {"version": version, "resources": _aggregated(name, version), "freshness": "Current"}
            for group, version in sorted(_served(), key=lambda one: one[1], reverse=True)
            if group == name
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": versions})
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}}
    body = msgspec.json.encode({**head, "items": items})
    return body, f'"{hashlib.sha512(body).hexdigest().upper()}"'


def _aggregated(name: str, version: str) -> list[Tree]:
    found = []
    for resource in RESOURCES:
        if (resource.group, resource.version) == (name, version):
            kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
            one: Tree = {"resource": resource.plural, "responseKind": kind}
            one |= {"scope": "Namespaced" if resource.namespaced else "Cluster", "singularResource": resource.singular}
            one["verbs"] = list(VERBS)
            if resource.short_names:
                one["shortNames"] = list(resource.short_names)
            if resource.categories:
                one["categories"] = list(resource.categories)
            if below := subresources(resource):
                one["subresources"] = below
            found.append(one)
    for plural, review in REVIEWS.get((name, version), ()):
        kind = {"group": name, "version": version, "kind": review}
        head = {"resource": plural, "responseKind": kind, "scope": "Cluster"}
        found.append({**head, "singularResource": review.lower(), "verbs": ["create"]})
    return found
