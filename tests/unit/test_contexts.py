"""Each interpreter is watched once, as long as it can be."""

import os

from egressmon.attribution.contexts import Contexts
from egressmon.attribution.interpreters import Interpreter

PYTHON = Interpreter("/usr/bin/python3", 4096, (1, 2))


class Probes:
    """Hands out descriptors of pipes, and keeps the other ends."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[tuple[str, int]] = []
        self.ends: list[int] = []
        self.refuses = refuses

    def watch_contexts(self, path: str, offset: int) -> int:
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
    contexts.close()
