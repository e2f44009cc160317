"""All that a scenario waits for: its processes, the run, signals, the time."""

import json
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from egressmon.clock import Clock
from egressmon.proofs.playing.errors import (
    InterruptedScenarioError,
    RunGoneError,
    ScenarioError,
)
from egressmon.proofs.playing.managed import Interrupts, Managed
from egressmon.proofs.playing.progress import Progress
from egressmon.proofs.starting.channel import Channel, Message
from egressmon.runs.control import MAX_MESSAGE

_TURN_MS = 50
_PIECE = 65536
_ANSWER_S = 30.0
_END_S = 180.0
_MESSAGE_S = 10.0
"""How long the launcher may take over a message that it has begun."""
_GO_S = 5.0
"""How long the launcher has to end."""


class Backstage:
    """Waits for one run and its processes, and passes on what is asked of them."""

    def __init__(
        self, starter: Channel, interrupts: Interrupts, progress: Progress
    ) -> None:
        self._starter = starter
        self._interrupts = interrupts
        self._progress = progress
        self._clock = Clock()
        control, self._control_end = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self._control = control
        self._inherited, self._launcher_end = Channel.pair()
        self._launcher: Channel | None = None
        self._outputs: dict[int, Managed] = {}
        self.processes: dict[str, Managed] = {}
        """All that was started, in this order, by name."""
        self.probed: dict[str, str] = {}
        self._asked = self._answered = 0
        self.is_stopping = False
        """Whether processes may end, and an end is asked for already."""
        self._deaf_from = 0
        self.deadline = float("inf")
        """When the run's own time is over."""
        self.run_status: int | None = None
        """The run's exit status, once it has ended."""
        self.was_ended = False
        """Whether the run did not end by itself."""
        self.end: Message | None = None
        """What the agent said last of all."""
        self.error: str | None = None
        self._is_control_open = True

    def begin(self, path: str, evidence: int, linger_s: float) -> None:
        """Have the run started, and wait until its launcher is there."""
        ends = self._control_end.fileno(), self._launcher_end.fileno()
        self._starter.send({"path": path, "linger_s": linger_s}, evidence, *ends)
        os.close(evidence)
        self._control_end.close()
        self._launcher_end.close()
        self.wait(lambda: self._launcher is not None, 120.0, "the run did not begin")

    def wait(self, done: Callable[[], bool], limit_s: float, too_late: str) -> None:
        """Attend to everything until `done`; raises ScenarioError.

        `too_late` says what is wrong if it is not done within `limit_s`.
        """
        ends = time.monotonic() + limit_s
        while not done():
            self._check()
            now = time.monotonic()
            if now >= self.deadline and not self.is_stopping:
                raise ScenarioError("the run took longer than limits.run")
            if now >= ends:
                raise ScenarioError(too_late)
            self.attend(min(_TURN_MS, 1 + int(1000 * (ends - now))))

    def _check(self) -> None:
        if self._interrupts.count > self._deaf_from:
            self._deaf_from = self._interrupts.count
            raise InterruptedScenarioError("interrupted")
        if self.run_status is not None:
            raise RunGoneError(self.error or "the run has ended before its time")
        if self.is_stopping:
            return
        for one in self.processes.values():
            if one.is_lasting and one.status is not None:
                raise ScenarioError(f"{one.name} has ended: {one.how_it_ended()}")

    def attend(self, timeout_ms: int) -> None:
        """Wait for something to happen, but not longer than `timeout_ms`."""
        handlers: dict[int, Callable[[], None]] = {
            self._interrupts.fileno(): self._interrupts.take,
            self._starter.fileno(): self._hear_starter,
        }
        if self._is_control_open:
            handlers[self._control.fileno()] = self._hear_agent
        if self._launcher is not None:
            handlers[self._launcher.fileno()] = self._hear_launcher
        elif self._inherited.fileno() >= 0:
            handlers[self._inherited.fileno()] = self._meet_launcher
        for descriptor in self._outputs:
            handlers[descriptor] = partial(self._read, descriptor)
        poll = select.poll()
        for descriptor in handlers:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(timeout_ms):
            handlers[descriptor]()
        self._progress.tick(self._ask)

    def _hear_starter(self) -> None:
        received = self._starter.receive()
        if received is None:
            self._interrupts.note()
            self.run_status = self.run_status if self.run_status is not None else 121
            self.error = self.error or "the process that keeps root's rights is gone"
        elif "signal" in received[0]:
            self._interrupts.note()
        else:
            self.run_status = int(received[0]["run_ended"])

    def _hear_agent(self) -> None:
        try:
            data = self._control.recv(4 * MAX_MESSAGE)
        except OSError:
            data = b""
        if not data:
            self._is_control_open = False
            return
        message: dict[str, Any] = json.loads(data)
        if "end" in message:
            self.end = message["end"]
        elif "error" in message:
            hint = message.get("hint")
            self.error = f"{message['error']}{f' ({hint})' if hint else ''}"
        else:
            self._answered = max(self._answered, int(message["id"]))
            self._progress.count(message["events"], message["violations"])

    def _meet_launcher(self) -> None:
        received = self._inherited.receive()
        self._inherited.close()
        if received is not None and received[1]:
            self._launcher = Channel.of(received[1][0])
            self._launcher.limit(_MESSAGE_S)
            if self.is_stopping:  # the end was asked for meanwhile
                self._let_go()

    def _hear_launcher(self) -> None:
        assert self._launcher is not None  # noqa: S101 -- only then it is polled
        received = self._launcher.receive()
        if received is None:
            self._launcher.close()
            self._launcher = None
            if not self.is_stopping:
                raise RunGoneError("the process that starts the others was ended")
            return
        message, _ = received
        match message:
            case {"started": name, "pid": pid}:
                self.processes[name].pid = pid
            case {"failed": name, "errno": code}:
                self.processes[name].errno = code
            case {"ended": name, "status": status}:
                self.processes[name].status = status
            case {"probed": name, "result": result}:
                self.probed[name] = result
            case _:
                pass

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, _PIECE)
        if not data:
            del self._outputs[descriptor]
            os.close(descriptor)
            return
        self._outputs[descriptor].log.add(data)

    def _ask(self) -> None:
        if self._is_control_open and self._launcher is not None:
            self._tell_agent({})

    def _tell_agent(self, message: Message) -> None:
        self._asked += 1
        try:
            self._control.send(json.dumps({"id": self._asked, **message}).encode())
        except OSError as error:
            raise RunGoneError("the process that reads the events is gone") from error

    def mark(self, **fields: object) -> None:
        """Tell the agent of a phase, and wait until it knows."""
        mark = {**fields, "ktime_ns": self._clock.now_ns()}
        self._tell_agent({"mark": mark})
        wanted = self._asked
        self.wait(
            lambda: self._answered >= wanted, _ANSWER_S, "no answer from the agent"
        )

    def start(
        self,
        managed: Managed,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        limit_s: float,
    ) -> None:
        """Have a process started within `limit_s`; raises ScenarioError."""
        read, write = os.pipe()
        self._outputs[read] = managed
        self.processes[managed.name] = managed
        message = {"do": "start", "id": managed.name, "argv": argv, "cwd": cwd}
        try:
            self.tell_launcher({**message, "env": env}, write)
        finally:
            os.close(write)
        self.wait(
            lambda: managed.is_settled,
            limit_s,
            f"{managed.name} did not start within {limit_s:g} s",
        )
        if managed.errno is not None:
            why = os.strerror(managed.errno)
            raise ScenarioError(f"{managed.name}: {argv[0]} cannot be run: {why}")

    def tell_launcher(self, message: Message, *files: int) -> None:
        """Ask the launcher for something; raises RunGoneError if it is gone."""
        gone = RunGoneError("the process that starts the others is gone")
        if self._launcher is None:
            raise gone
        try:
            self._launcher.send(message, *files)
        except OSError as error:
            raise gone from error

    def send_signal(self, managed: Managed, number: int) -> None:
        """Signal the group of a process."""
        self.tell_launcher({"do": "signal", "id": managed.name, "number": int(number)})

    def finish(self, limit_s: float) -> None:
        """Let the launcher end, and wait for the end of the run."""
        self.is_stopping = True
        self._let_go()
        # One that is stopped, or hangs, does not.
        self._await(lambda: self._launcher is None, min(limit_s, _GO_S))
        if self._launcher is None:
            self._await(lambda: False, limit_s)
        if self.run_status is None:
            self.was_ended = True
            with suppress(OSError):
                self._starter.send({"end_run": True})
            self._await(lambda: False, _END_S)
        # Where the starter was killed, the run may go on, and waits for our end.
        while self._is_control_open and _is_readable(self._control):
            self._hear_agent()
        self._drain()

    def _let_go(self) -> None:
        with suppress(RunGoneError):
            self.tell_launcher({"do": "end"})

    # Wait until the run has ended, or for something that comes before.
    def _await(self, what: Callable[[], bool], limit_s: float) -> None:
        ends = time.monotonic() + limit_s
        while self.run_status is None and not what() and time.monotonic() < ends:
            self.attend(_TURN_MS)

    # What is still in the pipes; nobody who writes is waited for.
    def _drain(self) -> None:
        for descriptor in list(self._outputs):
            os.set_blocking(descriptor, False)
            with suppress(BlockingIOError):
                while descriptor in self._outputs:
                    self._read(descriptor)
            if descriptor in self._outputs:
                os.close(descriptor)
        self._outputs.clear()
        for end in (self._control, self._launcher, self._inherited):
            if end is not None:
                end.close()


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(_TURN_MS))
