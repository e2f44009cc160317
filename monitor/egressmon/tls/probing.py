"""Ask many hosts, some at a time; what one of them does holds up no other for long."""

import itertools
import queue
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from egressmon.tls.connecting import Reach, reach
from egressmon.tls.handshake import Client, Handshake
from egressmon.tls.record import Record, record_of
from egressmon.tls.targets import Target

_AT_ONCE = 8


class Limits(NamedTuple):
    """How long one host may take, in seconds."""

    connect: float = 5.0
    """For its name, and for each of its addresses."""
    handshake: float = 10.0
    """For all of the handshake."""


_Answer: TypeAlias = tuple[Reach, Handshake | None] | Exception


def probe_all(
    targets: Iterable[Target], client: Client, limits: Limits
) -> Iterator[Record]:
    """Yield a record of each of `targets`, in their order."""
    asked = list(targets)
    for target, slot in zip(asked, _begun(asked, client, limits), strict=True):
        answer = slot.get()
        if isinstance(answer, Exception):
            raise answer
        yield _read(target, *answer)


def probe(target: Target, client: Client, limits: Limits) -> Record:
    """Return the record of one host."""
    return next(probe_all([target], client, limits))


# Threads of our own, for those of an executor would have to end before the process may.
def _begun(
    targets: list[Target], client: Client, limits: Limits
) -> list["queue.SimpleQueue[_Answer]"]:
    slots: list[queue.SimpleQueue[_Answer]] = [queue.SimpleQueue() for _ in targets]
    following = itertools.count()  # next() is one step for all threads

    def work() -> None:
        while (at := next(following)) < len(targets):
            slots[at].put(_ask(targets[at], client, limits))

    for _ in range(min(_AT_ONCE, len(targets))):
        threading.Thread(target=work, daemon=True).start()
    return slots


def _ask(target: Target, client: Client, limits: Limits) -> _Answer:
    try:
        reached = reach(target, limits.connect)
        if reached.socket is None:
            return reached, None
        try:
            return reached, client.shake(target, reached.socket, limits.handshake)
        finally:
            with suppress(OSError):
                reached.socket.close()
    except Exception as error:  # noqa: BLE001 -- raised where it is waited for
        return error


# In the thread that asks, for the settings of `warnings` are the process's: of odd
# certificates `cryptography` warns.
def _read(target: Target, reached: Reach, shaken: Handshake | None) -> Record:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return record_of(target, reached, shaken)
