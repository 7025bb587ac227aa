"""Questions that are asked by a POST and kept nowhere: who am I, may I. Who has the token may do everything."""

from __future__ import annotations

from typing import Any

Tree = dict[str, Any]

USER = {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]}
"""Who the bearer of the token is."""


def answer(kind: str, api_version: str, asked: Tree) -> Tree:
    """The review with its status."""
    head = {"kind": kind, "apiVersion": api_version, "metadata": {}}
    if kind == "SelfSubjectReview":
        return {**head, "status": {"userInfo": USER}}
    if kind == "SelfSubjectRulesReview":
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
        status = {"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": False}
        return {**head, "spec": asked.get("spec", {}), "status": status}
    reason = "the holder of the endpoint's token may do everything"
    return {**head, "spec": asked.get("spec", {}), "status": {"allowed": True, "reason": reason}}
