"""A plan as pydantic models: each table a frozen value, strictly checked."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from egressmon.policy.errors import RefusedError, quoted
from egressmon.proofs.plans.values import (
    Destination,
    HeaderName,
    HeaderValue,
    LocalUrl,
    Name,
    OneDestination,
    Pattern,
    Port,
    Seconds,
    Status,
    Variable,
    Word,
    Words,
    as_expectations,
    as_headers,
)

START, PROBE, STOP = "start", "probe", "stop"
"""The phases that every run has besides those of the plan."""
Agreeing: TypeAlias = Literal["destinations", "packages", "routes", "resolvers"]
# What such a header holds would be in the plan, and the plan is in the proof.
_SECRET_HEADERS = re.compile(
    r"authorization|cookie|token|secret|password|api-?key|signature", re.IGNORECASE
)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Ready(_Table):
    """When a process is ready: exactly one of url, port, file and log."""

    url: LocalUrl | None = Field(
        default=None, examples=["http://127.0.0.1:8000/health"]
    )
    status: Status = 200
    port: Port | None = Field(default=None, examples=[8000])
    file: Word | None = Field(default=None, examples=["{tmp}/ready"])
    log: Pattern | None = Field(default=None, examples=["listening on"])
    limit: Seconds | None = Field(default=None, examples=["30s"])

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = (self.url, self.port, self.file, self.log)
        if sum(one is not None for one in given) != 1:
            raise RefusedError(
                "it takes one condition", "write exactly one of url, port, file and log"
            )
        return self


class ProcessPlan(_Table):
    """A process that runs through all phases."""

    name: Name = Field(examples=["server"])
    argv: Words = Field(examples=[["python3", "app.py"]])
    env: dict[Variable, Word] = Field(default_factory=dict)
    cwd: Word = Field(default="", examples=["app"])
    ready: Ready | None = None
    after: Name | None = Field(default=None, examples=["build"])
    """The phase after which it is started; None: before all of them."""
    stop: Literal["TERM", "INT", "HUP", "QUIT", "KILL"] = "TERM"


class Header(_Table):
    """The value of a header, or the variable of prove's environment that holds it."""

    value: HeaderValue | None = None
    env: Variable | None = Field(default=None, examples=["API_TOKEN"])

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is None) == (self.env is None):
            raise RefusedError("no header", 'write a text, or { env = "NAME" }')
        return self


class Request(_Table):
    """An HTTP request that prove makes, from outside, to a server in the scope."""

    url: LocalUrl = Field(examples=["http://127.0.0.1:8000/turn"])
    method: str = Field(default="GET", pattern=r"^[A-Z]{1,16}$", examples=["POST"])
    headers: Annotated[dict[HeaderName, Header], BeforeValidator(as_headers)] = Field(
        default_factory=dict
    )
    body: str = ""
    status: Status = 200

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        for name, header in self.headers.items():
            if header.value is not None and _SECRET_HEADERS.search(name):
                raise RefusedError(
                    f"headers: {quoted(name)} holds a secret, and the plan is a part "
                    "of the proof",
                    f'write {name} = {{ env = "NAME_OF_A_VARIABLE" }}',
                )
        return self


class WaitLog(_Table):
    """A line that a process must write to its log."""

    process: Name = Field(examples=["server"])
    pattern: Pattern = Field(examples=["session closed"])


class Expectation(_Table):
    """How many connections to a destination a phase makes."""

    destination: Destination = Field(examples=["api.example.org:443"])
    at_least: int | None = Field(default=None, ge=0, examples=[1])
    at_most: int | None = Field(default=None, ge=0, examples=[3])

    @model_validator(mode="after")
    def _some(self) -> Self:
        least, most = self.at_least, self.at_most
        if least is None and most is None:
            raise RefusedError(
                "nothing is expected", "write at_least or at_most, or both"
            )
        if least is not None and most is not None and least > most:
            raise RefusedError(
                f"at least {least} and at most {most} cannot be",
                "write an at_least that is not more than at_most",
            )
        return self


Expectations: TypeAlias = Annotated[list[Expectation], BeforeValidator(as_expectations)]


class Around(_Table):
    """What is expected while the processes are started, or stopped."""

    expect: Expectations = Field(default_factory=list[Expectation])


class PhasePlan(_Table):
    """A step of the scenario: exactly one of command, request, idle and wait_log."""

    name: Name = Field(examples=["turn"])
    command: Words | None = Field(default=None, examples=[["pytest", "-q"]])
    env: dict[Variable, Word] = Field(default_factory=dict)
    cwd: Word = Field(default="", examples=["app"])
    request: Request | None = None
    idle: Seconds | None = Field(default=None, examples=["10m"])
    wait_log: WaitLog | None = None
    limit: Seconds | None = Field(default=None, examples=["2m"])
    expect: Expectations = Field(default_factory=list[Expectation])

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = (self.command, self.request, self.idle, self.wait_log)
        if sum(one is not None for one in given) != 1:
            raise RefusedError(
                "a phase does one thing",
                "write exactly one of command, request, idle and wait_log",
            )
        if self.idle is not None and self.limit is not None:
            raise RefusedError("idle has no limit", "remove limit: idle says how long")
        if self.name in {START, PROBE, STOP}:
            raise RefusedError(
                f"{self.name} is a phase that every run has", "write another name"
            )
        return self


class Probe(_Table):
    """A connection of egressmon's own, from the scope, which must be seen."""

    destination: OneDestination = Field(examples=["198.51.100.1:443"])
    verdict: Literal["violation", "allowed", "local"] = "violation"


class Limits(_Table):
    """How long things may take."""

    run: Seconds = 3600.0
    phase: Seconds = 600.0
    ready: Seconds = 60.0
    stop: Seconds = 10.0


class Plan(_Table):
    """A whole plan."""

    version: Literal[1]
    runs: int = Field(default=3, ge=1, le=99, examples=[3])
    policy: Word | None = Field(default=None, examples=["egress.toml"])
    agree: list[Agreeing] = Field(default_factory=lambda: list(get_args(Agreeing)))
    limits: Limits = Field(default_factory=Limits)
    start: Around = Field(default_factory=Around)
    stop: Around = Field(default_factory=Around)
    process: list[ProcessPlan] = Field(default_factory=list[ProcessPlan], max_length=64)
    phase: list[PhasePlan] = Field(min_length=1, max_length=256)
    probe: list[Probe] = Field(default_factory=list[Probe], max_length=64)

    @model_validator(mode="after")
    def _names(self) -> Self:
        for table, listed in (("process", self.process), ("phase", self.phase)):
            names = [one.name for one in listed]
            if twice := next((one for one in names if names.count(one) > 1), None):
                raise RefusedError(
                    f"two {table} entries are called {twice}",
                    "give each a name of its own",
                )
        known = [one.name for one in self.process]
        logs = {f"phase-{one.name}" for one in self.phase if one.command is not None}
        if both := next((one for one in known if one in logs), None):
            raise RefusedError(
                f"process {both} would have the log of a phase: {both}.log",
                "give it another name",
            )
        for phase in self.phase:
            if phase.wait_log is not None and phase.wait_log.process not in known:
                raise RefusedError(
                    f"phase {phase.name} waits for an unknown process: "
                    f"{phase.wait_log.process}",
                    f"known: {', '.join(known) or 'none'}",
                )
        phases = [one.name for one in self.phase]
        for process in self.process:
            if process.after is not None and process.after not in phases:
                raise RefusedError(
                    f"process {process.name} is to start after an unknown phase: "
                    f"{process.after}",
                    f"known: {', '.join(phases)}",
                )
        return self

    def starting(self, after: str | None) -> list[ProcessPlan]:
        """Return the processes that are started after a phase; None: at first."""
        return [one for one in self.process if one.after == after]

    def expectations(self) -> Iterator[tuple[str, Expectation]]:
        """Yield each expectation with the name of its phase, in their order."""
        for name, listed in (
            (START, self.start.expect),
            *((one.name, one.expect) for one in self.phase),
            (STOP, self.stop.expect),
        ):
            for one in listed:
                yield name, one


def simple_plan(command: list[str]) -> dict[str, Any]:
    """Return the plan of one phase that runs `command`, as a file would have it."""
    return {
        "version": 1,
        "phase": [{"name": "command", "command": command}],
    }
