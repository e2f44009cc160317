"""The parsed command lines of the verbs, as typed values."""

import argparse
from typing import TYPE_CHECKING, Literal, NamedTuple

from egressmon.attribution import Level
from egressmon.probes.loaders.loading import Choice, Preparation
from egressmon.sanitise.argv_mode import ArgvMode

if TYPE_CHECKING:
    from egressmon.containers.wanted import Wanted


class Call(NamedTuple):
    """A command line as it was given."""

    arguments: list[str]
    early: Preparation | None
    """Loads the probes since before the arguments were read."""


class RunRequest(NamedTuple):
    """The options of each verb that runs a command."""

    verb: str
    command: list[str]
    """The command and its arguments; empty if none was given."""
    evidence: str | None
    """The file named; None: a new one in the default folder."""
    evidence_limit: int
    """In bytes."""
    anchor: str | None
    """Where heads are told; None: nowhere."""
    anchor_every_s: float | None
    """None: at the end alone."""
    linger_s: float | None
    """None: wait for the last process."""
    catch_up_s: float
    allow_incomplete: bool
    engine: Choice
    attribution: Level
    argv: ArgvMode
    quiet: bool
    verbose: bool
    ready_file: str | None

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "RunRequest":
        """Return the options in `parsed`."""
        return cls(
            verb=parsed.verb,
            command=parsed.command,
            evidence=parsed.evidence,
            evidence_limit=parsed.evidence_limit,
            anchor=parsed.anchor,
            anchor_every_s=parsed.anchor_every,
            linger_s=parsed.linger,
            catch_up_s=parsed.catch_up,
            allow_incomplete=parsed.allow_incomplete,
            engine=parsed.engine,
            attribution=parsed.attribution,
            argv=parsed.argv,
            quiet=parsed.quiet,
            verbose=parsed.verbose,
            ready_file=parsed.ready_file,
        )


class WatchRequest(NamedTuple):
    """`egressmon watch`."""

    run: RunRequest
    policy: str | None
    policy_digest: str | None
    enforce: Literal["report", "fail"] | None
    """None: as the policy says."""


class LearnRequest(NamedTuple):
    """`egressmon learn`."""

    run: RunRequest
    output: str
    force: bool
    audit: str | None = None
    """Where the inventory is written; None: nowhere."""


class ProveRequest(NamedTuple):
    """`egressmon prove`."""

    plan: str | None
    command: list[str]
    runs: int | None
    """None: as the plan says."""
    output: str | None
    overrides: list[str]
    check: bool
    sign_key: str | None
    anchor: str | None
    policy: str | None
    policy_digest: str | None
    evidence_limit: int
    catch_up_s: float
    engine: Choice
    attribution: Level
    argv: ArgvMode
    quiet: bool
    verbose: bool

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "ProveRequest":
        """Return the options in `parsed`."""
        fields = {
            name: getattr(parsed, name) for name in cls._fields if name != "catch_up_s"
        }
        return cls(**fields, catch_up_s=parsed.catch_up)


class SidecarRequest(NamedTuple):
    """`egressmon sidecar`: watch until stopped."""

    cgroup: str | None
    """The cgroup that is watched; None: the whole machine, or as the next two say."""
    pid: int | None
    """The process that is watched, with what it starts."""
    job: Literal["auto"] | None
    """Whether the job of the caller is."""
    containers: list["Wanted"]
    """Which containers are watched alone; empty: that is not asked."""
    policy: str | None
    policy_digest: str | None
    enforce: Literal["report", "fail"] | None
    """None: as the policy says."""
    evidence: str | None
    """The folder; None: the default one."""
    detach: bool
    as_json: bool
    """Whether what a later step needs is printed as JSON."""
    token_file: str | None
    runtime: str
    """The folder of the control socket."""
    evidence_limit: int
    """In bytes."""
    segment_size: int
    """From how many bytes on the evidence goes on in another file."""
    segment_age: float
    """From how many seconds on it does."""
    attribution: Level
    argv: ArgvMode
    heartbeat: float
    """How often, in seconds, the evidence says that it goes on."""
    canaries: float
    """How often, in seconds, the probes are tested."""
    engine_sockets: list[tuple[Literal["docker", "podman"], str]]
    """Where these container engines are asked."""
    keep_probes: str | None
    """The folder in a bpffs where the probes stay; None: with the service manager."""
    quiet: bool
    verbose: bool
    starter: tuple[int, int] | None
    """The ids of the user who started it; None: the caller."""
    token_digest: bytes | None
    """Of the token, if another process has made it."""
    told: int | None
    """An open pipe, where that process waits to be told that this one watches."""

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> "SidecarRequest":
        """Return the options in `parsed`."""
        fields = {
            name: getattr(parsed, name) for name in cls._fields if name != "as_json"
        }
        return cls(**fields, as_json=parsed.json)


class StopRequest(NamedTuple):
    """`egressmon sidecar stop`."""

    runtime: str
    token_file: str | None
    token_stdin: bool
    report: Literal["plain", "github", "gitlab"] | None
    """None: as plain text, unless the answer is printed as JSON."""
    as_json: bool


class CheckRequest(NamedTuple):
    """`egressmon policy check`."""

    file: str
    strict: bool = False
    digest: str | None = None
    against: list[str] | None = None
    """Evidence that the policy is compared with; None: it is only validated."""
    form: Literal["text", "json"] = "text"


class ExplainRequest(NamedTuple):
    """`egressmon policy explain`: a destination, and who reaches it."""

    file: str
    destination: str
    package: str | None
    exe: str | None
    module: str | None
    route: str | None
    bypass: bool
    claimed: bool


class ScanRequest(NamedTuple):
    """What `egressmon scan` is asked."""

    paths: list[str]
    form: str
    allow: str | None
    """The file of what is allowed; None: the default one, if it is there."""


class RefreshRequest(NamedTuple):
    """What `egressmon cassettes refresh` is asked."""

    spend: bool
    """Whether the user knows that real services are asked, and paid."""
    directories: list[str]
    """Where the cassettes are; none: as pyproject.toml says."""
    command: list[str]


class VerifyRequest(NamedTuple):
    """`egressmon verify`: what to verify, and with what."""

    paths: list[str]
    policies: list[str]
    anchor: str | None
    """A log that holds anchors."""
    allowed_signers: str | None
    subject: str | None
    """Whose sigstore signature it must be."""
    issuer: str | None
    """Who vouches for `subject`."""
    format: Literal["text", "json"]
