"""`gatewright lab add-node`, `remove-node`, `stop-node`, `start-node`, `cut`, `heal`: what can happen to machines."""

from __future__ import annotations

from typing import Any

import click

from gatewright.cli.lab_options import TIMEOUT, WAIT, lab_name, settle


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise click.BadParameter(f'"{text}" is no label; write KEY=VALUE', param_hint="--label")
    return key, value


def _say(node: dict[str, Any]) -> None:
    click.echo(f"node {node['name']} is {node['state']}")


@click.command(name="add-node")
@lab_name
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the Node.")
@click.argument("node", required=False, default="")
@WAIT
@TIMEOUT
def add_node(name: str, labels: tuple[str, ...], node: str, waiting: bool, timeout: float) -> None:
    """Add a NODE to a running lab; it is called node-N where no name is given."""
    from gatewright.lab import client
    from gatewright.lab.supervisor.settings import NodeSettings

    _say(client.add_node(name, NodeSettings(node, dict(_pair(text) for text in labels))))
    settle(name, waiting, timeout)


@click.command(name="remove-node")
@lab_name
@click.argument("node")
def remove_node(name: str, node: str) -> None:
    """Take a NODE out of the lab and of the cluster; its pods are made again elsewhere where something makes them."""
    from gatewright.lab import client

    _say(client.remove_node(name, node))


@click.command(name="stop-node")
@lab_name
@click.argument("node")
def stop_node(name: str, node: str) -> None:
    """Take the power of a NODE away: all that runs on it ends at once. The cluster notices as a real one does."""
    from gatewright.lab import client

    _say(client.stop_node(name, node))


@click.command(name="start-node")
@lab_name
@click.argument("node")
@WAIT
@TIMEOUT
def start_node(name: str, node: str, waiting: bool, timeout: float) -> None:
    """Give a stopped NODE power again."""
    from gatewright.lab import client

    _say(client.start_node(name, node))
    settle(name, waiting, timeout)


@click.command()
@lab_name
@click.argument("node")
def cut(name: str, node: str) -> None:
    """Cut a NODE off from the other nodes, the outside and the API; what runs on it goes on."""
    from gatewright.lab import client

    _say(client.cut(name, node))


@click.command()
@lab_name
@click.argument("node", required=False)
def heal(name: str, node: str | None) -> None:
    """Connect a NODE again that was cut off; without a name every one."""
    from gatewright.lab import client

    for one in client.heal(name, node)["nodes"]:
        _say(one)


VERBS = (add_node, remove_node, stop_node, start_node, cut, heal)
