"""Which two states `diff` compares, and the reading of both.

What stands on the command line tells how they are named: two places in order (paths, or `-f` and `-k`); a revision or a
range, with the places to look at behind `--` or by `-f` and `-k`; or a cluster, which is compared with itself under the
manifests that are named.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from gatewright.cli.given import Sources
from gatewright.cli.manifests import Manifests, Place
from gatewright.objects.read import Parsed
from gatewright.sources.cluster import read_cluster
from gatewright.sources.progress import Progress
from gatewright.sources.proposal import over

HOW = (
    "write `gatewright diff OLD NEW` (kustomizations: -k OLD -k NEW), `gatewright diff REV..REV -- PATH...` for git"
    " revisions, or `gatewright diff --live -f PATH` for a cluster"
)

Pair = tuple[Parsed, Parsed]


def read_states(
    states: Sequence[str], paths: Sequence[str] | None, given: Sources, everything: bool, progress: Progress
) -> Pair:
    """What is to be compared: old, new. `paths` stood behind `--`, None where there was none. Raises UsageError."""
    places = (*given.manifests.places, *(Place(path) for path in paths or ()))
    recursive = given.manifests.recursive
    if given.where is not None:
        if states or paths is not None:
            raise _usage("a cluster is compared with itself under what -f and -k name, nothing else")
        if not places:
            raise _usage("a cluster alone is one state: name what goes over it with -f or -k")
        proposed = given.manifests.read(progress)
        live = read_cluster(given.where, everything=everything, progress=progress)
        return live, over(live, proposed, given.namespace)
    if len(states) == 1 and places:
        return _revisions(states[0], places, recursive, progress)
    if paths is not None:
        raise _usage("one revision or range before -- and paths behind it")
    both = (*map(Place, states), *places)
    if len(both) != 2:
        raise _usage("more than two states" if len(both) > 2 else "one state" if both else "nothing to compare")
    if both[0].path == both[1].path == "-":
        raise _usage("standard input can be one of the two states, not both")
    return both[0].read(recursive, progress), both[1].read(recursive, progress)


def _revisions(text: str, places: Sequence[Place], recursive: bool, progress: Progress) -> Pair:
    """Two revisions, or one and the files as they are. A path may be in one of them alone: it came or went."""
    from gatewright.sources import git

    paths = [place.path for place in places if not place.built]
    built = [place.path for place in places if place.built]
    if "-" in paths:
        raise _usage("standard input is no part of a revision")
    try:
        first, second = git.split_range(text)
        old = git.read(first, paths, recursive, built, progress)
    except git.GitFailed as error:
        if os.path.lexists(text):
            raise _usage(f"{text} is no revision but a path, and so is the other state: name both with -f") from error
        raise
    if second is None:
        there = [place for place in places if os.path.lexists(place.path) or place.path in old.missing]
        return old.parsed, Manifests(tuple(there), recursive).read(progress)
    new = git.read(second, paths, recursive, built, progress)
    if nowhere := [place.path for place in places if place.path in old.missing and place.path in new.missing]:
        raise git.GitFailed(f"neither {first} nor {second} has {', '.join(nowhere)}; paths are those of this directory")
    return old.parsed, new.parsed


def _usage(what: str) -> click.UsageError:
    return click.UsageError(f"{what}; {HOW}")
