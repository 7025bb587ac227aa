"""Progress is seen on a terminal after a second, is gone at the end, and never gets into a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from gatewright.sources.cluster import Where, read_cluster
from gatewright.sources.files import read
from tests.unit.sources.apiserver import ApiServer, kubeconfig, serving
from tests.unit.sources.test_cluster import pod

SLOW = """
import time
from gatewright.cli import progress
progress.PATIENCE = {patience}
with progress.progress("first [words]") as say:
    say("doing [one] thing")
    time.sleep(0.6)
    say("doing [another]")
    time.sleep(0.4)
"""


def on_a_terminal(code: str) -> str:
    """What a program writes to standard error where that is a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux: EIO once nobody holds the other end
                break
            if not piece:
                break
            seen += piece
        assert process.wait(30) == 0
    os.close(ours)
    return seen.decode()


def test_what_takes_long_says_what_it_is_at_and_leaves_no_trace() -> None:
    seen = on_a_terminal(SLOW.format(patience=0.2))
    assert "doing [one] thing ..." in seen
    assert "doing [another] ..." in seen
    assert seen.rstrip().endswith("\x1b[2K"), "the line is erased"


def test_what_is_quick_says_nothing_and_does_not_load_rich() -> None:
    end = "; import sys; assert 'rich' not in sys.modules"
    quick = "with progress.progress('x'): pass\ntime.sleep(0.4)"
    begin = SLOW.partition("with ")[0].format(patience=0.2)
    assert on_a_terminal(f"{begin}{quick}{end}") == ""


def test_nothing_goes_into_a_pipe() -> None:
    code = SLOW.format(patience=0) + "import sys; assert 'rich' not in sys.modules"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_sources_tell_what_they_are_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatewright.sources.cluster.PAGE", 2)
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n")
    told: list[str] = []
    read([str(tmp_path)], progress=told.append)
    assert told == [f"reading {tmp_path}/a.yaml (1 of 2)", f"reading {tmp_path}/b.yaml (2 of 2)"]
    told.clear()
    with serving(ApiServer({"/api/v1/pods": [pod(f"p{n}") for n in range(5)]})) as server:
        read_cluster(Where(str(kubeconfig(tmp_path / "config", server.url))), progress=told.append)
    assert [text for text in told if "pods" in text] == [
        "cluster test: listing pods",
        "cluster test: listing pods, 2 so far",
        "cluster test: listing pods, 4 so far",
    ]


BAR = """
import time
from gatewright.cli import progress
with progress.bar("opening connections", 200) as told:
    told(50)
    time.sleep(0.4)
    told(150)
    time.sleep(0.4)
"""


def test_a_bar_shows_how_much_is_done_and_is_gone_at_the_end() -> None:
    seen = on_a_terminal(BAR)
    assert "opening connections" in seen
    assert " 25%" in seen
    assert "100%" in seen
    assert seen.rstrip().endswith("\x1b[2K"), "the line is erased"
    done = subprocess.run([sys.executable, "-c", BAR], capture_output=True, check=True, timeout=30)
    assert (done.stdout, done.stderr) == (b"", b"")
