"""The engine at size: compile, the connectivity of everything, single verdicts, memory, and reading manifests.

Each shape runs in a process of its own, so that memory is its own too. Times are the best of three, in seconds. Goals
at 100,000 pods: compile and connectivity together 1 s and 600 MB, one verdict 50 microseconds; 10 MB of manifests read
with every line kept in 1.5 s. Two sorts of manifests are read: a template's, and published ones where they are beside
this checkout.
"""

from __future__ import annotations

import gc
import itertools
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.clusters import SHAPES, objects
from gatewright.cli.main import COLLECT_RARELY
from gatewright.engine.compile import compile_snapshot
from gatewright.engine.connectivity import connectivity
from gatewright.engine.ports import Protocol
from gatewright.engine.snapshot import Snapshot
from gatewright.engine.verdict import verdict
from gatewright.objects.meta import Object
from gatewright.objects.read import parse

T = TypeVar("T")
MANIFEST_BYTES = 10_000_000
CORPUS = Path(__file__).parents[2] / "shared" / "corpus"


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the seconds it took."""
    gc.collect()
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def memory_mb() -> float:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_shape(name: str) -> dict[str, Any]:
    """Everything about one shape."""
    made = objects(SHAPES[name])
    before = memory_mb()
    rounds = [measure_round(made) for _ in range(3)]
    best: dict[str, Any] = {key: min(one[key] for one in rounds) for key in rounds[0]}
    policies = sum(item.kind == "NetworkPolicy" for item in made)
    pods = sum(item.kind == "Pod" for item in made)
    return {"pods": pods, "policies": policies, **best, "memory_mb": memory_mb() - before}


def measure_round(made: list[Object]) -> dict[str, float]:
    """Seconds of each stage on these objects, from the beginning; the verdict in microseconds."""
    snapshot, endpoint_seconds = timed(lambda: Snapshot.of(made))
    endpoints = snapshot.endpoints
    compiled, compile_seconds = timed(lambda: compile_snapshot(snapshot))
    _, connectivity_seconds = timed(lambda: connectivity(compiled, 4))
    chance = random.Random(2)
    pairs = [(chance.choice(endpoints), chance.choice(endpoints)) for _ in range(2000)]
    _, verdict_seconds = timed(lambda: [verdict(compiled, a, b, Protocol.TCP, 8080) for a, b in pairs])
    return {
        "endpoints": endpoint_seconds,
        "compile": compile_seconds,
        "connectivity": connectivity_seconds,
        "verdict_us": verdict_seconds / len(pairs) * 1e6,
    }


def manifest(size: int) -> str:
    """A stream of Deployments, Services and NetworkPolicies of about this many bytes, as people write them."""
    parts, length, number = [], 0, 0
    while length < size:
        parts.append(_TEMPLATE.replace("NUMBER", str(number)))
        length += len(parts[-1])
        number += 1
    return "".join(parts)


_TEMPLATE = """---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-NUMBER
  namespace: shop
  labels:
    app.kubernetes.io/name: app-NUMBER
    app.kubernetes.io/part-of: shop
spec:
  replicas: 3
  selector:
    matchLabels:
      app: app-NUMBER
  template:
    metadata:
      labels:
        app: app-NUMBER
    spec:
      containers:
      - name: main
        image: registry.example/app:1.2.3
        ports:
        - containerPort: 8080
          name: http
        resources:
          limits:
            cpu: 200m
            memory: 128Mi
        readinessProbe:
          httpGet:
            path: /ready
            port: 8080
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: app-NUMBER
  namespace: shop
spec:
  podSelector:
    matchLabels:
      app: app-NUMBER
  policyTypes:
  - Ingress
  ingress:
  - from:
    - podSelector:
        matchLabels:
          app: gateway
    ports:
    - port: 8080
      protocol: TCP
"""


def published(size: int) -> str:
    """Published manifests one after the other, again and again, of about this many bytes; "" where there are none."""
    paths = [path for path in sorted(CORPUS.rglob("*.yaml")) if "templates" not in path.parts]
    texts = [text for text in map(Path.read_text, paths) if "apiVersion:" in text and "kind:" in text]
    parts, length = [], 0
    for text in itertools.cycle(texts):
        parts.append(f"---\n{text}\n")
        length += len(text)
        if length >= size:
            break
    return "".join(parts)


READINGS = {"reading": ("manifests of a template", manifest), "published": ("published manifests", published)}
"""What to read by the name of its run: what it is, and what makes it."""


def measure_reading(name: str) -> dict[str, Any]:
    """Reading about 10 MB of manifests."""
    text = READINGS[name][1](MANIFEST_BYTES)
    took = min(timed(lambda: parse(text, "all.yaml").require())[1] for _ in range(3))
    return {"bytes": len(text), "seconds": took}


def main() -> None:
    """Measure in processes of their own, and print."""
    gc.set_threshold(*COLLECT_RARELY)
    if len(sys.argv) > 1:
        what = sys.argv[1]
        print(json.dumps(measure_reading(what) if what in READINGS else measure_shape(what)))
        return
    columns = ("pods", "policies", "endpoints", "compile", "connectivity", "verdict_us", "memory_mb")
    print(f"{'shape':10}" + "".join(f"{column:>14}" for column in columns))
    for name in (*SHAPES, *READINGS):
        command = [sys.executable, "-m", "benchmarks.engine", name]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if name in READINGS:
            print(f"reading {result['bytes'] / 1e6:.1f} MB, {READINGS[name][0]}: {result['seconds']:.2f} s")
        else:
            print(f"{name:10}" + "".join(f"{result[column]:14.3f}" for column in columns))


if __name__ == "__main__":
    main()
