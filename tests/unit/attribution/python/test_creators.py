"""Each interpreter is watched once, as long as it can be."""

import errno
import os
import signal
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from egressmon.attribution.python.builds import Interpreter
from egressmon.attribution.python.creators import Contexts
from egressmon.attribution.python.return_probes import may_harm


@pytest.fixture
def python(tmp_path: Path) -> Interpreter:
    """A file that passes for an interpreter."""
    path = tmp_path / "python"
    path.write_bytes(b"x")
    status = path.stat()
    return Interpreter(str(path), (4096, 8192), (status.st_dev, status.st_ino))


def found(file: int) -> tuple[int, ...]:
    """Take any file for an interpreter."""
    os.close(file)
    return 4096, 8192, 12288


class Probes:
    """Notes what it is asked in a file, as it is asked in another process."""

    def __init__(self, log: Path, *, refuses: bool = False) -> None:
        self.log = log
        self.refuses = refuses
        self._file = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self.context_programs = self._file, self._file

    def watch_copies(self, path: str, offset: int, pid: int = -1) -> int:
        assert pid == -1
        os.write(self._file, f"{Path(path).readlink()} {offset}\n".encode())
        if self.refuses:
            raise PermissionError(errno.EACCES, "no")
        return os.dup(self._file)

    def watch_makers(self, path: str, offset: int) -> int:
        os.write(self._file, f"{Path(path).readlink()} {offset} made\n".encode())
        return os.dup(self._file)

    @property
    def asked(self) -> list[str]:
        """What it was asked for."""
        return self.log.read_text().splitlines()


@pytest.fixture
def probes(tmp_path: Path) -> Probes:
    """Probes that do as they are asked."""
    return Probes(tmp_path / "log")


Make = Callable[..., Contexts]


@pytest.fixture
def make() -> Generator[Make]:
    """Make Contexts that are closed whatever becomes of the test."""
    with ExitStack() as stack:
        yield lambda *given: stack.enter_context(closing(Contexts(*given)))


def test_a_file_is_watched_once_by_whatever_path(
    make: Make, probes: Probes, python: Interpreter, tmp_path: Path
) -> None:
    contexts = make(probes, found)
    other = tmp_path / "other"
    other.symlink_to(python.path)

    assert contexts.begin(None) == ""
    contexts.watch(python)
    contexts.watch(replace(python, path=str(other)))
    contexts.watch(replace(python, contexts=None, file=(1, 3)))
    contexts.watch(None)

    assert contexts.settle() == ""
    assert probes.asked == [
        *(f"{python.path} {place} made" for place in (8192, 12288)),
        f"{python.path} 4096",
    ]


def test_what_is_refused_is_tried_again(
    make: Make, python: Interpreter, tmp_path: Path
) -> None:
    probes = Probes(tmp_path / "log", refuses=True)
    contexts = make(probes, found)
    contexts.begin(None)

    for _ in range(2):
        contexts.watch(python)
        contexts.settle()

    assert len(probes.asked) == 6
    assert "could not be attached (Permission denied)" in contexts.failure


def test_another_file_at_its_path_is_left_alone(
    make: Make, probes: Probes, python: Interpreter
) -> None:
    contexts = make(probes, found)
    contexts.begin(None)

    contexts.watch(replace(python, file=(1, 2)))
    contexts.watch(replace(python, path="/nonexistent/python"))
    contexts.settle()

    assert probes.asked == []
    contexts.watch(python)
    contexts.settle()
    assert len(probes.asked) == 3


def ends(_file: int) -> None:
    """Be ended by what is in the file."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("find", [os.close, ends])
def test_a_probe_goes_nowhere_but_where_the_file_itself_says(
    make: Make, probes: Probes, python: Interpreter, find: Callable[[int], None]
) -> None:
    contexts = make(probes, find)
    contexts.begin(None)

    contexts.watch(python)

    assert "could not be attached (Exec format error)" in contexts.settle()
    assert probes.asked == []


def test_what_attaches_may_die(make: Make, probes: Probes, python: Interpreter) -> None:
    contexts = make(probes, found)
    before = children()
    contexts.begin(None)
    (attacher,) = children() - before
    os.kill(attacher, signal.SIGKILL)
    os.waitid(os.P_PID, attacher, os.WEXITED | os.WNOWAIT)

    contexts.watch(python)

    assert contexts.settle() == "a return probe could not be attached (Broken pipe)"
    assert probes.asked == []


def test_what_attaches_may_die_before_it_answers(
    make: Make, probes: Probes, python: Interpreter
) -> None:
    contexts = make(probes, found)
    before = children()
    contexts.begin(None)
    (attacher,) = children() - before
    os.kill(attacher, signal.SIGSTOP)
    # Until it has stopped, it may still take the request, and even answer.
    os.waitid(os.P_PID, attacher, os.WSTOPPED | os.WNOWAIT)
    contexts.watch(python)
    os.kill(attacher, signal.SIGKILL)

    lost = "a return probe could not be attached (Connection reset by peer)"
    assert contexts.settle() == lost


def test_what_attaches_ends_with_the_connection(make: Make, probes: Probes) -> None:
    contexts = make(probes, found)
    before = children()
    contexts.begin(None)
    (attacher,) = children() - before

    contexts.close()

    assert os.waitpid(attacher, 0) == (attacher, 0)


def test_nothing_is_watched_before_it_can_be(
    make: Make, probes: Probes, python: Interpreter
) -> None:
    contexts = make(probes, found)

    contexts.watch(python)

    assert contexts.settle() == ""


def children() -> set[int]:
    """Return this process's children."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return set(map(int, found.split()))


@pytest.mark.parametrize(
    ("release", "tried"),
    [
        ("6.1.0-56-amd64", False),
        ("6.10.11", False),
        ("6.11.0-8-generic", True),
        ("6.12.117+deb12-amd64", True),
        ("6.13.2", True),
        ("6.14.0", False),
        ("7.3.4+deb13-amd64", False),
    ],
)
def test_only_kernels_that_may_do_harm_are_tried(
    monkeypatch: pytest.MonkeyPatch,
    release: str,
    tried: bool,  # noqa: FBT001
) -> None:
    asked: list[int] = []

    def watch(pid: int) -> int:
        asked.append(pid)
        return os.open("/dev/null", os.O_RDONLY)

    machine_is(monkeypatch, "x86_64")
    assert may_harm(release, watch) is False
    assert bool(asked) is tried


def machine_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    here = os.uname()
    other = os.uname_result([*here[:4], name])
    monkeypatch.setattr(os, "uname", lambda: other)


# There is no system call by which a function returns.
def test_no_kernel_of_arm64_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(pid: int) -> int:
        raise AssertionError(pid)

    machine_is(monkeypatch, "aarch64")
    assert may_harm("6.12.1", watch) is False


def test_what_cannot_be_tried_may_do_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_is(monkeypatch, "x86_64")

    def watch(pid: int) -> int:
        raise OSError(pid)

    assert may_harm("6.12.1", watch) is True


def test_a_child_that_dies_is_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_is(monkeypatch, "x86_64")

    def watch(pid: int) -> int:
        os.kill(pid, 9)
        return os.open("/dev/null", os.O_RDONLY)

    assert may_harm("6.12.1", watch) is True
