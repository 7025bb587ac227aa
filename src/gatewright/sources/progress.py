"""How a source tells what it is at: one callable that takes a few words, so that no source knows what a terminal is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Takes what is being done now (`pods: 1500 listed`). Called often, so it must return at once."""


def unheard(_: str) -> None:
    """The progress that nobody follows."""
