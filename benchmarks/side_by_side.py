"""One question put to Gatewright, to network-config-analyzer and to the tests' reference evaluator: what is allowed?

Each reads the same manifest file and prints every allowed connection between its workloads and with addresses outside.
A program runs in a process of its own; its clock starts when its modules are imported and stops when the answer is
written, so that reading counts and starting Python does not. Rounds are interleaved; a ratio is the median of the
ratios within each round, above 1 where Gatewright is the faster. *engine* is Gatewright's engine alone, class by class,
before anything is expanded to pairs and written. The answers are compared too: places that differ are counted, and
`--differences` shows each.

A program that took longer than `PATIENCE` seconds is asked once; one that passed `LIMIT` is not asked about larger
clusters of that series. Where network-config-analyzer cannot be installed its columns stay empty.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.clusters import Shape, manifests
from benchmarks.connection_lines import Answer, analyzer_traffic, differences, gatewright_traffic, parse, said
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.connectivity import connectivity
from gatewright.engine.ports import PortSet
from gatewright.engine.snapshot import Snapshot
from gatewright.objects.read import parse as parse_manifests

ROOT = Path(__file__).parent.parent
QUESTIONS = Path(__file__).with_suffix(".yaml")
CORPUS = ROOT.parent / "shared" / "corpus"
ANALYZER = ROOT / ".benchmarks" / "side-by-side" / "bin" / "python"
POD_RANGE = "10.0.0.0/15"
"""Where the generator's pods have their addresses."""
ROUNDS, PATIENCE, LIMIT = 5, 10, 60
KINDS = {
    *("Namespace", "NetworkPolicy", "Pod", "Deployment", "StatefulSet", "DaemonSet"),
    *("ReplicaSet", "ReplicationController", "Job", "CronJob"),
}
"""What decides the answer. The rest is left out of the files, so that no program is timed on what it need not read."""
CLOCK = """
import importlib, sys, time
(entry, *modules), arguments = sys.argv[1].split(","), sys.argv[2:]
place, _, function = entry.partition(":")
for module in (*modules, place):
    importlib.import_module(module)
begin = time.perf_counter()
try:
    getattr(sys.modules[place], function)(arguments)
finally:
    sys.stdout.flush()
    print("seconds", time.perf_counter() - begin, file=sys.stderr)
"""


@dataclass(frozen=True)
class Program:
    """Something that answers: its interpreter, its entry point and what to import first, how to read its lines."""

    name: str
    python: Path
    entry: str
    arguments: Callable[[Path], list[str]]
    traffic: Callable[[str], PortSet]


GATEWRIGHT = Program(
    "Gatewright",
    Path(sys.executable),
    "gatewright.cli.main:main,gatewright.cli.list",
    lambda file: ["list", "-f", str(file), "--pod-cidr", POD_RANGE],
    gatewright_traffic,
)
OTHERS = (
    Program(
        "analyzer",
        ANALYZER,
        "nca.nca_cli:nca_main",
        lambda file: ["--connectivity", "--resource_list", str(file), "--output_format", "txt_no_fw_rules"],
        analyzer_traffic,
    ),
    Program(
        "reference",
        Path(sys.executable),
        "benchmarks.reference_map:main",
        lambda file: [str(file), POD_RANGE],
        gatewright_traffic,
    ),
)


@dataclass(frozen=True)
class Case:
    """A question: its name, the manifests, and the series of growing clusters that it belongs to, if any."""

    name: str
    text: str
    series: str = ""


@dataclass
class Course:
    """What one program did in the rounds of one case: the seconds of each, its answer, why there is none."""

    seconds: list[float] = field(default_factory=list)
    answer: Answer | None = None
    failure: str = ""


def main() -> None:
    """Ask, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--differences", action="store_true", help="show every difference between the answers")
    parser.add_argument("--only", default="", help="only the cases with this word in their names")
    options = parser.parse_args()
    others = [program for program in OTHERS if program.python != ANALYZER or analyzer_is_there()]
    print(heading())
    gave_up: set[tuple[str, str]] = set()
    for case in (case for case in cases() if options.only in case.name):
        asked = [program for program in others if (program.name, case.series) not in gave_up]
        courses = ask(case, [GATEWRIGHT, *asked])
        gave_up |= {(name, case.series) for name, course in courses.items() if case.series and course.failure}
        print(row(case, courses), flush=True)
        for line in remarks(courses, options.differences):
            print(f"    {line}")


def analyzer_is_there() -> bool:
    """Whether network-config-analyzer is installed, or can be now."""
    if subprocess.run([ROOT / "scripts" / "setup", "side-by-side"], check=False).returncode == 0:
        return True
    print("network-config-analyzer cannot be installed (see above): its columns stay empty")
    return False


def cases() -> Iterator[Case]:
    """Questions that divide, the example, real applications where they are at hand, generated clusters that grow."""
    yield Case("questions", published(QUESTIONS))
    yield Case("three-tier", published(ROOT / "examples" / "three-tier"))
    if CORPUS.is_dir():
        shop, boutique = CORPUS / "sock-shop" / "deploy" / "kubernetes", CORPUS / "online-boutique"
        yield Case("voting-app", published(CORPUS / "voting-app"))
        yield Case("sock-shop", published(shop / "manifests", shop / "manifests-policy"))
        policies = boutique / "kustomize" / "components" / "network-policies"
        yield Case("online-boutique", published(boutique / "release", policies))
        yield Case("argo-cd", published(CORPUS / "argo-cd" / "manifests" / "install.yaml"))
        yield Case("kube-prometheus", published(CORPUS / "kube-prometheus" / "manifests"))
    else:
        print(f"no corpus of real applications at {CORPUS}: only the example and generated clusters")
    for pods in (50, 100, 200, 400, 800, 1600):
        yield Case(f"{pods} pods", manifests(shape(pods)), "pods")
    for pods in (400, 800, 1600, 3200):
        yield Case(f"{pods} as Deployments", manifests(shape(pods), workloads=True), "workloads")


def shape(pods: int) -> Shape:
    """A cluster of the generator's usual proportions."""
    return Shape(pods=pods, namespaces=max(1, pods // 50), policies=pods // 5)


def published(*paths: Path) -> str:
    """The objects of published manifests that decide the answer, as one stream.

    policyTypes come in one order, since network-config-analyzer refuses `[Egress, Ingress]`, which the API accepts.
    """
    found = []
    for path in paths:
        files = [path] if path.is_file() else sorted((*path.rglob("*.yaml"), *path.rglob("*.yml")))
        for file in files:
            documents = yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)
            found += [in_order(one) for one in documents if one and one.get("kind") in KINDS]
    return yaml.dump_all(found, Dumper=yaml.CSafeDumper, sort_keys=False)


def in_order(document: dict[str, Any]) -> dict[str, Any]:
    """The document, a policy with Ingress before Egress."""
    types = document.get("spec", {}).get("policyTypes")
    return {**document, "spec": {**document["spec"], "policyTypes": sorted(types, reverse=True)}} if types else document


def ask(case: Case, programs: list[Program]) -> dict[str, Course]:
    """Put one question to the programs in turn, round by round."""
    courses = {program.name: Course() for program in programs}
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "manifests.yaml")
        file.write_text(case.text)
        for number in range(ROUNDS):
            for program in programs:
                course = courses[program.name]
                if not course.failure and (number == 0 or course.seconds[0] <= PATIENCE):
                    run(program, file, course)
    return courses


def run(program: Program, file: Path, course: Course) -> None:
    """One run, added to its course."""
    command = [str(program.python), "-c", CLOCK, program.entry, *program.arguments(file)]
    output = file.parent / program.name
    with output.open("w") as stream:
        try:
            done = subprocess.run(
                command, cwd=ROOT, check=False, stdout=stream, stderr=subprocess.PIPE, text=True, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            course.failure = f"longer than {LIMIT} s"
            return
    *messages, clock = done.stderr.splitlines()
    if done.returncode:
        course.failure = messages[-1] if messages else f"exit code {done.returncode}"
        return
    course.seconds.append(float(clock.removeprefix("seconds ")))
    if course.answer is None:
        with output.open() as lines:
            course.answer = parse(lines, program.traffic)


def heading() -> str:
    """The names of the columns."""
    columns = "".join(f"{program.name + ' s':>14}{'ratio':>8}{'differ':>8}" for program in OTHERS)
    return f"{'case':22}{'answers':>9}{'engine s':>10}{'Gatewright s':>14}{columns}"


def row(case: Case, courses: dict[str, Course]) -> str:
    """One line of the table."""
    own = courses[GATEWRIGHT.name]
    text = f"{case.name:22}{len(own.answer or ()):>9}{engine_seconds(case):>10.3f}{median(own.seconds):>14}"
    for program in OTHERS:
        course = courses.get(program.name, Course())
        ratio = median([theirs / ours for theirs, ours in zip(course.seconds, own.seconds, strict=False)], 1)
        differ = "" if own.answer is None or course.answer is None else len(differences(own.answer, course.answer))
        text += f"{median(course.seconds):>14}{ratio:>8}{differ:>8}"
    return text


def engine_seconds(case: Case) -> float:
    """What the engine alone takes of it, class by class: compiling, and the connectivity of everything; the best."""
    objects = parse_manifests(case.text, case.name).require()
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        connectivity(compile_snapshot(Snapshot.of(objects, pod_cidrs=[POD_RANGE])), 4)
        taken.append(time.perf_counter() - begin)
    return min(taken)


def median(values: list[float], digits: int = 3) -> str:
    """The median, or nothing of nothing."""
    return f"{statistics.median(values):.{digits}f}" if values else "-"


def remarks(courses: dict[str, Course], every_difference: bool) -> Iterator[str]:
    """Who gave no answer and why; which of two that differ the reference sides with; if asked, every difference."""
    own, reference = (courses.get(name, Course()).answer for name in (GATEWRIGHT.name, "reference"))
    for name, course in courses.items():
        if course.failure:
            yield f"{name}: {course.failure}"
        if own is None or course.answer is None or name == GATEWRIGHT.name:
            continue
        places = sorted(differences(own, course.answer))
        if places and reference and course.answer is not reference:
            with_us = len(set(places) - differences(own, reference))
            yield f"{name} differs in {len(places)}; in {with_us} of them the reference says what Gatewright says"
        for place in places if every_difference else ():
            yield f"{' / '.join(place)}: Gatewright {said(own, place)}; {name} {said(course.answer, place)}"


if __name__ == "__main__":
    main()
