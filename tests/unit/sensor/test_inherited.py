"""A socket that the command inherits is watched, or the run is in doubt."""

import errno
import os
import socket
from types import SimpleNamespace
from typing import cast

from egressmon.probes.engine import Engine
from egressmon.sensor.inherited import adopt


def test_one_that_the_probes_cannot_be_told_of_is_a_doubt() -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    engine = cast("Engine", SimpleNamespace(adopt=refuse))
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.set_inheritable(True)

        doubts = adopt(engine)

    assert doubts == [
        "a socket that the command inherits is not watched: Cannot allocate memory"
    ]


def test_one_that_is_watched_is_none() -> None:
    adopted: list[int] = []

    def watch(number: int) -> None:
        adopted.append(os.fstat(number).st_ino)

    engine = cast("Engine", SimpleNamespace(adopt=watch))
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.set_inheritable(True)

        assert adopt(engine) == []
        assert os.fstat(one.fileno()).st_ino in adopted
