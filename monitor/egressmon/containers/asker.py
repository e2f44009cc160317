"""A process of root's that asks engines of containers, and understands no answer.

It sends one fixed request with an id that can be nothing but that, and hands the bytes
of the answer, bounded, to the agent, which has no rights and reads them. An engine that
never answers keeps nobody: neither the keeper nor other questions.
"""

import errno
import os
import re
import selectors
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

from egressmon.containers.protocol import (
    ANSWER,
    MAX_AT_ONCE,
    MAX_BYTES,
    PATIENCE_S,
    REQUEST,
    Told,
)
from egressmon.containers.sources import Source
from egressmon.privileges.confinement import end_with_parent, lock
from egressmon.startup import descriptors
from egressmon.values import dataclass, field

_ID = re.compile(rb"[0-9a-f]{64}", re.ASCII)
_PIECE = 1 << 16
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED})
"""A socket at which nobody listens is one that was left behind."""


@dataclass(slots=True)
class _Question:
    number: int
    socket: socket.socket
    owner: int
    until: float
    """In monotonic seconds."""
    said: bytearray = field(default_factory=bytearray)


def start(sources: tuple[Source, ...]) -> tuple[int, socket.socket]:
    """Fork the asker; return its pid, and the agent's end of its socket.

    Close that end in every process but the agent: the asker ends with it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        _run(sources, ours, theirs)
    ours.close()
    return pid, theirs


def _run(
    sources: tuple[Source, ...], ours: socket.socket, theirs: socket.socket
) -> NoReturn:
    status = 1
    try:
        theirs.close()
        end_with_parent(signal.SIGKILL)
        descriptors.let_go()
        _close_all_but(ours.fileno())
        lock(())
        Asker(sources, ours).serve()
        status = 0
    finally:
        os._exit(status)


# What the other processes have open is none of its business.
def _close_all_but(kept: int) -> None:
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


class Asker:
    """Answers the agent's questions, several at a time."""

    def __init__(self, sources: tuple[Source, ...], agent: socket.socket) -> None:
        self._sources = sources
        self._agent = agent
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, _Question] = {}
        self._is_asked = False
        self._listen(wanted=True)

    def serve(self) -> None:
        """Answer until the agent is gone."""
        while True:
            for key, _ in self._selector.select(self._left_s()):
                if key.fileobj is not self._agent:
                    self._read(self._open[key.fd])
                elif not self._take():
                    return
            for late in [one for one in self._open.values() if _is_over(one)]:
                self._end(late, Told.LATE)
            self._listen(wanted=len(self._open) < MAX_AT_ONCE)

    def _listen(self, *, wanted: bool) -> None:
        if wanted and not self._is_asked:
            self._selector.register(self._agent, selectors.EVENT_READ)
        elif self._is_asked and not wanted:
            self._selector.unregister(self._agent)
        self._is_asked = wanted

    def _left_s(self) -> float | None:
        until = min((one.until for one in self._open.values()), default=None)
        return None if until is None else max(0.0, until - time.monotonic())

    def _take(self) -> bool:
        request = self._agent.recv(REQUEST.size + 1)
        if len(request) != REQUEST.size:
            return False
        number: int
        which: int
        identifier: bytes
        number, which, identifier = REQUEST.unpack(request)
        if which >= len(self._sources) or not _ID.fullmatch(identifier):
            return False
        self._begin(number, self._sources[which], identifier.decode())
        return True

    def _begin(self, number: int, source: Source, identifier: str) -> None:
        path = source.path.replace("{id}", identifier)
        try:
            if source.kind == "file":
                self._tell(number, Told.ALL, *_read_file(path))
            else:
                self._connect(number, path, identifier)
        except OSError as error:
            told = Told.ABSENT if error.errno in _ABSENT else Told.REFUSED
            told = Told.HUGE if error.errno == errno.EFBIG else told
            self._tell(number, told, 0, b"")

    # A full queue of connections is an engine that does not answer (EAGAIN).
    def _connect(self, number: int, path: str, identifier: str) -> None:
        owner = os.stat(path).st_uid  # noqa: PTH116 -- as the others
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            peer.setblocking(False)
            peer.connect(path)
            peer.send(
                f"GET /containers/{identifier}/json HTTP/1.0\r\n"
                "Host: localhost\r\nAccept: application/json\r\n\r\n".encode()
            )
        except OSError:
            peer.close()
            raise
        one = _Question(number, peer, owner, time.monotonic() + PATIENCE_S)
        self._open[peer.fileno()] = one
        self._selector.register(peer, selectors.EVENT_READ)

    def _read(self, one: _Question) -> None:
        try:
            piece = one.socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._end(one, Told.REFUSED)
            return
        one.said += piece
        if len(one.said) > MAX_BYTES:
            self._end(one, Told.HUGE)
        elif not piece:
            self._end(one, Told.ALL)

    def _end(self, one: _Question, told: Told) -> None:
        self._selector.unregister(one.socket)
        del self._open[one.socket.fileno()]
        one.socket.close()
        said = bytes(one.said) if told == Told.ALL else b""
        self._tell(one.number, told, one.owner, said)

    def _tell(self, number: int, told: Told, owner: int, said: bytes) -> None:
        with suppress(BrokenPipeError):  # the agent is gone, which `_take` sees
            self._agent.send(ANSWER.pack(number, told, owner) + said)


def _is_over(one: _Question) -> bool:
    return time.monotonic() >= one.until


def _read_file(path: str) -> tuple[int, bytes]:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return found.st_uid, b"".join(_pieces(descriptor))
    finally:
        os.close(descriptor)


def _pieces(descriptor: int) -> Iterator[bytes]:
    left = MAX_BYTES
    while left and (piece := os.read(descriptor, min(left, _PIECE))):
        left -= len(piece)
        yield piece
