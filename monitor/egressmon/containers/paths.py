"""Tell which container a cgroup is of, by its path.

Each engine names cgroups in its own way; docs/operations/sidecar.md has the table. Who
may make cgroups may give them any of these names: what is told here is a claim.
"""

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from egressmon.values import dataclass

Engine: TypeAlias = Literal[
    "docker",
    "buildkit",
    "podman",
    "containerd",
    "crio",
    "kubernetes",
    "nspawn",
    "lxc",
    "cgroup",
    "unknown",
]
"""`kubernetes`: containerd or another runtime, the path does not say which; `cgroup`: a
container of which the path says nothing; `unknown`: the path itself is not known."""

_SHORT = 12
_MAX_NAME = 64
_MAX_LEVELS = 64
_HEX = "[0-9a-f]{64}"
_SCOPES: tuple[tuple[Engine, re.Pattern[str]], ...] = (
    ("docker", re.compile(rf"docker-({_HEX})\.scope", re.ASCII)),
    ("podman", re.compile(rf"libpod-({_HEX})(?:\.scope)?", re.ASCII)),
    ("containerd", re.compile(rf"cri-containerd-({_HEX})\.scope", re.ASCII)),
    ("crio", re.compile(rf"crio-({_HEX})(?:\.scope)?", re.ASCII)),
    # As runc makes of SLICE:PREFIX:ID where it is not to ask systemd.
    ("docker", re.compile(rf"[^/]+\.slice:docker:({_HEX})", re.ASCII)),
    ("containerd", re.compile(rf"[^/]+\.slice:cri-containerd:({_HEX})", re.ASCII)),
    ("crio", re.compile(rf"[^/]+\.slice:crio:({_HEX})", re.ASCII)),
    ("buildkit", re.compile(r"[^/]+\.slice:docker:([0-9a-z]{25})", re.ASCII)),
    ("lxc", re.compile(r"lxc\.payload\.(.+)", re.DOTALL)),
)
_BARE = re.compile(_HEX, re.ASCII)
_BUILD = re.compile(r"[0-9a-z]{25}", re.ASCII)
_MACHINE = re.compile(r"machine-(.+)\.scope", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Claim:
    """Which container a cgroup says that it is of."""

    engine: Engine
    id: str
    """As the engine calls it: 64 hexadecimal digits, or a name."""
    path: str
    """The container's own cgroup; what it makes itself is below."""
    outer: str | None = None
    """The cgroup of the container in which it is one itself."""
    inside: str | None = None
    """Its pid namespace, where others may be in the same cgroup."""

    def key(self, cgroup: int) -> str:
        """Return a short name for it, which nothing else has: ids of cgroups are new.

        `cgroup` is the id of the container's own.
        """
        size = _SHORT if self.has_hash else _MAX_NAME
        key = f"{self.engine}:{self.id[:size]}@{cgroup}"
        return key if self.inside is None else f"{key}+{self.inside}"

    @property
    def has_hash(self) -> bool:
        """Whether its id is 64 hexadecimal digits, by which an engine can be asked."""
        return _BARE.fullmatch(self.id) is not None


def claim_of(path: str) -> Claim | None:
    """Return which container the cgroup `path` is of, the innermost; None: of none.

    `path` begins at the hierarchy's root and can be anything.
    """
    found: Claim | None = None
    for engine, identifier, own in _claims(path) if path.startswith("/") else ():
        outer = found.path if found is not None else None
        found = Claim(engine, identifier, own, outer)
    return found


def unknown_claim(path: str, inside: str) -> Claim:
    """Return what there is to say of a container whose path says nothing.

    It may share its cgroup with others, and with who started it: what it has alone is
    its pid namespace, `inside`.
    """
    last = path.rstrip("/").rpartition("/")[2]
    return Claim("cgroup", last or "/", path, inside=inside)


# From the outermost to the innermost: engine, id, and the path up to there.
def _claims(path: str) -> Iterator[tuple[Engine, str, str]]:
    parts = path.split("/")[1:_MAX_LEVELS]
    for place, part in enumerate(parts):
        above = parts[:place]
        for look in (_by_name, _by_place, _by_machine):
            found = look(part, above)
            if found is not None:
                yield *found, "/" + "/".join(parts[: place + 1])
                break


Found: TypeAlias = tuple[Engine, str] | None


def _by_name(part: str, _above: list[str]) -> Found:
    for engine, pattern in _SCOPES:
        match = pattern.fullmatch(part)
        if match is not None:
            return engine, match[1]
    return None


# Names that are engines' only where they are: a bare id below what others made.
def _by_place(part: str, above: list[str]) -> Found:
    if _BARE.fullmatch(part) and above:
        is_pod = any(one.startswith("kubepods") for one in above)
        return ("kubernetes" if is_pod else "docker"), part
    if above and above[-1] == "buildkit" and _BUILD.fullmatch(part):
        return "buildkit", part
    if above == ["lxc"]:
        return "lxc", part
    return None


# systemd-nspawn; virtual machines are machines of that name, too, but have no payload.
def _by_machine(part: str, above: list[str]) -> Found:
    if part != "payload" or not above:
        return None
    match = _MACHINE.fullmatch(above[-1])
    return ("nspawn", _unescaped(match[1])) if match is not None else None


_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


# As systemd writes names of units: \x2d for a hyphen (systemd.unit(5)).
def _unescaped(name: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)
