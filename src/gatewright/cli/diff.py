"""`gatewright diff`: which connections a change of manifests adds, removes and changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from gatewright.cli import options
from gatewright.engine.compile import Compiled, compile_snapshot
from gatewright.engine.connectivity import connections
from gatewright.engine.difference import difference
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.view import Answer, by_pod, by_workload, telling_labels
from gatewright.errors import InvalidInput
from gatewright.objects.read import Parsed
from gatewright.report import formats
from gatewright.sources.files import read

PATHS = "gatewright.paths"
HOW = "write `gatewright diff OLD NEW`, or `gatewright diff REV..REV -- PATH...` for git revisions"


class WithPaths(click.Command):
    """A command that keeps what stands behind `--` apart, as git does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave the paths in `ctx.meta`, and parse the rest."""
        if "--" in args:
            place = args.index("--")
            ctx.meta[PATHS] = tuple(args[place + 1 :])
            args = args[:place]
        return super().parse_args(ctx, args)


@click.command("diff", cls=WithPaths)
@click.argument("states", nargs=-1, required=True, metavar="OLD NEW | REV[..REV] -- PATH...")
@click.option("-R", "--recursive", is_flag=True, help="Look into the folders of a directory, too.")
@options.by
@options.pod_cidrs
@click.option("--keep-going", is_flag=True, help="Exit with the answer's code although something could not be read.")
@options.output(*options.FORMATS)
@click.pass_context
def command(
    context: click.Context,
    states: tuple[str, ...],
    recursive: bool,
    by: str,
    pod_cidrs: tuple[str, ...],
    keep_going: bool,
    output: str,
) -> None:
    """Show the connections that a change of manifests adds (+), removes (-) and changes (~).

    OLD and NEW are files or directories. With git revisions the paths stand behind --; a single revision is compared
    with the files as they are now, REV...REV starts where the second left the first.
    Exits with 0 when nothing differs and with 1 when something does.

    \b
      gatewright diff before/ after/
      gatewright diff main..HEAD -- manifests/
      gatewright diff HEAD -- manifests/ -o md
    """
    pair = _read(states, context.meta.get(PATHS), recursive)
    problems = [problem for parsed in pair for problem in parsed.problems]
    for warning in dict.fromkeys(str(warning) for parsed in pair for warning in parsed.warnings):
        click.echo(f"gatewright: warning: {warning}", err=True)
    if any(parsed.problems and not parsed.objects for parsed in pair):
        raise InvalidInput(dict.fromkeys(problems))
    for problem in dict.fromkeys(problems):
        click.echo(f"gatewright: {problem}", err=True)
    old, new = _answers([compile_snapshot(Snapshot.of(one.objects, pod_cidrs=pod_cidrs)) for one in pair], by)
    found = difference(old.view, new.view)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    click.echo(formats.difference(found, old, new, output, colour=colour), nl=False, color=colour)
    sys.exit(2 if problems and not keep_going else 1 if found else 0)


def _read(states: Sequence[str], paths: tuple[str, ...] | None, recursive: bool) -> tuple[Parsed, Parsed]:
    """What stands at OLD and NEW, or in the revisions."""
    if paths is not None:
        if len(states) != 1 or not paths:
            raise click.UsageError(f"one revision or range before -- and paths behind it; {HOW}")
        return _revisions(states[0], paths, recursive)
    if len(states) != 2:
        raise click.UsageError(f"{'one state' if len(states) == 1 else 'more than two states'}; {HOW}")
    if states[0] == states[1] == "-":
        raise click.UsageError("standard input can be one of the two states, not both")
    return read(states[:1], recursive), read(states[1:], recursive)


def _revisions(text: str, paths: tuple[str, ...], recursive: bool) -> tuple[Parsed, Parsed]:
    """Two revisions, or one and the files as they are. A path may be in one of them alone: it came or went."""
    from gatewright.sources import git

    first, second = git.split_range(text)
    old = git.read(first, paths, recursive)
    if second is None:
        there = tuple(path for path in paths if os.path.lexists(path) or path in old.missing)
        return old.parsed, read(there, recursive)
    new = git.read(second, paths, recursive)
    if nowhere := [path for path in paths if path in old.missing and path in new.missing]:
        raise git.GitFailed(f"neither {first} nor {second} has {', '.join(nowhere)}; paths are those of this directory")
    return old.parsed, new.parsed


def _answers(pair: Sequence[Compiled], by: str) -> tuple[Answer, Answer]:
    """Both states in one view: a workload that one of them tells apart is told apart in both."""
    rows = [connections(compiled) for compiled in pair]
    if by == "pod":
        views = [by_pod(*one) for one in zip(pair, rows, strict=True)]
    else:
        views = [by_workload(*one) for one in zip(pair, rows, strict=True)]
        telling = telling_labels(views[0])
        for key, labels in telling_labels(views[1]).items():
            telling[key] = telling.get(key, frozenset()) | labels
        if telling:
            views = [by_workload(*one, telling) for one in zip(pair, rows, strict=True)]
    old, new = (Answer(compiled, view) for compiled, view in zip(pair, views, strict=True))
    return old, new
