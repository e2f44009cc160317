"""Boot a kernel in a throw-away virtual machine and run one command in it."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import booted
import guest
from architectures import X86
from kernels import Kernel

TIMED_OUT = 124
DIED = 125

# thread=single: with a thread for each CPU (QEMU's default), guests that patch their
# own code crash.
_QEMU = (
    *("-accel", "tcg,thread=single", "-nodefaults", "-no-user-config"),
    *("-display", "none", "-no-reboot"),
)
_APPEND = (
    "loglevel=4 panic=-1 nowatchdog cryptomgr.notests "
    "rcupdate.rcu_expedited=1 lsm=landlock,lockdown,yama,apparmor,bpf"
)
_BROKEN = re.compile(r"cut here|Oops|BUG:")
_TURN_S = 0.02
_MAX_WRITTEN = 1 << 24


@dataclass(frozen=True)
class Task:
    """A command, and the virtual machine that it runs in.

    `writable` are the host's folders that it can write; `append` are options of the
    kernel's command line; `root` is the folder with the guest's files, and `shares` are
    more of them: (folder here, path there), read-only for the host. With `script`,
    systemd boots those, and a shell of its runs that text in place of `command`, in
    systemd's environment and without `writable`.
    """

    command: list[str]
    folder: str = field(default_factory=os.getcwd)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    writable: list[str] = field(default_factory=list[str])
    append: str = ""
    memory: str = "1G"
    cpus: int = 1
    limit_s: float = 300
    root: str = "/"
    shares: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    script: str | None = None


@dataclass(frozen=True)
class Result:
    """The outcome of a task.

    `status` is the command's, or TIMED_OUT or DIED. `boot_s` is None if the command was
    never started.
    """

    status: int
    died: bool  # the machine ended by itself, before the command did
    boot_s: float | None
    total_s: float
    console: str

    @property
    def broken(self) -> bool:
        """Whether the kernel logged a warning, an oops or a bug."""
        return bool(_BROKEN.search(self.console))


_stopping = threading.Event()


def stop_all() -> None:
    """End the machines that run, in whatever thread, and all that would run later."""
    _stopping.set()


def run(kernel: Kernel, task: Task, out: IO[bytes], err: IO[bytes]) -> Result:
    """Run `task` under `kernel`; its output is copied to `out` and `err` at once."""
    with tempfile.TemporaryDirectory(prefix="vmtest-") as name:
        control = Path(name)
        return _run(kernel, task, control, [("out", out), ("err", err)])


def _run(
    kernel: Kernel, task: Task, control: Path, streams: list[tuple[str, IO[bytes]]]
) -> Result:
    (control / "main").write_text(_main_script(task), errors="surrogateescape")
    init = guest.INIT if task.script is None else booted.INIT
    native = kernel.architecture is X86
    busybox = Path("/bin/busybox" if native else f"{task.root}/usr/bin/busybox")
    first = _first_file_system(kernel, control / "initramfs", init, busybox)
    began = time.monotonic()
    wall = time.time()
    sources = [((control / name).open("w+b"), to) for name, to in streams]
    with subprocess.Popen(
        emulator_words(kernel, task, control, first),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    ) as machine:
        try:
            late = _follow(machine, sources, began + task.limit_s)
        finally:
            machine.kill()
    for source, to in sources:
        _pass_on(source, to)
        source.close()
    return result_of(control, wall, time.monotonic() - began, late=late)


def _main_script(task: Task) -> str:
    if task.script is not None:
        return booted.main_script(task.script)
    return guest.main_script(
        command=task.command,
        environment=task.environment,
        folder=task.folder,
        host=os.uname().nodename,
        writable=task.writable,
        shared=[path for _, path in task.shares],
    )


def result_of(control: Path, wall: float, total_s: float, *, late: bool) -> Result:
    """Return the outcome that the files tell which the guest wrote to `control`.

    `wall` is when it was started; `late` says that its time was over.
    """
    text = _written(control / "status").strip()
    ended = text.isascii() and text.isdigit()
    started = control / "started"
    return Result(
        int(text) if ended else TIMED_OUT if late else DIED,
        not ended and not late,
        started.stat().st_mtime - wall if started.exists() else None,
        total_s,
        _written(control / "console"),
    )


# The guest may have put a link or a pipe of its own in the file's place, or nothing.
def _written(path: Path) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 -- a descriptor
            return (file.read(_MAX_WRITTEN) or b"").decode(errors="replace")
    except OSError:
        return ""


def emulator_words(kernel: Kernel, task: Task, control: Path, first: Path) -> list[str]:
    """Return the command that boots `kernel` for `task`.

    `control` is the folder that the guest tells its outcome in, `first` its initramfs.
    """
    machine = kernel.architecture
    words = ["setpriv", "--pdeathsig", "KILL", *machine.emulator, *_QEMU]
    words += ["-smp", str(task.cpus), "-m", task.memory]
    words += ["-kernel", str(kernel.image), "-initrd", str(first)]
    words += ["-append", f"{machine.parameters} {_APPEND} {task.append}"]
    words += ["-serial", f"file:{control}/console".replace(",", ",,")]
    shares = [("host", task.root, True), ("layer", str(kernel.layer), True)]
    shares += [("control", str(control), False)]
    shares += [
        (f"shared{number}", path, True) for number, (path, _) in enumerate(task.shares)
    ]
    shares += [
        (f"writable{number}", path, False) for number, path in enumerate(task.writable)
    ]
    for tag, path, read_only in shares:
        place = path.replace(",", ",,")  # a single one ends QEMU's option
        options = f"local,id={tag},path={place},security_model=none,multidevs=remap"
        words += ["-fsdev", options + (",readonly=on" if read_only else "")]
        words += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return words


# The initramfs: busybox, the modules that mount the root file system, and the script.
def _first_file_system(kernel: Kernel, target: Path, init: str, busybox: Path) -> Path:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "bin").mkdir()
        (root / "bin/busybox").write_bytes(busybox.read_bytes())
        (root / "bin/busybox").chmod(0o755)
        (root / "init").write_text(init)
        (root / "init").chmod(0o755)
        (root / "modules").mkdir()
        for module in kernel.modules.iterdir():
            (root / "modules" / module.name).write_bytes(module.read_bytes())
        files = "\n".join(
            str(path.relative_to(root)) for path in sorted(root.rglob("*"))
        )
        with target.open("wb") as archive:
            subprocess.run(
                ["cpio", "-o", "-H", "newc", "--quiet"],
                input=files.encode(),
                stdout=archive,
                cwd=root,
                check=True,
            )
    return target


# Copies the output until the machine ends; returns whether the deadline came first.
def _follow(
    machine: subprocess.Popen[bytes],
    sources: Sequence[tuple[IO[bytes], IO[bytes]]],
    deadline: float,
) -> bool:
    while machine.poll() is None and not _stopping.is_set():
        if time.monotonic() > deadline:
            return True
        for source, to in sources:
            _pass_on(source, to)
        time.sleep(_TURN_S)
    return False


def _pass_on(source: IO[bytes], to: IO[bytes]) -> None:
    if data := source.read():
        to.write(data)
        to.flush()
