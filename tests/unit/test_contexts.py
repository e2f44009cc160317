"""Each interpreter is watched once, as long as it can be."""

import os

import pytest

from egressmon.attribution.contexts import Contexts
from egressmon.attribution.interpreters import Interpreter
from egressmon.attribution.return_probes import may_harm

PYTHON = Interpreter("/usr/bin/python3", 4096, (1, 2))


class Probes:
    """Hands out descriptors of pipes, and keeps the other ends."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[tuple[str, int]] = []
        self.ends: list[int] = []
        self.refuses = refuses

    def watch_contexts(self, path: str, offset: int, pid: int = -1) -> int:
        assert pid == -1
        self.asked.append((path, offset))
        if self.refuses:
            raise OSError
        end, descriptor = os.pipe()
        self.ends.append(end)
        return descriptor


def test_a_file_is_watched_once_by_whatever_path() -> None:
    probes = Probes()
    contexts = Contexts(probes)

    contexts.watch(PYTHON)
    contexts.watch(Interpreter("/proc/7/exe", 4096, (1, 2)))
    contexts.watch(Interpreter("/opt/python", None, (1, 3)))
    contexts.watch(None)
    contexts.settle()

    assert probes.asked == [("/usr/bin/python3", 4096)]
    contexts.close()
    for end in probes.ends:
        assert os.read(end, 1) == b""  # the other end is closed
        os.close(end)


def test_what_is_refused_is_tried_again() -> None:
    probes = Probes(refuses=True)
    contexts = Contexts(probes)

    for _ in range(2):
        contexts.watch(PYTHON)
        contexts.settle()

    assert len(probes.asked) == 2
    assert "could not be attached" in contexts.failure
    contexts.close()


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
    release: str,
    tried: bool,  # noqa: FBT001
) -> None:
    asked: list[int] = []

    def watch(pid: int) -> int:
        asked.append(pid)
        return os.open("/dev/null", os.O_RDONLY)

    assert may_harm(release, watch) is False
    assert bool(asked) is tried


def test_what_cannot_be_tried_may_do_harm() -> None:
    def watch(pid: int) -> int:
        raise OSError(pid)

    assert may_harm("6.12.1", watch) is True


def test_a_child_that_dies_is_harm() -> None:
    def watch(pid: int) -> int:
        os.kill(pid, 9)
        return os.open("/dev/null", os.O_RDONLY)

    assert may_harm("6.12.1", watch) is True
