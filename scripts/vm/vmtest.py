"""Run a command as root under another Linux kernel, in a virtual machine."""

import argparse
import os
import shutil
import sys
from pathlib import Path

import archive
import kernels
import machine

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vmtest"
_ABOUT = """\
Run COMMAND as root under a Debian kernel, in a throw-away virtual machine (QEMU
without KVM). The guest sees this machine's files; what it writes is gone when it
ends, except below a --writable folder. It has no network but loopback. COMMAND gets
the caller's working directory and environment, and no input."""
_STATUS = """\
exit status: COMMAND's own; 124 when the time was over, 125 when the machine died or
could not be made (the kernel's log is shown), 2 for bad usage."""


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
        help="a series (6.1) or a release (6.1.0-56-amd64); the newest that matches "
        "is fetched once",
    )
    top.add_argument(
        "--writable",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder in which what the guest writes stays",
    )
    top.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=300, help="default: 300"
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
    # By its full path, or the guest's busybox would run its own command of that name.
    program = shutil.which(command[0])
    if program is None:
        parser().error(f"{command[0]}: not found")
    for folder in options.writable:
        if not Path(folder).is_dir():
            parser().error(f"--writable {folder}: no such folder")
    return machine.Task(
        [str(Path(program).absolute()), *command[1:]],
        writable=[str(Path(folder).resolve()) for folder in options.writable],
        append=options.append,
        memory=options.memory,
        cpus=options.cpus,
        limit_s=options.timeout,
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
        kernels.need_tools()
        kernel = kernels.get(options.kernel, CACHE)
    except archive.ArchiveError as error:
        print(f"vmtest: {error}", file=sys.stderr)
        return machine.DIED
    result = machine.run(kernel, task, sys.stdout.buffer, sys.stderr.buffer)
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
    sys.exit(main(sys.argv[1:]))
