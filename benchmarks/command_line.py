"""How long a user waits: `gatewright --help`, `list` and `explain` on the three-tier application, whole processes.

Runs are interleaved with an empty Python process, so that a busy machine shows in all of them; the middle and the best
of each are printed in milliseconds. Goals: `--help` 100 ms, `list` 250 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
GATEWRIGHT = str(Path(sys.executable).parent / "gatewright")
EXAMPLE = str(ROOT / "examples" / "three-tier")
COMMANDS = {
    "python (nothing)": [sys.executable, "-c", "pass"],
    "gatewright --help": [GATEWRIGHT, "--help"],
    "gatewright list": [GATEWRIGHT, "list", "-R", "-f", EXAMPLE],
    "gatewright explain": [GATEWRIGHT, "explain", "web", "db", "3306", "-R", "-f", EXAMPLE],
}
ROUNDS = 15


def milliseconds(command: list[str]) -> float:
    """The wall time of one run."""
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    """Measure and print."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            took = milliseconds(command)
            if round_number:  # the first round fills caches
                times[name].append(took)
    print(f"{'command':22} {'median ms':>10} {'best ms':>8}")
    for name, values in times.items():
        print(f"{name:22} {statistics.median(values):10.0f} {min(values):8.0f}")


if __name__ == "__main__":
    main()
