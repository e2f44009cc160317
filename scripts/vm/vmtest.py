"""Run a command as root under another Linux kernel, in a virtual machine."""

import argparse
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import archive
import foreign
import kernels
import machine
import userland
from architectures import Target
from architectures import target as target_of

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vmtest"
_ABOUT = """\
Run COMMAND as root under a Debian kernel, in a throw-away virtual machine (QEMU
without KVM). The guest sees this machine's files; what it writes is gone when it
ends, except below a --writable folder. It has no network but loopback. COMMAND gets
the caller's working directory and environment, and no input.

arm64/6.12 is a kernel of another architecture (arm64, or arm64-16k: pages of 16 KiB),
and arm64/6.12@trixie one with Debian 13's user land, whose return addresses are
signed; without @, Debian 12's. Such a guest has that user land's files in place of the
machine's, this checkout where it is here, and in place of its .venv one of its own."""
_STATUS = """\
exit status: COMMAND's own; 124 when the time was over, 125 when the machine died or
could not be made (the kernel's log is shown), 2 for bad usage."""


def seconds(text: str) -> float:
    """Return a time limit that `text` gives; raises ValueError."""
    limit = float(text)
    if not 0 < limit < math.inf:  # not a number is neither
        raise ValueError(text)
    return limit


def end_as_asked() -> None:
    """Have SIGTERM end this process as an error would: what it made is removed."""

    def end(number: int, _: object) -> None:
        machine.stop_all()  # those of other threads are waited for
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line before the `--`."""
    top = argparse.ArgumentParser(
        prog="scripts/vmtest",
        usage="scripts/vmtest [OPTIONS] KERNEL -- COMMAND [ARGUMENT...]",
        description=_ABOUT,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "kernel",
        metavar="KERNEL",
        help="a series (6.1) or a release (6.1.0-56-amd64), the newest that matches is "
        "fetched once; arm64/6.1 or arm64/6.12@trixie: another architecture's",
    )
    top.add_argument(
        "--writable",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder in which what the guest writes stays",
    )
    top.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=300, help="default: 300"
    )
    top.add_argument("--memory", metavar="SIZE", default="1G", help="default: 1G")
    top.add_argument("--cpus", metavar="N", type=int, default=1, help="default: 1")
    top.add_argument(
        "--append", metavar="WORDS", default="", help="more kernel parameters"
    )
    top.add_argument(
        "--verbose", action="store_true", help="show the kernel's log and the times"
    )
    return top


def _task(command: list[str], options: argparse.Namespace) -> machine.Task:
    for folder in options.writable:
        if not Path(folder).is_dir():
            parser().error(f"--writable {folder}: no such folder")
    return machine.Task(
        command,
        writable=[str(Path(folder).resolve()) for folder in options.writable],
        append=options.append,
        memory=options.memory,
        cpus=options.cpus,
        limit_s=options.timeout,
    )


# By its full path, or the guest's busybox would run its own command of that name.
def _natively(task: machine.Task) -> machine.Task:
    program = shutil.which(task.command[0])
    if program is None:
        parser().error(f"{task.command[0]}: not found")
    command = [str(Path(program).absolute()), *task.command[1:]]
    return replace(task, command=command)


# The task for a guest of another architecture, which has its own files.
@contextmanager
def _elsewhere(task: machine.Task, target: Target) -> Generator[machine.Task]:
    land = foreign.get(target, CACHE)
    name, *words = task.command
    program = userland.program(land.root, name)
    if "/" in name:
        program = str(Path(name).absolute())
    if program is None:
        parser().error(f"{name}: not found in Debian {target.suite}")
    checkout = foreign.CHECKOUT
    inside = Path(task.folder).is_relative_to(checkout)
    with tempfile.TemporaryDirectory(prefix="vmtest-venv-") as folder:
        environment = Path(folder) / "venv"
        foreign.prepare(target, checkout, CACHE, environment)
        yield replace(
            task,
            command=[program, *words],
            folder=task.folder if inside else str(checkout),
            environment=task.environment | {"PATH": foreign.PATH, "HOME": "/root"},
            root=str(land.root),
            shares=land.shares(checkout, environment),
        )


def main(arguments: list[str]) -> int:
    """Run the command line and return the exit status."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser().parse_args(arguments[:end])
    command = arguments[end + 1 :]
    if not command:
        parser().error("no command is given: KERNEL -- COMMAND [ARGUMENT...]")
    task = _task(command, options)
    try:
        target = target_of(options.kernel)
        kernels.need_tools(target.architecture)
        if not target.suite:
            task = _natively(task)
        kernel = kernels.get(target.version, CACHE, target.architecture)
        with ExitStack() as stack:
            if target.suite:
                task = stack.enter_context(_elsewhere(task, target))
            result = machine.run(kernel, task, sys.stdout.buffer, sys.stderr.buffer)
    except archive.ArchiveError as error:
        print(f"vmtest: {error}", file=sys.stderr)
        return machine.DIED
    if options.verbose or result.broken or result.died:
        sys.stderr.write(result.console)
    if result.status == machine.TIMED_OUT and result.total_s >= options.timeout:
        print(f"vmtest: not done in {options.timeout:g} s", file=sys.stderr)
    if options.verbose:
        boot = f"{result.boot_s:.1f}" if result.boot_s is not None else "no"
        print(
            f"vmtest: Linux {kernel.release}: {boot} s to the command's start, "
            f"{result.total_s:.1f} s in all",
            file=sys.stderr,
        )
    return result.status


if __name__ == "__main__":
    end_as_asked()
    sys.exit(main(sys.argv[1:]))
