"""What verifying found: what is wrong, and what could not be found out."""

from collections import Counter
from typing import Literal, TypeAlias

from egressmon.errors import EgressmonError
from egressmon.values import dataclass, field

Kind: TypeAlias = Literal[
    "anchor",
    "chain",
    "counters",
    "criteria",
    "lock",
    "manifest",
    "part",
    "policy",
    "reference",
    "schema",
    "secret",
    "segment",
    "sequence",
    "signature",
    "truncated",
    "verdict",
]
_MAX_MESSAGE = 1000
MAX_OF_KIND = 100
"""How many findings of one kind in one file are told of; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and where: in a file, a line of it, and a byte of it."""

    kind: Kind
    path: str
    message: str
    line: int | None = None
    """From 1."""
    offset: int | None = None
    """Of the first wrong byte, or of the line that it is in, from 0."""


class UnreadableError(EgressmonError):
    """A file that cannot be verified at all: none of ours, or of a newer egressmon."""

    status = 2


@dataclass(slots=True)
class Findings:
    """All that was found in the evidence of a run."""

    path: str
    """Of the file that is read."""
    found: list[Finding] = field(default_factory=list[Finding])
    more: Counter[Kind] = field(default_factory=Counter[Kind])
    """How many findings of each kind are left out of `found`."""
    _told: Counter[Kind] = field(default_factory=Counter[Kind])

    def add(
        self,
        kind: Kind,
        message: str,
        line: int | None = None,
        offset: int | None = None,
        *,
        path: str | None = None,
    ) -> None:
        """Note a finding; `path` is that of another file than `self.path`."""
        if self._told[kind] >= MAX_OF_KIND:
            self.more[kind] += 1
            return
        self._told[kind] += 1
        if len(message) > _MAX_MESSAGE:
            message = f"{message[:_MAX_MESSAGE]}…"
        self.found.append(Finding(kind, path or self.path, message, line, offset))


@dataclass(slots=True)
class Verified:
    """The evidence of a run, read to its end."""

    path: str
    """Of its file, or of the first one."""
    more: list[str] = field(default_factory=list[str])
    """Its other files: further segments, and their manifest, which is the last."""
    is_part: bool = False
    """Whether other segments are missing."""
    first: int = 0
    """The number of its first record in the run."""
    next: int = 0
    """The number that a record after the last would have."""
    run: str | None = None
    records: int = 0
    size: int = 0
    """In bytes."""
    is_cut: bool = False
    """Whether its last line has no end, as after a crash."""
    is_converted: bool = False
    """Whether a tool wrote its lines anew: with CR and LF, or a byte order mark."""
    head: str | None = None
    """The digest of its last whole line."""
    verdict: str | None = None
    """Of the run, as its last record has it."""
    complete: bool | None = None
    exit_status: int | None = None
    policy_digest: str | None = None
    policy_digests: list[str | None] = field(default_factory=list[str | None])
    """Of each policy that it was judged by, in order."""
    policy_kind: str | None = None
    egressmon: str | None = None
    """Which one recorded it."""
    began: str | None = None
    """When, to the nanosecond."""
    judged: int = 0
    """How many verdicts were made again, and are the same."""
    resting: Counter[str] = field(default_factory=Counter[str])
    """How many verdicts rest on what no record has, by what that is."""
    remarks: list[str] = field(default_factory=list[str])
    """What to know of the run that is no fault."""
    unjudged: str | None = None
    """Why no verdict was made again."""
    follows: tuple[str, str] | None = None
    """The run before it, and the digest of that one's last line, as it says."""
    unproven: list[str] = field(default_factory=list[str])
    """Why no summary may say that the run passed; probes of a plan are no reason."""
