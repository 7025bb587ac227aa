"""Planned policies as YAML with comments, as `kubectl create -f -` takes it.

Fields stand in the order of the document. A text is quoted only where YAML, read as kubectl reads it, would make
something else of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from gatewright.intent.plan import Planned
from gatewright.objects.origin import Path
from gatewright.objects.scalars import resolve

_PLAIN = re.compile(r"[A-Za-z0-9/.][A-Za-z0-9_./-]*|[A-Za-z0-9/.:][A-Za-z0-9_./:-]*[A-Za-z0-9_/.-]")


def to_yaml(policies: Iterable[Planned], heading: Iterable[str] = ()) -> str:
    """The policies, a document each. `heading` are lines of comment above all."""
    documents = ["".join(f"{line}\n" for line in _document(policy)) for policy in policies]
    return "".join(f"# {line}\n" for line in heading) + "---\n".join(documents)


def snippet(tree: Any) -> list[str]:
    """A part of a policy as lines of YAML."""
    return list(_lines(tree, (), {}))


def _document(policy: Planned) -> Iterator[str]:
    yield from _comment(policy.comments.get((), ()), 0)
    yield from _lines(policy.document, (), policy.comments)


def _comment(lines: Iterable[str], indent: int) -> Iterator[str]:
    yield from (f"{' ' * indent}# {line}" for line in lines)


def _lines(tree: Any, path: Path, comments: dict[Path, tuple[str, ...]]) -> Iterator[str]:
    """The lines of a mapping or list, without indentation of their own."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, dict | list) and value:
                yield f"{scalar(key)}:"
                indent = "  " if isinstance(value, dict) else ""
                yield from (f"{indent}{line}" for line in _lines(value, (*path, key), comments))
            else:
                yield f"{scalar(key)}: {scalar(value)}"
        return
    for number, value in enumerate(tree):
        place = (*path, number)
        yield from _comment(comments.get(place, ()), 0)
        if isinstance(value, dict | list) and value:
            first, *rest = _lines(value, place, comments)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield f"- {scalar(value)}"


def scalar(value: Any) -> str:
    """A value on one line: `{}` and `[]` where it is an empty collection."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and resolve(value) == value else json.dumps(value)
    return json.dumps(value)
