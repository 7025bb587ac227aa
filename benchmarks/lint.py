"""Lint at size: every rule over 10,000 policies on 100,000 pods, after loading.

Goal: 3 s. *Compile* is the engine's share, which every verb pays; *rules* is the rest. Each figure is the best of
three, in seconds, each shape in a process of its own. `--by-rule` lists the slowest rules.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks.clusters import SHAPES, objects
from gatewright.cli.main import COLLECT_RARELY
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.snapshot import Snapshot
from gatewright.findings.lint import lint
from gatewright.findings.registry import RULES
from gatewright.findings.survey import Survey
from gatewright.objects.read import Parsed

MEASURED = ("small", "company", "largest")


def measure(name: str) -> dict[str, Any]:
    """Seconds of the run, and how much it found."""
    parsed = Parsed(tuple(objects(SHAPES[name])))
    rounds = []
    for _ in range(3):
        gc.collect()
        begin = time.perf_counter()
        compile_snapshot(Snapshot.of(parsed.objects))
        compiled = time.perf_counter()
        report = lint(parsed)
        rounds.append((time.perf_counter() - compiled, compiled - begin, len(report.findings)))
    total, compiling, found = min(rounds)
    policies = sum(item.kind == "NetworkPolicy" for item in parsed.objects)
    return {"policies": policies, "findings": found, "compile": compiling, "rules": total - compiling, "total": total}


def by_rule(name: str) -> list[tuple[float, str, int]]:
    """(seconds, id, findings) of each rule, the slowest first."""
    survey = Survey(compile_snapshot(Snapshot.of(objects(SHAPES[name]))))
    rows = []
    for ident, rule in RULES.items():
        begin = time.perf_counter()
        found = len(list(rule.findings(survey)))
        rows.append((time.perf_counter() - begin, ident, found))
    return sorted(rows, reverse=True)


def main() -> None:
    """Measure in processes of their own, and print."""
    gc.set_threshold(*COLLECT_RARELY)
    if sys.argv[1:2] == ["--by-rule"]:
        for seconds, ident, found in by_rule(sys.argv[2] if len(sys.argv) > 2 else "largest")[:12]:
            print(f"{ident} {seconds:8.3f} s {found:8}")
        return
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    columns = ("policies", "findings", "compile", "rules", "total")
    print(f"{'shape':10}" + "".join(f"{column:>12}" for column in columns))
    for name in MEASURED:
        command = [sys.executable, "-m", "benchmarks.lint", name]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        cells = [f"{result[column]:12.2f}" if column in columns[2:] else f"{result[column]:12}" for column in columns]
        print(f"{name:10}" + "".join(cells))


if __name__ == "__main__":
    main()
