"""What a virtual machine of each architecture needs, and how it is asked for."""

import re
from dataclasses import dataclass, field, replace

from archive import ArchiveError

Suites = list[tuple[str, str]]

# Backports keep only the newest.
_BACKPORTS: Suites = [("debian", "trixie-backports")]
_TRIXIE: Suites = [("debian-security", "trixie-security"), ("debian", "trixie")]


@dataclass(frozen=True)
class Architecture:
    """A machine, and Debian's kernels for it.

    `series` has the suites, (archive, suite), of each series that is not in `newer`.
    `emulator` are QEMU's program and words, `parameters` words for the kernel.
    """

    name: str  # Debian's
    machine: str  # as `uname -m` prints it
    flavour: str  # the end of its kernels' releases
    emulator: tuple[str, ...]
    parameters: str
    series: dict[str, Suites] = field(hash=False)
    newer: Suites = field(default_factory=lambda: _BACKPORTS, hash=False)


# Without erms and fsrm, which make the emulator copy byte by byte. The kernel's check
# of its timer fails if a busy host delivers ticks late.
X86 = Architecture(
    name="amd64",
    machine="x86_64",
    flavour="amd64",
    emulator=(
        "qemu-system-x86_64",
        "-M",
        "q35",
        "-cpu",
        "max,la57=off,erms=off,fsrm=off",
    ),
    parameters="console=ttyS0 reboot=t no_timer_check",
    series={
        "5.10": [("debian-security", "bullseye-security"), ("debian", "bullseye")],
        "6.1": [("debian-security", "bookworm-security"), ("debian", "bookworm")],
        "6.12": [("debian-security", "bookworm-security")],
    },
)
# Signed return addresses (PAC) and landing pads (BTI) are on; pauth-impdef is QEMU's
# cheap signature. The archive lists bullseye-security's 5.10 for arm64, but lacks it.
ARM64 = Architecture(
    name="arm64",
    machine="aarch64",
    flavour="arm64",
    emulator=(
        *("qemu-system-aarch64", "-M", "virt,gic-version=3"),
        *("-cpu", "max,pauth-impdef=on"),
    ),
    parameters="console=ttyAMA0",
    series=X86.series | {"5.10": [("debian", "bullseye")]},
)
# The same with pages of 16 KiB.
_ARM64_16K = replace(
    ARM64, flavour="arm64-16k", series=dict.fromkeys(("6.12",), _TRIXIE)
)
_KNOWN = {"": X86, "amd64": X86, "arm64": ARM64, "arm64-16k": _ARM64_16K}
# The user lands of other architectures by Debian's suite, each with its Python.
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
# Releases are as 6.12.117+deb12-arm64.
_TARGET = re.compile(r"(?:([a-z0-9-]+)/)?([A-Za-z0-9.+~_-]+)(?:@([a-z]+))?")


@dataclass(frozen=True)
class Target:
    """A kernel that is asked for, and the guest's user land.

    `suite` is Debian's, or empty for the files of the machine itself.
    """

    architecture: Architecture
    version: str
    suite: str = ""


def target(words: str) -> Target:
    """Return what `words` ask for, as 6.1, arm64/6.12 or arm64/6.12@trixie.

    Raises ArchiveError.
    """
    match = _TARGET.fullmatch(words)
    if match is None:
        shown = "".join(one if one.isprintable() else "?" for one in words)
        raise ArchiveError(f"{shown}: not a kernel such as 6.1 or arm64/6.12@trixie")
    name, version, suite = (one or "" for one in match.groups())
    if name not in _KNOWN:
        known = ", ".join(filter(None, _KNOWN))
        raise ArchiveError(f"{words}: no architecture {name}; there are: {known}")
    architecture = _KNOWN[name]
    if architecture is X86:
        if suite:
            raise ArchiveError(f"{words}: a user land is for arm64 only")
        return Target(architecture, version)
    suite = suite or "bookworm"
    if suite not in PYTHONS:
        known = ", ".join(PYTHONS)
        raise ArchiveError(f"{words}: no user land {suite}; there are: {known}")
    return Target(architecture, version, suite)
