"""Coverage-guided fuzzing of everything that reads objects, with atheris (`uv pip install atheris`).

    python -m tests.fuzz.manifests CORPUS -max_total_time=600

CORPUS is a folder to keep what was found interesting; seeds are written into it first. A crash leaves its input beside
the working directory: it becomes a case of `tests/properties/test_hostile_input.py`.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Write the seeds, then fuzz until libFuzzer's own options say stop."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["gatewright"]):
        from tests.fuzz import property as rules
    folder = Path(next((one for one in arguments[1:] if not one.startswith("-")), "."))
    folder.mkdir(parents=True, exist_ok=True)
    for seed in rules.seeds():
        (folder / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)

    def one_input(data: bytes) -> None:
        rules.check(data)
        rules.check_page(data)

    atheris.Setup(arguments, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
