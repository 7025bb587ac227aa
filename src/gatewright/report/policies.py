"""Planned policies as YAML with comments, as `kubectl create -f -` takes it.

Fields stand in the order of the document. A text is quoted only where YAML, read as kubectl reads it, would make
something else of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from gatewright.intent.plan import Planned
from gatewright.objects.origin import Path
from gatewright.objects.scalars import resolve

Comments = Mapping[Path, tuple[str, ...]]
_PLAIN = re.compile(r"[A-Za-z0-9/.][A-Za-z0-9_./-]*|[A-Za-z0-9/.:][A-Za-z0-9_./:-]*[A-Za-z0-9_/.-]")


def to_yaml(policies: Iterable[Planned], heading: Iterable[str] = ()) -> str:
    """The policies, a document each. `heading` are lines of comment above all."""
    documents = ["\n".join([*_comment(one.comments.get(()), ""), *_lines(one)]) for one in policies]
    above = "".join(f"# {line}\n" for line in heading)
    return above + "\n---\n".join(documents) + ("\n" if documents else "")


def snippet(tree: Any) -> list[str]:
    """A part of a policy as lines of YAML."""
    lines: list[str] = []
    _write(tree, "", (), {}, lines)
    return lines


def _lines(policy: Planned) -> list[str]:
    lines: list[str] = []
    _write(policy.document, "", (), policy.comments, lines)
    return lines


def _comment(lines: Iterable[str] | None, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in lines or ()]


def _write(tree: Any, indent: str, path: Path, comments: Comments, lines: list[str]) -> None:
    """Append the lines of a mapping or list to `lines`."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, dict | list) and value:
                lines.append(f"{indent}{scalar(key)}:")
                below = f"{indent}  " if isinstance(value, dict) else indent
                _write(value, below, (*path, key), comments, lines)
            else:
                lines.append(f"{indent}{scalar(key)}: {scalar(value)}")
        return
    for number, value in enumerate(tree):
        lines += _comment(comments.get((*path, number)), indent)
        if isinstance(value, dict | list) and value:
            first = len(lines)
            _write(value, f"{indent}  ", (*path, number), comments, lines)
            lines[first] = f"{indent}- {lines[first].removeprefix(indent).removeprefix('  ')}"
        else:
            lines.append(f"{indent}- {scalar(value)}")


def scalar(value: Any) -> str:
    """A value on one line: `{}` and `[]` where it is an empty collection."""
    return _text(value) if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=4096)
def _text(value: str) -> str:
    return value if _PLAIN.fullmatch(value) and resolve(value) == value else json.dumps(value)
