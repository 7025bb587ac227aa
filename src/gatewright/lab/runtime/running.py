"""The containers of pods: started, written down, stopped; programs run beside them, and joined."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import msgspec

from gatewright.lab.errors import LabError
from gatewright.lab.runtime import inside
from gatewright.lab.runtime.held import Pod, Reply, Run, close, end_group, pipes, reason, send_signal
from gatewright.lab.runtime.inside import Place, Streams
from gatewright.lab.runtime.launch import Launch, Namespaces, Told
from gatewright.lab.runtime.loop import Loop
from gatewright.lab.runtime.model import (
    COMMAND,
    NAME_SERVER_IMAGE,
    SKIPPED,
    STAND_IN,
    ContainerEvent,
    ContainerSetup,
    ContainerState,
)
from gatewright.lab.runtime.output import STDERR, STDOUT, Joined, Output
from gatewright.lab.runtime.places import log_file
from gatewright.lab.runtime.standins import Answering, StandIns
from gatewright.lab.runtime.wire import Answer, Changed


class Runner:
    """Runs containers in pods that stand. `left` is called when something of a pod has ended."""

    def __init__(
        self,
        loop: Loop,
        own: Namespaces,
        stand_ins: StandIns,
        serve_names: Callable[[], None] | None,
        tell: Callable[[Answer], None],
        left: Callable[[Pod], None],
    ) -> None:
        self._loop, self._own, self._stand_ins, self._serve_names = loop, own, stand_ins, serve_names
        self._tell, self._left = tell, left

    def count(self, pod: Pod, launch: Launch) -> Launch:
        """One more process of a pod is the runtime's child."""
        pod.children += 1
        return launch

    def counted(self, pod: Pod) -> None:
        """One less."""
        pod.children -= 1
        self._left(pod)

    def start(self, pod: Pod, setup: ContainerSetup, reply: Reply) -> None:
        """Start a container. Raises LabError, OSError."""
        before = pod.runs.get(setup.name)
        if before is not None and (before.running or before.launch is not None):
            raise LabError(f"container {setup.name} of pod {pod.name} runs already")
        log = log_file(pod.folder, setup.name, setup.run)
        log.parent.mkdir(exist_ok=True)
        for old in log.parent.iterdir():
            if int(old.name.split(".")[0]) not in (setup.run - 1, setup.run):
                old.unlink()
        state = ContainerState(
            setup.name, setup.run, "running", COMMAND, time.time(), stdin=setup.stdin, terminal=setup.terminal
        )
        run = Run(setup, state, Output(self._loop, log))
        pod.runs[setup.name] = run
        serve_names = self._serve_names if setup.image == NAME_SERVER_IMAGE else None
        if serve_names is None and not setup.command:
            runs, _, note = inside.choose(setup, {})
            self._without_process(pod, run, runs, note, reply)
            return
        try:
            self._fork(pod, run, serve_names, reply)
        except OSError as error:
            self._cannot_start(pod, run, reason(error), inside.CANNOT_START, reply)

    def _fork(self, pod: Pod, run: Run, serve_names: Callable[[], None] | None, reply: Reply) -> None:
        setup = run.setup
        place = Place(pod.launch.handle, None, pod.setup.hostname, setup.mounts)
        ours, theirs = ((), None) if setup.terminal else pipes(setup.stdin)
        try:
            with self._own.children_in(pod.launch.handle):
                run.launch = self.count(pod, Launch(
                    self._loop,
                    lambda tell: inside.be_container(place, setup, Streams(theirs), serve_names, tell),
                    group=True,
                    started=lambda told: self._started(pod, run, told, reply),
                    ended=lambda code: self._ended(pod, run, code),
                ))  # fmt: skip
        except OSError:
            close(ours)
            raise
        finally:
            close(theirs or ())
        for stream, descriptor in zip((STDOUT, STDERR), ours, strict=False):
            run.output.add(stream, descriptor)
        run.input = ours[2] if len(ours) > 2 else -1

    def _started(self, pod: Pod, run: Run, told: Told, reply: Reply) -> None:
        runs, note = told.words.get("runs", ""), told.words.get("note", "")
        if told.descriptors:
            run.terminal = told.descriptors[0]
            run.output.add(STDOUT, os.dup(run.terminal))
        if told.failed or not runs:
            why = told.failed or "it ended before it ran"
            self._cannot_start(pod, run, why, told.words.get("code", inside.CANNOT_START), reply)
        elif runs in (STAND_IN, SKIPPED):
            self._without_process(pod, run, runs, note, reply)
        else:
            assert run.launch is not None
            run.state = msgspec.structs.replace(run.state, runs=runs, note=note, pid=run.launch.pid)
            self._tell(Changed(pod.state))
            reply.done(run.state)

    def _without_process(self, pod: Pod, run: Run, runs: str, note: str, reply: Reply) -> None:
        setup = run.setup
        run.state = msgspec.structs.replace(run.state, runs=runs, note=note)
        because = f" ({note})" if note else ""
        if runs == SKIPPED:
            run.output.say(f"skipped{because}")
            self._tell(Changed(pod.state))
            self._finish(pod, run, 0)
            reply.done(run.state)
            return
        answering = Answering(pod.network, pod.setup.uid, setup.name, f"{pod.name} {setup.name}", setup.ports)
        try:
            self._stand_ins.open(answering, self._network_of(pod))
        except OSError as error:
            ports = ", ".join(f"{port.protocol} {port.number}" for port in setup.ports)
            self._cannot_start(pod, run, f"one of its ports ({ports}): {reason(error)}", inside.CANNOT_START, reply)
            return
        run.answering = answering
        ports = ", ".join(f"{port.protocol} {port.number}" for port in setup.ports) or "no port"
        run.output.say(f"a stand-in for {setup.image or 'this container'}{because} answers on {ports}")
        run.output.end()
        self._tell(Changed(pod.state))
        reply.done(run.state)

    def _cannot_start(self, pod: Pod, run: Run, why: str, code: int, reply: Reply) -> None:
        text = f"cannot start container {run.setup.name} of pod {pod.name}: {why}"
        run.output.say(text)
        run.state = msgspec.structs.replace(run.state, note=why)
        self._tell(Changed(pod.state))
        self._finish(pod, run, code)
        reply.failed(text)

    def _ended(self, pod: Pod, run: Run, code: int) -> None:
        if run.launch is not None:
            run.launch.close()
            run.launch = None
        if run.running and run.answering is None:
            self._finish(pod, run, code)
        self.counted(pod)

    def _finish(self, pod: Pod, run: Run, code: int) -> None:
        """It has ended: its streams close, and everybody is told."""
        run.output.end()
        close(one for one in (run.input, run.terminal) if one >= 0)
        run.input = run.terminal = -1
        if run.killing is not None:
            run.killing.cancel()
        finished = time.time()
        run.state = msgspec.structs.replace(run.state, state="exited", code=code, finished=finished, pid=0)
        if pod.removing is None:
            self._tell(ContainerEvent(pod.setup.uid, run.state))
        for reply in run.stopping:
            reply.done(run.state)
        run.stopping.clear()

    def stop(self, pod: Pod, name: str, grace: float, reply: Reply) -> None:
        """End a container: SIGTERM, and SIGKILL to what is left after `grace` seconds."""
        run = pod.runs.get(name)
        if run is None or not run.running:
            reply.done()
        elif run.answering is not None:
            self._close_stand_in(pod, run, 0, reply.done)
        elif run.launch is not None:
            run.stopping.append(reply)
            if grace > 0:
                send_signal(run.launch, signal.SIGTERM)
                run.killing = self._loop.after(grace, partial(self._kill, run))
            else:
                self._kill(run)

    def _kill(self, run: Run) -> None:
        if run.launch is not None:
            send_signal(run.launch, signal.SIGKILL)

    def end_stand_ins(self, pod: Pod, code: int) -> None:
        """End every stand-in of a pod."""
        for run in pod.runs.values():
            if run.answering is not None:
                self._close_stand_in(pod, run, code, lambda: self._left(pod))

    def _close_stand_in(self, pod: Pod, run: Run, code: int, closed: Callable[[], None]) -> None:
        assert run.answering is not None
        answering, run.answering = run.answering, None
        pod.closing += 1

        def free() -> None:
            pod.closing -= 1
            self._finish(pod, run, code)
            closed()

        self._stand_ins.close(answering, free)

    # Beside containers

    def execute(self, pod: Pod, name: str, command: tuple[str, ...], stdin: bool, reply: Reply) -> None:
        """Run a program beside a container's own, with pipes. Raises LabError, OSError."""
        ours, theirs = pipes(stdin)
        try:
            self._beside(pod, name, command, Streams(theirs), list(ours), reply)
        except BaseException:
            close(ours)
            raise
        finally:
            close(theirs)

    def execute_on_terminal(self, pod: Pod, name: str, command: tuple[str, ...], reply: Reply) -> None:
        """Run a program beside a container's own, on a terminal. Raises LabError, OSError."""
        self._beside(pod, name, command, Streams(None), [], reply)

    def _beside(
        self, pod: Pod, name: str, command: tuple[str, ...], streams: Streams, ours: list[int], reply: Reply
    ) -> None:
        run = _running(pod, name)
        container = run.launch.handle if run.launch is not None and run.state.runs == COMMAND else None
        place = Place(pod.launch.handle, container, pod.setup.hostname, run.setup.mounts)
        failed = ""

        def started(told: Told) -> None:
            nonlocal failed
            failed = told.failed
            if failed:
                close((*ours, *told.descriptors))
                reply.failed(failed)
            else:
                reply.done(descriptors=(*ours, *told.descriptors))

        def ended(code: int) -> None:
            launch.close()
            if not failed:
                reply.ended(code)
            self.counted(pod)

        with self._own.children_in(pod.launch.handle):
            launch = self.count(pod, Launch(
                self._loop,
                lambda tell: inside.be_beside(place, run.setup, command, streams, tell),
                started=started,
                ended=ended,
            ))  # fmt: skip
        reply.hold(lambda: end_group(launch))

    def attach(self, pod: Pod, name: str, stdin: bool, reply: Reply) -> None:
        """Join a container's program. Raises LabError, OSError."""
        run = _running(pod, name)
        if run.launch is None or run.answering is not None:
            raise LabError(f"container {name} has no program of its own here: a stand-in answers for it")
        streams = (STDOUT,) if run.setup.terminal else (STDOUT, STDERR)
        joined = Joined(streams, lambda why: reply.ended(0, why))
        given = run.terminal if run.setup.terminal else run.input if stdin else -1
        run.output.join(joined)
        reply.hold(lambda: run.output.leave(joined))
        reply.done(descriptors=(*joined.readers, *([os.dup(given)] if given >= 0 else ())))

    def connect(self, pod: Pod, family: int, reply: Reply) -> None:
        """Make a socket in a pod's network. Raises LabError, OSError."""
        with self._network_of(pod):
            kind = socket.AF_INET if family == 4 else socket.AF_INET6
            made = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        reply.done(descriptors=(made.detach(),))

    def _network_of(self, pod: Pod) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if pod.setup.host_network else self._own.network_of(pod.launch.handle)


def _running(pod: Pod, name: str) -> Run:
    run = pod.runs.get(name)
    if run is None or not run.running:
        raise LabError(f"container {name} of pod {pod.name} does not run")
    return run
