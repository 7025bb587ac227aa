"""Names of chains and sets: readable in `nft list`, and stable: a small change renames nothing it did not touch.

A class of pods is named after the policies that apply to it, not after its pods or its content: pods and addresses come
and go every second, policies seldom, and a name that stays is what lets a change be a few elements.
"""

from __future__ import annotations

import hashlib
import re

from gatewright.engine.model import Direction, DirectionRules, RuleOrigin

LONGEST = 160
"""Of a class name; the kernel takes 255 characters, and sets add a suffix."""
LONGEST_LOGGED = 100
"""Of a class name in a log line, whose prefix the kernel cuts after 127 characters."""
_PLAIN = re.compile(r"[a-z0-9][a-z0-9./-]*")


def digest(*words: str) -> str:
    """Eight hexadecimal characters that stand for the words."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]


def policies_of(rules: DirectionRules) -> tuple[str, ...]:
    """The policies that say something to a class, as sorted words."""
    origins: set[RuleOrigin] = set()
    for tier in rules.tiers:
        origins.update(tier.policies)
        origins.update(rule.origin for rule in tier.rules)
    return tuple(sorted({f"{origin.kind}/{origin.namespace}/{origin.name}" for origin in origins}))


def class_name(direction: Direction, policies: tuple[str, ...]) -> str:
    """`ingress/default/db-policy`; with more than one policy, or where that is not plain, a digest is appended."""
    prefix = direction.value.lower()
    words = policies[0].split("/", 1)[1].strip("/") if policies else "none"
    if len(policies) == 1 and len(words) <= LONGEST and _PLAIN.fullmatch(words):
        return f"{prefix}/{words}"
    readable = re.sub(r"[^a-z0-9./-]", "", words.lower())[:LONGEST] or "policy"
    return f"{prefix}/{readable}/{digest(*policies)}"


def log_name(name: str) -> str:
    """What a log line calls a class: its name, or where that is too long its beginning and a digest."""
    return name if len(name) <= LONGEST_LOGGED else f"{name[: LONGEST_LOGGED - 9]}/{digest(name)}"


def inner_chain(name: str, part: str) -> str:
    """A chain inside a class. Class names have no underscore, so no class can have this name."""
    return f"{name}_{part}"
