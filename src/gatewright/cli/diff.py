"""`gatewright diff`: which connections a change of manifests adds, removes and changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from gatewright.cli import options
from gatewright.cli.asked import Asked, filters
from gatewright.cli.given import Sources, any_sources
from gatewright.cli.progress import progress
from gatewright.cli.states import read_states
from gatewright.engine.compile import Compiled
from gatewright.engine.connectivity import connections
from gatewright.engine.difference import difference
from gatewright.engine.view import Answer, by_pod, by_workload, telling_labels
from gatewright.report import formats

PATHS = "gatewright.paths"


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
@click.argument("states", nargs=-1, metavar="[OLD NEW | REV[..REV] -- PATH...]")
@any_sources
@options.by
@filters
@options.pod_cidrs
@options.output(*options.FORMATS)
@click.pass_context
def command(
    context: click.Context,
    states: tuple[str, ...],
    given: Sources,
    by: str,
    asked: Asked,
    pod_cidrs: tuple[str, ...],
    output: str,
) -> None:
    """Show the connections that a change adds (+), removes (-) and changes (~).

    OLD and NEW are files, directories or Helm charts; kustomizations are named with -k. With git revisions, what to
    look at stands behind -- or is named with -f and -k; a single revision is compared with the files as they are now,
    REV...REV starts where the second left the first. A cluster (--live, --context, --kubeconfig) is compared with
    itself as it would be with the manifests applied.
    Exits with 0 when nothing differs and with 1 when something does.

    \b
      gatewright diff before/ after/
      gatewright diff -k overlays/staging -k overlays/production
      gatewright diff main..HEAD -- manifests/
      gatewright diff HEAD -k overlays/production -o md
      gatewright diff --live -f proposed/ --to deploy/db
    """
    with progress("reading") as say:
        pair = read_states(states, context.meta.get(PATHS), given, asked.everything, say)
    namespace = given.namespace
    loaded = given.tell(pair, namespace)
    compiled = [one.compiled(pod_cidrs) for one in loaded]
    kept = asked.filter(compiled, namespace)
    with progress("comparing what is allowed"):
        old, new = _answers(compiled, by)
        found = difference(old.view, new.view)
        if kept:
            found = kept.changes(found, old.view, new.view)
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        text = formats.difference(found, old, new, output, colour=colour)
    click.echo(text, nl=False, color=colour)
    loaded[0].finish(1 if found else 0)


def _answers(pair: Sequence[Compiled], by: str) -> tuple[Answer, Answer]:
    """Both states in one view: a workload that one of them tells apart is told apart in both."""
    if by == "pod":
        views = [by_pod(compiled, connections(compiled)) for compiled in pair]
    else:
        views = [by_workload(compiled) for compiled in pair]
        telling = telling_labels(views[0])
        for key, labels in telling_labels(views[1]).items():
            telling[key] = telling.get(key, frozenset()) | labels
        if telling:
            views = [by_workload(compiled, telling) for compiled in pair]
    old, new = (Answer(compiled, view) for compiled, view in zip(pair, views, strict=True))
    return old, new
