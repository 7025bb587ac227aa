"""The property that every input must keep, whatever it is."""

from __future__ import annotations

import json
from pathlib import Path

from gatewright.engine.compile import compile_snapshot
from gatewright.engine.connectivity import connections
from gatewright.engine.exposure import exposures
from gatewright.engine.snapshot import Snapshot
from gatewright.errors import Problem
from gatewright.objects.api import NotAList, Page, read_page
from gatewright.objects.kinds import KINDS
from gatewright.objects.read import Parsed, parse
from gatewright.objects.yaml import documents
from gatewright.sources.render import parse_helm_output

ROOT = Path(__file__).parents[2]
MOST_OBJECTS = 12
"""Objects up to which everything that is allowed is asked for, so that one input costs milliseconds."""


def check(data: bytes) -> None:
    """Read the bytes in every way there is; an exception or a malformed problem is a bug."""
    parsed = parse(data, "fuzz.yaml")
    _check_problems(parsed.problems, "fuzz.yaml:")
    check_objects(parsed)
    piped = parse_helm_output(data, "-")
    _check_problems(piped.problems, "")


def check_page(data: bytes) -> None:
    """The same for an answer of an API server, which can be of every kind."""
    for (group, name), kind in KINDS.items():
        try:
            page: Page = read_page(data, name, kind, f"{group}/{kind.served[0]}", "cluster")
        except NotAList:
            return
        _check_problems(page.problems, "cluster: ")
        check_objects(Parsed(page.objects))


def check_objects(parsed: Parsed) -> None:
    """What was accepted can be answered from."""
    if len(parsed.objects) <= MOST_OBJECTS:
        compiled = compile_snapshot(Snapshot.of(Parsed.merge([parsed]).objects))
        connections(compiled)
        exposures(compiled)


def _check_problems(problems: tuple[Problem, ...], begin: str) -> None:
    for problem in problems:
        text = str(problem)
        assert text.startswith(begin), text
        assert len(text.splitlines()) == 1, text


def seeds() -> list[bytes]:
    """Valid input of every kind, to start from: the scenes of the tests, whole and document by document."""
    scenes = [path.read_bytes() for path in sorted((ROOT / "tests" / "unit" / "cli").glob("*.yaml"))]
    parts = [part for scene in scenes for part in scene.split(b"\n---\n")]
    pages = [b'{"metadata": {"continue": "x"}, "items": [%s]}' % _json(part) for part in parts]
    return [*scenes, *parts, *pages]


def _json(document: bytes) -> bytes:
    return b", ".join(json.dumps(one.tree).encode() for one in documents(document.decode(), "seed"))
