"""The model file that `plan` and `check` take as their argument, and the files that it extends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewright.cli.given import Given, Sources
    from gatewright.intent.model import Traffic

STANDARD_INPUT = "-"


def load(path: str) -> Traffic:
    """The model of a file, `-` is standard input, with everything that is wrong with it: `bind` refuses it then."""
    from gatewright.intent.include import load_model

    return load_model(path, _text)


def beside(wanted: Traffic, given: Sources) -> Given:
    """The objects that go with a model. Raises InvalidInput with what is wrong with both, where none could be read."""
    from gatewright.errors import InvalidInput

    try:
        return given.load()
    except InvalidInput as error:
        raise InvalidInput((*wanted.problems, *error.problems)) from error


def _text(path: str) -> str:
    data = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    return data.decode("utf-8")
