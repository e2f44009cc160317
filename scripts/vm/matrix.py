"""Run the kernel tests under several Linux kernels, and print the results."""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import archive
import foreign
import kernels
import machine
from architectures import Target
from architectures import target as target_of
from report import Report, counted, page, table
from vmtest import CACHE, end_as_asked, seconds

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/kernels.md"
SERIES = ("5.10", "6.1", "6.12", "6.18", "7.3")
_HERE = "running"
_REPORTS = CACHE / "reports"  # the last report of each kernel, for PAGE
_ABOUT = """\
Run tests/kernel under each KERNEL in a virtual machine and, first, under the running
kernel; print a table. Options behind -- go to pytest. arm64/6.12 and arm64/6.12@trixie
are another architecture's kernels and user lands, as for scripts/vmtest."""
_OTHER = "not userspace"


@contextmanager
def snapshot() -> Generator[Path]:
    """Yield a copy of the checkout, so that editing does not disturb the tests."""
    with tempfile.TemporaryDirectory(prefix="egressmon-kernels-") as name:
        copy = Path(name) / "checkout"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        files = [os.fsdecode(one) for one in listed.split(b"\0") if one]
        objects = ("egressmon.bpf.o", "frames.bpf.o")
        programs = f"probes/egressmon/probes/programs/{platform.machine()}"
        files += [f"{programs}/{one}" for one in objects]
        for file in files:
            if (ROOT / file).is_file():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, copy / file)
        # Compiled here, once: the guest is slow, and would do it in each process.
        subprocess.run([sys.executable, "-m", "compileall", "-q", copy], check=False)
        _make_environment(copy)
        yield copy


# A .venv that imports egressmon from the copy, and all else from this interpreter's
# packages; not by PYTHONPATH, which egressmon ignores.
def _make_environment(copy: Path) -> None:
    words = [sys.executable, "-m", "venv", str(copy / ".venv")]
    subprocess.run(words, check=True)
    (packages,) = copy.glob(".venv/lib/python3*/site-packages")
    folders = [str(copy / name) for name in ("probes", "monitor", "policy")]
    folders.append(sysconfig.get_path("purelib"))
    (packages / "copy.pth").write_text("\n".join(folders) + "\n")
    shutil.copy2(copy / "scripts/launcher.sh", copy / ".venv/bin/egressmon")


def _environment(copy: Path, engine: str) -> dict[str, str]:
    folders = (copy / ".venv/bin", Path(sys.executable).parent)
    return {
        "EGRESSMON_KERNEL_TESTS": "1",
        "EGRESSMON_LONG_TESTS": "1",
        "EGRESSMON_TEST_ENGINE": engine,
        "EGRESSMON_TEST_LIMIT_S": "1800",
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "PATH": ":".join([*map(str, folders), "/usr/sbin:/usr/bin:/sbin:/bin"]),
    }


def _words(copy: Path, target: Path, more: list[str]) -> list[str]:
    words = [
        str(copy / ".venv/bin/python"),
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-v",
    ]
    words += [
        "-o",
        "junit_family=xunit1",
    ]  # this family can have properties, which Report.read() uses
    # Real engines run on the machine itself: scripts/test-engines.
    words += ["--ignore=tests/kernel/engines"]
    return [*words, f"--junitxml={target}", "tests/kernel", *more]


def under(
    version: str, copy: Path, folder: Path, options: argparse.Namespace
) -> Report:
    """Run the tests under the kernel `version`; "running" is this machine's own.

    `folder` gets their output and results, and the virtual machine's console.
    """
    folder.mkdir()
    results = folder / "tests.xml"
    target = None if version == _HERE else target_of(version)
    # In a virtual machine not those whose result is the same, or that need a network.
    same = target is not None and not target.suite
    marks = f"({options.select}) and {_OTHER}" if same else options.select
    task = machine.Task(
        [*_words(copy, results, options.pytest), "-m", marks],
        folder=str(copy),
        environment=_environment(copy, options.engine),
        writable=[str(folder)],
        memory="2G",
        limit_s=options.timeout,
    )
    began = time.monotonic()
    with (folder / "output").open("wb") as output:
        if target is None:
            release, status = _natively(task, output)
        else:
            release, status = _in_machine(target, task, output, folder / "console")
    report = Report(
        release,
        time.monotonic() - began,
        status,
        native=target is None,
        date=str(datetime.now(UTC).date()),
        commit=options.commit,
        selection=shlex.join(["-m", options.select, *options.pytest]),
    )
    if results.exists():
        report.read(results)
    else:
        report.read_output(folder / "output")
    return report


# As _in_machine(), returns the kernel's release and pytest's status.
def _natively(task: machine.Task, output: IO[bytes]) -> tuple[str, int]:
    done = subprocess.run(
        task.command,
        cwd=task.folder,
        env=task.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        check=False,
    )
    return platform.release(), done.returncode


def _in_machine(
    target: Target, task: machine.Task, output: IO[bytes], console: Path
) -> tuple[str, int]:
    kernel = kernels.get(target.version, CACHE, target.architecture)
    release = kernel.release
    if target.suite:
        task = _elsewhere(task, target)
        release += f"@{target.suite}"
    result = machine.run(kernel, task, output, output)
    console.write_text(result.console)
    return release, result.status


# What _prepare() made of the copy for the guests of that user land, beside it.
def _venv(copy: Path, target: Target) -> Path:
    return copy.parent / f"venv-{target.suite}"


def _elsewhere(task: machine.Task, target: Target) -> machine.Task:
    land = foreign.get(target, CACHE)
    copy = Path(task.folder)
    more = {"EGRESSMON_TEST_CLIENTS": foreign.CLIENTS, "HOME": "/root"}
    path = f"{copy}/.venv/bin:{foreign.PATH}"
    return replace(
        task,
        environment=task.environment | more | {"PATH": path},
        root=str(land.root),
        shares=land.shares(copy, _venv(copy, target)),
    )


# In turn, as all of them use one copy: fetches what is needed, and compiles.
def _prepare(copy: Path, targets: list[Target]) -> None:
    for target in {one.suite: one for one in targets if one.suite}.values():
        foreign.get(target, CACHE)
        foreign.prepare(target, copy, CACHE, _venv(copy, target))


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(
        words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def _jobs(text: str) -> int:
    jobs = int(text)
    if jobs < 1:
        raise ValueError(text)
    return jobs


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line before the `--`."""
    top = argparse.ArgumentParser(
        prog="scripts/test-kernels",
        usage="scripts/test-kernels [OPTIONS] [KERNEL...] [-- PYTEST OPTION...]",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "kernels",
        metavar="KERNEL",
        nargs="*",
        help=f"series or releases (default: {' '.join(SERIES)})",
    )
    top.add_argument(
        "--select",
        metavar="MARKS",
        default="kernel",
        help="only tests with these marks, as pytest's -m: smoke takes minutes, all "
        "of them an hour for each kernel",
    )
    top.add_argument("--engine", choices=("auto", "libbpf", "bcc"), default="auto")
    top.add_argument(
        "--without-running", action="store_true", help="leave the running kernel out"
    )
    top.add_argument(
        "--jobs",
        metavar="N",
        type=_jobs,
        default=os.cpu_count() or 1,
        help="machines at a time (default: one for each CPU)",
    )
    top.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=4 * 3600,
        help="for each machine (default: %(default)s)",
    )
    top.add_argument(
        "--write",
        action="store_true",
        help="put the reports into docs/kernels.md, beside those of other kernels",
    )
    return top


def main(arguments: list[str]) -> int:
    """Run the command line; returns 1 if a test failed under any of the kernels."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser().parse_args(arguments[:end])
    options.pytest = arguments[end + 1 :]
    options.commit = (
        _commit()
    )  # read now, with the copy: the checkout may change meanwhile
    versions = list(dict.fromkeys(options.kernels or SERIES))
    targets = [target_of(one) for one in versions]
    for one in targets:
        kernels.need_tools(one.architecture)
    began = time.monotonic()
    with snapshot() as copy:
        work = copy.parent
        _prepare(copy, targets)
        reports: list[Report] = []
        if not options.without_running:
            # Before the virtual machines: some tests race, and need the CPUs.
            reports.append(under(_HERE, copy, work / _HERE, options))
            _finish(reports[0], work / _HERE, options)
        with ThreadPoolExecutor(options.jobs) as pool:
            folders = [work / version.replace("/", "-") for version in versions]
            futures = [
                pool.submit(under, version, copy, folder, options)
                for version, folder in zip(versions, folders, strict=True)
            ]
            for future, folder in zip(futures, folders, strict=True):
                reports.append(future.result())
                _finish(reports[-1], folder, options)
    print(f"\n{table(reports)}\n{(time.monotonic() - began) / 60:.1f} minutes in all")
    if options.write:
        PAGE.write_text(page(Report.saved(_REPORTS)))
    return int(not all(one.fine for one in reports))


def _finish(report: Report, folder: Path, options: argparse.Namespace) -> None:
    if options.write:
        report.save(_REPORTS)
    verdict = "fine" if report.fine else f"NOT FINE (status {report.status})"
    print(f"{report.release}: {counted(report.total)}: {verdict}", flush=True)
    if not report.fine:
        text = (folder / "output").read_text(errors="replace")
        print(text[-20000:], flush=True)


if __name__ == "__main__":
    end_as_asked()
    try:
        sys.exit(main(sys.argv[1:]))
    except archive.ArchiveError as error:
        sys.exit(f"test-kernels: {error}")
