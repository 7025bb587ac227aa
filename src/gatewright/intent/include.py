"""Several teams' files as one model: what a file extends is read with it, and every name is known once.

Paths are relative to the file that names them. A file that two others extend is read once. A file that extends itself
over others is a fault that names the whole way round. Files are read by a function that is passed in.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gatewright.errors import Problem
from gatewright.intent.fields import nearest
from gatewright.intent.model import Component, Outside, Traffic
from gatewright.intent.read import Include, ModelFile, read_model
from gatewright.objects.origin import Origin

Reader = Callable[[str], str]
"""The text of a file by its path. Raises OSError or UnicodeDecodeError."""


def load_model(path: str, read: Reader) -> Traffic:
    """The model of a file and of all that it extends, with everything that is wrong with them."""
    loading = _Loading(read)
    loading.load(path, (), None)
    files = list(loading.files.values())
    problems = [*loading.problems, *(problem for file in files for problem in file.traffic.problems)]
    traffic = _merged([file.traffic for file in files], problems)
    names = [file.names for file in files if file.names is not None]
    # A name is only surely unknown when the names of every file are known.
    if loading.is_whole and len(names) == len(files):
        problems += _unknown_names(traffic, frozenset().union(*names))
    problems += _between_outsiders(traffic)
    return replace(traffic, problems=tuple(problems))


@dataclass
class _Loading:
    """The files met so far: those that stand first count first where only one may say something (`dns`)."""

    read: Reader
    files: dict[str, ModelFile] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    is_whole: bool = True
    """Whether every file could be read."""

    def load(self, path: str, way: tuple[str, ...], include: Include | None) -> None:
        """Read a file and what it extends. `way` leads from the first file to the one that extends it."""
        where = str(include.entry.origin) if include else path
        if path in way:
            circle = " -> ".join((*way[way.index(path) :], path))
            self.problems.append(Problem(where, f"extends: the files extend each other: {circle}; take one line out"))
            return
        if path in self.files:
            return
        try:
            text = self.read(path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._unread(where, f"{path} cannot be read: {reason}" if include else reason)
            return
        except UnicodeDecodeError:
            self._unread(path, "not YAML: the text is not UTF-8")
            return
        self.files[path] = read_model(text, path)
        for one in self.files[path].includes:
            following = posixpath.normpath(posixpath.join(posixpath.dirname(path), one.path))
            self.load(following, (*way, path), one)

    def _unread(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))
        self.is_whole = False


def _merged(parts: list[Traffic], problems: list[Problem]) -> Traffic:
    named: dict[str, Component | Outside] = {}
    for part in parts:
        parties: tuple[Component | Outside, ...] = (*part.components, *part.outside)
        for one in parties:
            first = named.setdefault(one.name, one)
            if first is not one:
                what = f"{one.name}: the name is taken at {first.entry.origin}; choose another"
                problems.append(Problem(str(one.entry.origin), what))
    said = [part for part in parts if part.dns or not part.uses_dns]
    return Traffic(
        parts[0].origin if parts else Origin("", 0),
        components=tuple(one for one in named.values() if isinstance(one, Component)),
        outside=tuple(one for one in named.values() if isinstance(one, Outside)),
        flows=tuple(flow for part in parts for flow in part.flows),
        never=tuple(flow for part in parts for flow in part.never),
        dns=said[0].dns if said else None,
        uses_dns=said[0].uses_dns if said else True,
    )


def _unknown_names(traffic: Traffic, names: frozenset[str]) -> list[Problem]:
    problems = []
    for flow in (*traffic.flows, *traffic.never):
        for name in dict.fromkeys((flow.source, flow.destination)):
            if name not in names:
                known = nearest(name, names) or f" (there are: {', '.join(sorted(names)) or 'none'})"
                what = f"{flow}: there is no component or outside party {name!r}{known}"
                problems.append(Problem(str(flow.entry.origin), what))
    return problems


def _between_outsiders(traffic: Traffic) -> list[Problem]:
    outer = {one.name for one in traffic.outside}
    what = "both sides are outside; a flow begins or ends at a component"
    return [
        Problem(str(flow.entry.origin), f"{flow}: {what}")
        for flow in (*traffic.flows, *traffic.never)
        if flow.source in outer and flow.destination in outer
    ]
