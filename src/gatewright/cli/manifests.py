"""The options that name manifests, `-f`, `-R` and `-k`, as every verb takes them, and the reading of what they name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatewright.sources.progress import Progress, unheard

if TYPE_CHECKING:
    from gatewright.objects.read import Parsed

Command = Callable[..., Any]

_ORDER = "gatewright.manifests"


@dataclass(frozen=True, slots=True)
class Place:
    """What one `-f` or `-k` names; `built` is a kustomization that is to be built."""

    path: str
    built: bool = False

    def read(self, recursive: bool = False, progress: Progress = unheard) -> Parsed:
        """The objects that are there."""
        from gatewright.sources.files import read
        from gatewright.sources.render import read_kustomization

        if self.built:
            return read_kustomization(Path(self.path), progress)
        return read((self.path,), recursive, progress=progress)


@dataclass(frozen=True, slots=True)
class Manifests:
    """What a command line names, in its order; the places of one option stand together."""

    places: tuple[Place, ...] = ()
    recursive: bool = False

    def read(self, progress: Progress = unheard) -> Parsed:
        """All of it as one; of an object that stands twice the later one counts."""
        from gatewright.objects.read import Parsed

        return Parsed.merge([place.read(self.recursive, progress) for place in self.places])


def warn(parsed: Parsed) -> None:
    """Tell every warning once, on standard error."""
    for warning in dict.fromkeys(map(str, parsed.warnings)):
        click.echo(f"gatewright: warning: {warning}", err=True)


def _noted(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Keep the values in the order of the command line: click processes the options in that order."""
    places = context.meta.setdefault(_ORDER, [])
    places += [Place(value, built=parameter.name == "kustomizations") for value in values]
    return values


_OPTIONS = (
    click.option(
        "-f",
        "--filename",
        "filenames",
        multiple=True,
        metavar="PATH",
        callback=_noted,
        expose_value=False,
        help="A file or directory of manifests, a Helm chart, or - for standard input. May be given more than once.",
    ),
    click.option("-R", "--recursive", is_flag=True, help="Look into the folders of a directory, too."),
    click.option(
        "-k",
        "--kustomize",
        "kustomizations",
        multiple=True,
        metavar="DIR",
        callback=_noted,
        expose_value=False,
        help="A kustomization, built by kubectl or kustomize. May be given more than once.",
    ),
)


def manifests(command: Command) -> Command:
    """`-f`, `-R` and `-k` as one argument `manifests` (Manifests)."""

    @functools.wraps(command)
    def gathered(*arguments: Any, recursive: bool, **rest: Any) -> Any:
        places = tuple(click.get_current_context().meta.get(_ORDER, ()))
        return command(*arguments, manifests=Manifests(places, recursive), **rest)

    wrapped: Command = gathered
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
