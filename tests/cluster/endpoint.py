"""The API that the tests talk to: the lab's endpoint, in a thread of this process or as a process of its own.

    with endpoint(tmp_path) as api:            # api.kubeconfig, api.url; gone when the block ends
        kubectl(api.kubeconfig, "get", "pods")

With `GATEWRIGHT_TEST_KUBECONFIG` set, `cluster` gives that API server instead, for tests that fit any.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.lab.api.serve import Running, Settings, running

KUBECTL = Path(sys.prefix) / "bin/kubectl"
WAIT = 20.0
"""Seconds for an endpoint to be there or to be gone."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Endpoint:
    """An API that runs. `running` is the endpoint itself where it is in this process."""

    kubeconfig: Path
    url: str = ""
    token: str = ""
    authority: Path | None = None
    running: Running | None = None
    process: subprocess.Popen[str] | None = None

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> Answer:
        """One request with the token; `Accept` and others as keyword arguments."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.token}", "Accept": "application/json", **headers}
        if data is not None:
            given["Content-Type"] = content_type
        request = urllib.request.Request(self.url + path, data, given, method=method)
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=WAIT, context=context) as answer:
                return Answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), dict(error.headers))


@contextlib.contextmanager
def endpoint(folder: Path, **settings: Any) -> Iterator[Endpoint]:
    """The lab's endpoint in a thread, its state in a folder; keyword arguments are fields of its Settings."""
    started: list[Running] = []
    failed: list[BaseException] = []
    loop, stop, there = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def main() -> None:
        async with running(Settings(folder, **settings)) as found:
            started.append(found)
            there.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(main())
        except BaseException as error:  # noqa: BLE001 - told to the test's thread
            failed.append(error)
        finally:
            there.set()
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    there.wait(WAIT)
    if failed:
        raise failed[0]
    found = started[0]
    try:
        keys = found.credentials
        yield Endpoint(found.kubeconfig, found.url, keys.token, keys.authority, found)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT)
        assert not thread.is_alive()


@contextlib.contextmanager
def process(folder: Path, port: int = 0) -> Iterator[Endpoint]:
    """The lab's endpoint as a process of its own, by the command that users type. It is killed when the block ends."""
    command = [sys.executable, "-m", "gatewright", "lab", "api", "serve", "--data", str(folder), "--port", str(port)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stdout
        assert started.stderr
        line = started.stdout.readline()
        assert line.startswith("serving "), line + started.stderr.read()
        token = (folder / "token").read_text()
        yield Endpoint(folder / "kubeconfig", line.split()[1], token, folder / "ca.crt", process=started)
    finally:
        started.kill()
        started.communicate(timeout=WAIT)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """The kubeconfig of the API server that GATEWRIGHT_TEST_KUBECONFIG names, else of the lab's endpoint."""
    if given := os.environ.get("GATEWRIGHT_TEST_KUBECONFIG"):
        yield Path(given)
        return
    with endpoint(folder) as found:
        yield found.kubeconfig


def kubectl(
    kubeconfig: Path, *arguments: str, text: str = "", expected: int | None = 0, namespace: str = "", **environment: str
) -> str:
    """What kubectl prints, errors included; its exit code must be the expected one (None: any)."""
    home = kubeconfig.parent / "home"
    home.mkdir(exist_ok=True)
    given = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(home), **environment}
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(
        [str(KUBECTL), *where, *arguments],
        input=text,
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert expected is None or done.returncode == expected, f"kubectl {' '.join(arguments)}: {done.returncode}\n{said}"
    return said
