"""`gatewright lab api`: a Kubernetes-compatible endpoint on this machine. Parses, calls, prints."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import click


@click.group(name="api")
def command() -> None:
    """Serve the Kubernetes API on this machine, for kubectl and client libraries.

    The endpoint keeps objects as a cluster's API server does, validates them in its words, and tells watchers of every
    change. It runs without root and without a container engine, and is reached from this machine alone.
    """


def _state() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "gatewright/api"


@command.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Where its state is.  [default: in ~/.local/state]"
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: one that is free.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the kubeconfig.  [default: kubeconfig in --data]",
)
def serve(data: Path | None, port: int, kubeconfig: Path | None) -> None:
    """Serve until interrupted. Once requests are answered, prints how to use the endpoint.

    State survives a restart and a kill at any moment: what was acknowledged is there again.
    """
    from gatewright.lab.errors import LabError

    try:
        from gatewright.lab.api.serve import Running, Settings
        from gatewright.lab.api.serve import serve as run
    except ModuleNotFoundError as error:
        raise LabError(f"the endpoint needs {error.name}: pip install 'gatewright[lab]'") from error

    def ready(endpoint: Running) -> None:
        click.echo(f"serving {endpoint.url}\nexport KUBECONFIG={endpoint.kubeconfig.resolve()}")

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(Settings(data or _state(), port, kubeconfig), ready, stop)

    asyncio.run(main())
