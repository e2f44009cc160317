"""What a scenario waits for, and for how long: here of a launcher that is stopped."""

import os
import threading
import time
from typing import cast

import pytest

from egressmon.proofs.playing.backstage import Backstage
from egressmon.proofs.playing.errors import ScenarioError
from egressmon.proofs.playing.managed import Interrupts, Managed
from egressmon.proofs.playing.progress import Progress
from egressmon.proofs.starting.channel import Channel


class Calm:
    """Nobody interrupts."""

    count = 0

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def take(self) -> None:
        """Nothing comes."""


def serve(starter: Channel, kept: list[Channel]) -> None:
    """Be the launcher that is there, and never does what it is asked."""
    received = starter.receive()
    assert received is not None
    evidence, control, inherited = received[1]
    ours, theirs = Channel.pair()
    end = Channel.of(inherited)
    end.send({"channel": 1}, theirs.fileno())
    for one in (end, theirs):
        one.close()
    os.close(evidence)
    os.close(control)
    kept.append(ours)


def test_a_start_takes_no_longer_than_its_limit() -> None:
    ours, theirs = Channel.pair()
    read, write = os.pipe()
    calm = cast("Interrupts", Calm(read))
    backstage = Backstage(ours, calm, Progress(1, quiet=True))
    kept: list[Channel] = []
    launcher = threading.Thread(target=serve, args=(theirs, kept))
    launcher.start()
    backstage.begin("run-01", os.open(os.devnull, os.O_WRONLY), 0.0)
    launcher.join()

    began = time.monotonic()
    with pytest.raises(ScenarioError, match=r"halt did not start within 0\.2 s"):
        backstage.start(Managed("halt", is_lasting=False), ["true"], "/", {}, 0.2)
    assert time.monotonic() - began < 10  # far below what an agent may take to answer

    backstage.run_status = 121
    backstage.finish(0)
    for one in (*kept, ours, theirs):
        one.close()
    os.close(read)
    os.close(write)
