"""Load the probes with BCC, which compiles the same source on this machine.

BCC is Debian's python3-bpfcc (PyPI's `bcc` is an unrelated program). Its module is
installed for the system's Python, so it runs in another process: bcc_compile.py.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path

from egressmon.probes.architecture import machine, this_machine
from egressmon.probes.errors import MachineError, ProbeError
from egressmon.probes.hooks import HOOKS, MAPS
from egressmon.probes.loaded import Loaded
from egressmon.probes.loaders import bcc_compile, obstacles
from egressmon.probes.loaders.btf import Btf, BtfError
from egressmon.values import dataclass

_PROGRAMS = Path(__file__).parents[1] / "programs"
_FIELD = re.compile(r"^\tKERNEL_FIELD\((\w+), .+, (\w+)\);$", re.MULTILINE)
_MODULES = Path("/lib/modules")
_BUNDLED_HEADERS = Path("/sys/kernel/kheaders.tar.xz")
_KERNEL_SOURCE = "BCC_KERNEL_SOURCE"
# Stand in for map descriptors in the compiled programs ("EG" in ASCII, and a number).
_FIRST_MAP_NUMBER = 0x45470000
_PATIENCE_S = 600
_MAX_ANSWER = 4096
_MAX_LOG = 1 << 20
_INSTALL = "Debian, Ubuntu: apt install python3-bpfcc"


@dataclass(frozen=True, slots=True)
class Headers:
    """The kernel headers that BCC compiles with."""

    release: str
    flags: tuple[str, ...] = ()
    source: str | None = None  # for BCC_KERNEL_SOURCE


def load() -> Loaded:
    """Compile the probes and load them into the kernel; raises ProbeError."""
    headers = find_headers()
    flags = ["-DEGRESSMON_BCC", f"-I{_PROGRAMS}", *headers.flags, *_offsets()]
    numbers = {name: _FIRST_MAP_NUMBER + place for place, name in enumerate(MAPS)}
    flags += [f"-DMAP_ID_{name}={number}" for name, number in numbers.items()]
    job = {
        "source": str(_PROGRAMS / "egressmon.bpf.c"),
        "flags": flags,
        "maps": numbers,
        "programs": [(one.program, one.program_type, one.attach_type) for one in HOOKS],
    }
    answer, descriptors = _compile(json.dumps(job).encode(), headers)
    programs = {one.program: fd for one, fd in zip(HOOKS, descriptors, strict=False)}
    maps: dict[str, int] = dict(zip(MAPS, descriptors[len(HOOKS) :], strict=True))
    version = f"{answer['version']} (headers of {headers.release})"
    return Loaded("bcc", version, programs, maps)


def find_headers() -> Headers:
    """Return the running kernel's headers, or else the newest installed ones.

    Another release's headers do as well: the probes use only the kernel's stable
    interface, and all other offsets come from BTF. Raises ProbeError if there are none.
    """
    release = os.uname().release
    if named := os.environ.get(_KERNEL_SOURCE):
        return Headers(named, source=named)
    if (_MODULES / release / "build").exists() or _BUNDLED_HEADERS.exists():
        return Headers(release)
    for build in sorted(_MODULES.glob("*/build"), key=_by_number, reverse=True):
        if build.exists():
            return _other_headers(build)
    architecture = this_machine()
    newest = f"linux-headers-{architecture.packages}" if architecture else "the newest"
    raise ProbeError(
        "BCC needs kernel headers, and none are installed",
        f"Debian: apt install linux-headers-{release} (or {newest}: "
        "another version's serve as well); or --engine libbpf, which needs none",
    )


def _by_number(build: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", build.parent.name)]


# Debian has a release's common headers in one folder and those of an architecture in
# another. BCC finds both only for the running kernel; these are the options.
def _other_headers(build: Path) -> Headers:
    source = build.with_name("source")
    if not source.exists():
        source = build
    made = build.resolve()
    architecture = this_machine()
    arch = architecture.kernel if architecture is not None else machine()
    folders = (
        f"arch/{arch}/include/generated",
        f"arch/{arch}/include/generated/uapi",
        "include",
        "include/generated/uapi",
    )
    flags = tuple(f"-I{made / folder}" for folder in folders)
    return Headers(build.parent.name, flags, str(source.resolve()))


def _offsets() -> Iterator[str]:
    obstacle = obstacles.without_btf()
    if obstacle is not None:
        raise MachineError(obstacle.what, obstacle.remedy)
    sources = ["kernel.bpf.h"]
    if (architecture := this_machine()) is not None:
        sources.append(f"{architecture.kernel}.bpf.h")
        yield architecture.flag
    fields = _FIELD.findall("".join((_PROGRAMS / name).read_text() for name in sources))
    try:
        kernel = Btf(obstacles.BTF.read_bytes())
        offsets = kernel.offsets(fields)
        yield f"-DSIZE_pt_regs={kernel.size('pt_regs')}"
    except (BtfError, OSError) as error:
        raise ProbeError(str(error), "--engine libbpf may cope with it") from error
    for (owner, field), offset in offsets.items():
        yield f"-DOFFSET_{owner}_{field}={offset}"
    yield f"-DKERNEL_HAS_TASK_REGISTERS={int(kernel.names('BPF_FUNC_task_pt_regs'))}"


# The interpreters that may have BCC, the likeliest first.
def _interpreters() -> list[str]:
    candidates = ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable)
    usable = (one for one in dict.fromkeys(candidates) if os.access(one, os.X_OK))
    return [one for one in usable if one == sys.executable or _only_root_writes(one)]


# As root runs it. Our own interpreter was checked when egressmon started.
def _only_root_writes(path: str) -> bool:
    real = Path(path).resolve()
    found = [one.stat() for one in (real, *real.parents)]
    return all(one.st_uid == 0 and not one.st_mode & 0o022 for one in found)


def _compile(job: bytes, headers: Headers) -> tuple[dict[str, str], list[int]]:
    wrong = False
    for interpreter in _interpreters():
        status, log, message, descriptors = _attempt(interpreter, job, headers)
        if status == 0 and len(descriptors) == len(HOOKS) + len(MAPS):
            return json.loads(message), descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        if status == bcc_compile.NO_BCC:
            continue
        if status == bcc_compile.NOT_BCC:
            wrong = True
            continue
        raise _failure(status, log, headers)
    if wrong:
        raise ProbeError(
            "the Python module `bcc` found is PyPI's, an unrelated program",
            f"pip uninstall bcc; {_INSTALL}",
        )
    raise ProbeError("BCC is not installed", _INSTALL)


def _attempt(
    interpreter: str, job: bytes, headers: Headers
) -> tuple[int, str, bytes, list[int]]:
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    if headers.source is not None:
        environment[_KERNEL_SOURCE] = headers.source
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as log:
        try:
            done = subprocess.run(  # noqa: S603 -- our own words
                # -I: root must run no module from the working directory or the user.
                [interpreter, "-I", bcc_compile.__file__, str(theirs.fileno())],
                input=job,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=[theirs.fileno()],
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ProbeError(
                f"BCC did not compile the probes in {_PATIENCE_S} s",
                "--engine libbpf needs no compiler",
            ) from error
        theirs.close()
        message, descriptors = _receive(ours)
        log.seek(max(0, log.tell() - _MAX_LOG))
        said = log.read().decode(errors="backslashreplace")
    return done.returncode, said, message, descriptors


# Not socket.recv_fds(), which ignores its flags: without MSG_CMSG_CLOEXEC, the command
# would inherit the descriptors.
def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    descriptors = array("i")
    room = socket.CMSG_LEN((len(HOOKS) + len(MAPS)) * descriptors.itemsize)
    answer, ancillary, _, _ = channel.recvmsg(
        _MAX_ANSWER, room, socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return answer, list(descriptors)


def _failure(status: int, log: str, headers: Headers) -> ProbeError:
    if status == bcc_compile.REFUSED:
        return obstacles.refusal("refused by the verifier", log)
    if status == bcc_compile.NOT_COMPILED:
        # BCC creates the maps while it compiles, so the kernel may be what refused.
        if obstacles.found():
            return obstacles.refusal("no maps", log)
        return ProbeError(
            f"BCC could not compile the probes with the headers of {headers.release}"
            f"{_first_error(log)}",
            "--verbose shows what the compiler said; a newer BCC, or another "
            "version's headers, may do, and --engine libbpf needs neither",
            log,
        )
    return ProbeError(
        f"BCC ended with status {status}",
        "--verbose shows what it said; --engine libbpf does without",
        log,
    )


def _first_error(log: str) -> str:
    found = re.search(r"error: .+", log)
    return f" ({found.group()})" if found else ""
