"""One lab from the inside: the namespaces, the machines in them, and their components; what is asked of it meanwhile.

One thread and one selector. The calling process is the first of the lab's PID namespace, and its network namespace is
the fabric; when it ends, the kernel ends every other process and with them the whole lab.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import select
import selectors
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from gatewright.errors import GatewrightError
from gatewright.lab.directory import MachineDirectory
from gatewright.lab.errors import LabError
from gatewright.lab.network import relay
from gatewright.lab.network.fabric import Fabric
from gatewright.lab.network.namespaces import new_namespace, own_namespace
from gatewright.lab.network.outside import make_outside
from gatewright.lab.network.plan import (
    API_PORT,
    FABRIC_ADDRESSES,
    OUTSIDE,
    OUTSIDE_ADDRESSES,
    node_addresses,
    of_families,
)
from gatewright.lab.supervisor import components, foreign
from gatewright.lab.supervisor.children import Child, Children
from gatewright.lab.supervisor.components import Site
from gatewright.lab.supervisor.control import Answer, Control
from gatewright.lab.supervisor.settings import NodeSettings, require_node_name
from gatewright.lab.supervisor.wire import Message

_IDLE = 5.0
"""Seconds between looks at whether the lab can still be reached."""
_API_WITHIN = 30.0
NODE_COMPONENTS = ("runtime", "kubelet", "proxy", "agent")


@dataclass(slots=True)
class Machine:
    """A node, or the host outside. `number` is its place on the fabric, 0 of the outside host."""

    name: str
    number: int
    network: int
    directory: MachineDirectory
    settings: NodeSettings
    children: list[Child] = field(default_factory=list)
    cut: bool = False

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return bool(self.children)


class Lab:
    """One lab. `start` brings it up, `run` answers until its directory is gone."""

    def __init__(self, site: Site, api_socket: socket.socket) -> None:
        """`api_socket` listens where the machine's users reach the API; with an API elsewhere it leads to the relay."""
        self._site = site
        self._api_socket = api_socket
        self._children = Children()
        self._machines: dict[str, Machine] = {}
        self._network = own_namespace()
        self._fabric = Fabric(self._network, site.families)

    def start(self) -> None:
        """Make the network and start everything. Raises GatewrightError, OSError."""
        self._fabric.set_up()
        _share_what_is_there()
        if self._site.settings.api:
            foreign.hand_over(self._api_socket, relay.listen(str(FABRIC_ADDRESSES[0]), API_PORT))
        else:
            self._start_api()
        components.warm_up(self._site)
        _share_what_is_there()
        if self._site.settings.controllers:
            self._component("controllers", partial(components.run_controllers_of, self._site), self._network)
        for node in self._site.settings.nodes:
            self._add_node(node)
        self._add_outside()

    def run(self, listener: socket.socket) -> None:
        """Answer requests, as long as the control socket is where it was: a lab that nobody can reach ends."""
        place = _identity(self._site.directory.socket)
        selector = selectors.DefaultSelector()
        wake, wakeup = socket.socketpair()
        for end in (wake, wakeup):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        selector.register(wake, selectors.EVENT_READ)
        control = Control(listener, selector, self._answer)
        logs_due = 0.0
        while _identity(self._site.directory.socket) == place:
            self._children.reap()
            self._children.restart_due()
            if time.monotonic() >= logs_due:
                self._children.cut_logs()
                logs_due = time.monotonic() + _IDLE
            due = self._children.next_due()
            patience = _IDLE if due is None else max(0.0, min(_IDLE, due - time.monotonic()))
            for key, _ in selector.select(min(patience, 1.0) if control.busy else patience):
                if key.fileobj is wake:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
                else:
                    control.hear(key)
            control.forget_slow()

    # --- the parts ------------------------------------------------------------------------------------------------

    def _component(
        self,
        name: str,
        run: Callable[[], None],
        network: int,
        *,
        keep: tuple[int, ...] = (),
        after: Child | None = None,
    ) -> Child:
        log = self._site.directory.logs / f"{name.replace('/', '-')}.log"
        child = Child(name, run, network, log, keep=keep, after=after)
        self._children.start(child)
        return child

    def _start_api(self) -> None:
        told, tell = os.pipe()
        run = partial(components.serve_api, self._site, self._api_socket, tell)
        child = self._component("api", run, self._network, keep=(self._api_socket.fileno(), tell))
        os.close(tell)
        child.run = partial(components.serve_api, self._site, self._api_socket, None)
        child.keep = (self._api_socket.fileno(),)
        ready, _, _ = select.select([told], [], [], _API_WITHIN)
        answered = bool(ready and os.read(told, 1))
        os.close(told)
        if not answered:
            said = child.log.read_text(errors="replace").strip().splitlines()[-1:] if child.log.exists() else []
            raise LabError(f"the API endpoint did not start: {said[0] if said else 'it gave no reason'}")

    def _add_node(self, settings: NodeSettings) -> Machine:
        number = self._free_number()
        node_addresses(number, self._site.families)
        directory = self._site.directory.machine(settings.name)
        directory.prepare()
        machine = Machine(settings.name, number, -1, directory, settings)
        self._power_up(machine)
        self._machines[machine.name] = machine
        return machine

    def _free_number(self) -> int:
        taken = {one.number for one in self._machines.values()}
        return next(number for number in itertools.count(1) if number not in taken)

    def _power_up(self, machine: Machine) -> None:
        """Give a machine a network namespace and its components; it is off as before when that fails."""
        machine.network, machine.cut = new_namespace(), False
        try:
            self._fabric.connect(machine.number, machine.network)
            self._start_machine(machine)
        except BaseException:
            self._power_down(machine)
            raise

    def _power_down(self, machine: Machine) -> None:
        """End everything on a machine at once, and its network namespace with it."""
        self._children.remove(machine.children)
        machine.children, machine.cut = [], False
        self._fabric.disconnect(machine.number)
        os.close(machine.network)
        machine.network = -1

    def _add_outside(self) -> None:
        directory = self._site.directory.machine(OUTSIDE)
        directory.prepare()
        network = make_outside(self._network, self._site.families)
        machine = Machine(OUTSIDE, 0, network, directory, NodeSettings(OUTSIDE))
        self._machines[OUTSIDE] = machine
        runtime = partial(components.run_runtime, self._site, OUTSIDE)
        machine.children.append(self._component("outside/runtime", runtime, machine.network))
        addresses = [str(one) for one in of_families(OUTSIDE_ADDRESSES, self._site.families)]
        host = partial(components.make_outside_host, self._site, addresses)
        machine.children.append(self._component("outside/host", host, machine.network, after=machine.children[0]))

    def _start_machine(self, machine: Machine) -> None:
        site, name = self._site, machine.name
        addresses = [str(one) for one in node_addresses(machine.number, site.families)]
        parts: dict[str, Callable[[], None]] = {
            "runtime": partial(components.run_runtime, site, name),
            "kubelet": partial(components.run_kubelet_of, site, machine.settings, addresses),
            "proxy": partial(components.run_proxy_of, site, name, addresses),
        }
        if site.settings.network == "enforcing":
            parts["agent"] = partial(components.run_agent_of, site, name)
        for part, run in parts.items():
            machine.children.append(self._component(f"{name}/{part}", run, machine.network))

    # --- requests -------------------------------------------------------------------------------------------------

    def _answer(self, request: Message, answer: Answer) -> None:
        operation = _OPERATIONS.get(str(request.get("op")))
        try:
            if operation is None:
                raise LabError(f"the lab does not know the request {request.get('op')!r}")
            answer(operation(self, request))
        except GatewrightError as error:
            answer({"error": str(error)})
        except (KeyError, TypeError, ValueError, OSError, msgspec.MsgspecError) as error:
            answer({"error": f"the lab could not do that: {type(error).__name__}: {error}"})

    def status(self, _: Message) -> Message:
        """The machines and the components as they are."""
        settings = self._site.settings
        return {
            "network": settings.network,
            "podCIDRs": [str(network) for network in settings.plan.only(self._site.families).pod_networks],
            "families": list(self._site.families),
            "outsideAddresses": [str(one) for one in of_families(OUTSIDE_ADDRESSES, self._site.families)],
            "nodes": [self._node_status(one) for one in self._machines.values() if one.number],
            "components": [_child_status(child) for child in self._children],
        }

    def _node_status(self, machine: Machine) -> Message:
        return {
            "name": machine.name,
            "number": machine.number,
            "addresses": [str(one) for one in node_addresses(machine.number, self._site.families)],
            "state": "cut" if machine.cut else "running" if machine.running else "stopped",
        }

    def add_node(self, request: Message) -> Message:
        """One more node."""
        settings = msgspec.convert(request["node"], NodeSettings)
        names = (f"node-{number}" for number in itertools.count(self._free_number()))
        name = settings.name or next(one for one in names if one not in self._machines)
        require_node_name(name)
        self._site.settings.plan.require_room(sum(1 for one in self._machines.values() if one.number) + 1)
        if name in self._machines:
            raise LabError(f'node "{name}" is in the lab already; choose another name')
        return self._node_status(self._add_node(msgspec.structs.replace(settings, name=name)))

    def stop_node(self, request: Message) -> Message:
        """Take a node's power away: everything on it ends at once; its Node object stays."""
        machine = self._node(request)
        if not machine.running:
            raise LabError(f'node "{machine.name}" is stopped already')
        self._power_down(machine)
        return self._node_status(machine)

    def remove_node(self, request: Message) -> Message:
        """Take a node out of the lab, with its files; another one can have its name and its number."""
        machine = self._node(request)
        if machine.running:
            self._power_down(machine)
        del self._machines[machine.name]
        shutil.rmtree(machine.directory.path, ignore_errors=True)
        for log in self._site.directory.logs.glob(f"{machine.name}-*.log*"):
            if log.name.removeprefix(f"{machine.name}-").partition(".")[0] in NODE_COMPONENTS:
                log.unlink(missing_ok=True)
        return self._node_status(machine) | {"state": "removed"}

    def start_node(self, request: Message) -> Message:
        """Give it power again: an empty machine of the same name and addresses."""
        machine = self._node(request)
        if machine.running:
            raise LabError(f'node "{machine.name}" is running already')
        self._power_up(machine)
        return self._node_status(machine)

    def cut(self, request: Message) -> Message:
        """Cut a node off from everybody else; it runs on."""
        machine = self._node(request)
        if not machine.running:
            raise LabError(
                f'node "{machine.name}" is stopped; start it first: gatewright lab start-node {machine.name}'
            )
        self._fabric.cut(machine.number)
        machine.cut = True
        return self._node_status(machine)

    def heal(self, request: Message) -> Message:
        """Connect what was cut off: one node, or all."""
        named = [self._node(request)] if request.get("name") else self._machines.values()
        chosen = [machine for machine in named if machine.cut]
        for machine in chosen:
            self._fabric.heal(machine.number)
            machine.cut = False
        return {"nodes": [self._node_status(machine) for machine in chosen]}

    def kill(self, request: Message) -> Message:
        """Kill a component as a crash would; it is started again as after one."""
        child = next((one for one in self._children if one.name == request["component"]), None)
        if child is None:
            names = ", ".join(one.name for one in self._children)
            raise LabError(f'the lab has no component "{request["component"]}"; it has: {names}')
        if not child.pid:
            raise LabError(f'component "{child.name}" is not running; see: gatewright lab status')
        child.kill()
        return _child_status(child)

    def _node(self, request: Message) -> Machine:
        machine = self._machines.get(str(request["name"]))
        if machine is None or not machine.number:
            names = ", ".join(one.name for one in self._machines.values() if one.number)
            raise LabError(f'the lab has no node "{request["name"]}"; it has: {names}')
        return machine


_OPERATIONS: dict[str, Callable[[Lab, Message], Message]] = {
    "status": Lab.status,
    "add-node": Lab.add_node,
    "remove-node": Lab.remove_node,
    "stop-node": Lab.stop_node,
    "start-node": Lab.start_node,
    "cut": Lab.cut,
    "heal": Lab.heal,
    "kill": Lab.kill,
}


def _share_what_is_there() -> None:
    """Keep the collector's hands off what there is: what nobody writes to is shared with all that are forked."""
    gc.collect()
    gc.freeze()


def _child_status(child: Child) -> Message:
    return {
        "name": child.name,
        "pid": child.pid,
        "restarts": child.restarts,
        "seconds": round(time.monotonic() - child.since, 1),
        "againIn": None if child.due is None else round(max(0.0, child.due - time.monotonic()), 1),
    }


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
