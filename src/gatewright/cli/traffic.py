"""The model file that `plan` and `check` take as their argument, and the files that it extends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewright.intent.model import Traffic

STANDARD_INPUT = "-"


def load(path: str) -> Traffic:
    """The model of a file; `-` is standard input. Raises InvalidInput."""
    from gatewright.intent.include import load_model

    return load_model(path, _text)


def _text(path: str) -> str:
    data = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    return data.decode("utf-8")
