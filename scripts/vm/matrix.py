"""Run the kernel tests under several Linux kernels, and tell how it went."""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import kernels
import machine
from vmtest import CACHE

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/kernels.md"
SERIES = ("5.10", "6.1", "6.12", "6.18", "7.3")
_HERE = "running"
_ABOUT = """\
Run tests/kernel under each KERNEL in a virtual machine and, first, under the running
kernel; print a table. Options behind -- go to pytest."""
_OTHER = "not userspace"
_OUTCOMES = ("passed", "failed", "skipped")


@dataclass
class Report:
    """How the tests went under one kernel."""

    kernel: str
    release: str
    seconds: float = 0.0
    status: int = 0
    groups: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    failures: list[str] = field(default_factory=list[str])
    blind_spots: str = "unknown"
    engine: str = "unknown"

    @property
    def fine(self) -> bool:
        """Whether there were tests, and all of them passed."""
        return self.status == 0 and bool(self.groups) and not self.failures

    def read(self, path: Path) -> None:
        """Take in what pytest wrote to path (JUnit's XML)."""
        for case in ET.parse(path).iter("testcase"):  # noqa: S314 -- our own file
            group = case.get("classname", "").rpartition(".")[2]
            outcome = _outcome(case)
            self.groups.setdefault(group, Counter())[outcome] += 1
            if outcome == "failed":
                self.failures.append(f"{group}::{case.get('name')}")
            for one in case.iter("property"):
                if one.get("name") == "blind_spots":
                    self.blind_spots = one.get("value", "")
                if one.get("name") == "engine":
                    self.engine = one.get("value", "")


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


@contextmanager
def snapshot() -> Generator[Path]:
    """Give a copy of the checkout, so that editing does not disturb the tests."""
    with tempfile.TemporaryDirectory(prefix="egressmon-kernels-") as name:
        copy = Path(name) / "checkout"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        files = [os.fsdecode(one) for one in listed.split(b"\0") if one]
        files.append("probes/egressmon/probes/egressmon.bpf.o")
        for file in files:
            if (ROOT / file).is_file():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, copy / file)
        # The guest would compile them anew in each process, and is slow.
        subprocess.run([sys.executable, "-m", "compileall", "-q", copy], check=False)
        yield copy


def _environment(copy: Path, engine: str) -> dict[str, str]:
    sources = [str(copy / name) for name in ("probes", "monitor", "policy")]
    return {
        "EGRESSMON_KERNEL_TESTS": "1",
        "EGRESSMON_TEST_ENGINE": engine,
        "EGRESSMON_TEST_LIMIT_S": "1800",
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": os.pathsep.join(sources),
    }


def _words(target: Path, more: list[str]) -> list[str]:
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v"]
    words += ["-o", "junit_family=xunit1"]  # which has properties
    return [*words, f"--junitxml={target}", "tests/kernel", *more]


def under(
    version: str, copy: Path, folder: Path, options: argparse.Namespace
) -> Report:
    """Run the tests under a kernel of version; `running` is this machine's own."""
    folder.mkdir()
    target = folder / "tests.xml"
    # In a machine: not what would come out the same, or needs a network.
    marks = options.select if version == _HERE else f"({options.select}) and {_OTHER}"
    words = [*_words(target, options.pytest), "-m", marks]
    environment = _environment(copy, options.engine)
    began = time.monotonic()
    with (folder / "output").open("wb") as output:
        if version == _HERE:
            release = platform.release()
            status = subprocess.run(
                words,
                cwd=copy,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            ).returncode
        else:
            kernel = kernels.get(version, CACHE)
            release = kernel.release
            task = machine.Task(
                words,
                folder=str(copy),
                environment=environment,
                writable=[str(folder)],
                memory="2G",
                limit_s=options.timeout,
            )
            result = machine.run(kernel, task, output, output)
            status = result.status
            (folder / "console").write_text(result.console)
    report = Report(version, release, time.monotonic() - began, status)
    if target.exists():
        report.read(target)
    return report


def table(reports: list[Report]) -> str:
    """Return reports as a Markdown table: a line for each kernel."""
    groups = sorted({group for one in reports for group in one.groups})
    head = ["kernel", "engine", *groups, "minutes", "blind spots"]
    lines = [head, ["---"] * len(head)]
    for one in reports:
        cells = [_cell(one.groups.get(group, Counter())) for group in groups]
        lines.append(
            [
                one.release + (" (this machine's)" if one.kernel == _HERE else ""),
                one.engine,
                *cells,
                f"{one.seconds / 60:.1f}",
                one.blind_spots,
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(counts: Counter[str]) -> str:
    said = [f"{counts[name]} {name}" for name in _OUTCOMES if counts[name]]
    return ", ".join(said) or "-"


def page(reports: list[Report], options: argparse.Namespace, minutes: float) -> str:
    """Return docs/kernels.md."""
    today = datetime.now(UTC).date()
    words = [*(["-m", options.select] if options.select != "kernel" else [])]
    words += options.pytest
    selection = f" with `{shlex.join(words)}`" if words else ""
    failed = "".join(
        f"* {one.release}: `{name}`\n" for one in reports for name in one.failures
    )
    return (
        f"""# Kernels

Written by `scripts/test-kernels --write` on {today}: `tests/kernel`{selection},
{minutes:.0f} minutes in all. Kernels but this machine's are Debian's, in QEMU without
KVM (some 20 times slower than the machine itself). A group is a file of tests.

{table(reports)}
{"Failed:" if failed else "Nothing failed."}

{failed}""".rstrip()
        + "\n"
    )


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
        type=int,
        default=os.cpu_count() or 1,
        help="machines at a time (default: one for each CPU)",
    )
    top.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=4 * 3600,
        help="for each machine (default: %(default)s)",
    )
    top.add_argument(
        "--write", action="store_true", help="write the table to docs/kernels.md"
    )
    return top


def main(arguments: list[str]) -> int:
    """Run the command line; returns 1 where a test failed under some kernel."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser().parse_args(arguments[:end])
    options.pytest = arguments[end + 1 :]
    kernels.need_tools()
    began = time.monotonic()
    with snapshot() as copy:
        work = copy.parent
        reports: list[Report] = []
        if not options.without_running:
            # Alone: its tests are about races, and the machines would be in its way.
            reports.append(under(_HERE, copy, work / _HERE, options))
            _tell(reports[0], work / _HERE)
        with ThreadPoolExecutor(options.jobs) as pool:
            versions = options.kernels or SERIES
            futures = [
                pool.submit(under, version, copy, work / version, options)
                for version in versions
            ]
            for future, version in zip(futures, versions, strict=True):
                reports.append(future.result())
                _tell(reports[-1], work / version)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{table(reports)}\n{minutes:.1f} minutes in all")
    if options.write:
        PAGE.write_text(page(reports, options, minutes))
    return int(not all(one.fine for one in reports))


def _tell(report: Report, folder: Path) -> None:
    counts = sum(report.groups.values(), Counter[str]())
    verdict = "fine" if report.fine else f"NOT FINE (status {report.status})"
    print(f"{report.release}: {_cell(counts)}: {verdict}", flush=True)
    if not report.fine:
        text = (folder / "output").read_text(errors="replace")
        print(text[-20000:], flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except kernels.KernelError as error:
        sys.exit(f"test-kernels: {error}")
