"""Names of chains and sets: readable in `nft list`, and stable: a small change renames nothing it did not touch.

A class of pods is named after the policies that apply to it, not after its pods or its content: pods and addresses come
and go every second, policies seldom, and a name that stays is what lets a change be a few elements.

No two classes may ever share a name, whatever tenants call their policies: their rules would become one chain. So a
name is either the namespace and name of one NetworkPolicy, or ends in a digest that nobody can aim at, after `_`, which
no name of Kubernetes holds.
"""

from __future__ import annotations

import hashlib
import re

from gatewright.engine.model import Direction, DirectionRules, RuleOrigin

LONGEST = 160
"""Of a class name; the kernel takes 255 characters, and sets add a suffix."""
LONGEST_LOGGED = 100
"""Of a class name in a log line, whose prefix the kernel cuts after 127 characters."""
_PLAIN = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*")


def digest(*words: str) -> str:
    """`_` and 24 hexadecimal characters (96 bits) that stand for the words."""
    return "_" + hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]


def policies_of(rules: DirectionRules) -> tuple[str, ...]:
    """The policies that say something to a class, as sorted words."""
    origins: set[RuleOrigin] = set()
    for tier in rules.tiers:
        origins.update(tier.policies)
        origins.update(rule.origin for rule in tier.rules)
    return tuple(sorted({f"{origin.kind}/{origin.namespace}/{origin.name}" for origin in origins}))


def class_name(direction: Direction, policies: tuple[str, ...]) -> str:
    """`ingress/default/db-policy` for one NetworkPolicy; else, or where that is not plain, a digest is appended."""
    prefix = direction.value.lower()
    kind, _, words = policies[0].partition("/") if policies else ("", "", "none")
    words = words.strip("/")
    if len(policies) == 1 and kind == "NetworkPolicy" and len(words) <= LONGEST and _PLAIN.fullmatch(words):
        return f"{prefix}/{words}"
    readable = re.sub(r"[^a-z0-9./-]", "", words.lower())[:LONGEST] or "policy"
    return f"{prefix}/{readable}/{digest(*policies)}"


def log_name(name: str) -> str:
    """What a log line calls a class: its name, or where that is too long its beginning and a digest."""
    if len(name) <= LONGEST_LOGGED:
        return name
    end = f"/{digest(name)}"
    return name[: LONGEST_LOGGED - len(end)] + end
