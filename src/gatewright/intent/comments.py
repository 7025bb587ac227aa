"""The comments of a YAML text, by the line they explain.

A comment belongs to the entry right below it. One that a blank line parts from what follows belongs to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence


class Comments:
    """The comment lines of one text."""

    def __init__(self, text: str) -> None:
        self._lines: Sequence[str] = text.splitlines()

    def above(self, line: int) -> tuple[str, ...]:
        """The comment lines right above a line (from 1), without their `#`, in order."""
        found: list[str] = []
        for number in range(line - 2, -1, -1):
            text = self._lines[number].strip()
            if not text.startswith("#"):
                break
            found.append(text.lstrip("#").strip())
        return tuple(one for one in reversed(found) if one)
