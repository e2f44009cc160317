"""Ask a running sidecar; whoever answers may be anybody, frozen, or gone."""

import json
import os
import select
import socket
import stat
import struct
import time
from contextlib import suppress
from typing import Any, cast

import orjson

from egressmon.errors import EgressmonError
from egressmon.sidecar.answers import MAX_ANSWER
from egressmon.sidecar.callers import credentials_of
from egressmon.sidecar.listening import SOCKET
from egressmon.sidecar.requests import MAX_REQUEST

ANSWER_S, STOP_S = 5.0, 120.0
_TIMEVAL = struct.Struct("@ll")
_AGAIN_S = 0.05
_ROOT = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_START = "start one with `egressmon sidecar`, or name its folder with --runtime"


class AskError(EgressmonError):
    """No sidecar is there, or what is there does not answer as one."""

    status = 2


class RefusedError(EgressmonError):
    """The sidecar does not do what was asked."""

    status = other_status = 1


def ask(
    folder: str, request: dict[str, str], limit_s: float, owner: int = _ROOT
) -> dict[str, Any]:
    """Return the answer to `request` of the sidecar in `folder`; it is not refused.

    It is waited for at most `limit_s`. Nothing is sent to a socket of another user than
    `owner`, unless only root can have put it into the folder. Raises AskError and
    RefusedError.
    """
    deadline = time.monotonic() + limit_s
    line = json.dumps(request).encode() + b"\n"
    if len(line) > MAX_REQUEST:
        raise AskError(f"the request is longer than {MAX_REQUEST} bytes", "write less")
    while True:
        answer = _Asking(folder, limit_s, deadline).ask(line, owner)
        if answer.get("ok") is True:
            return answer
        if answer.get("busy") is not True or time.monotonic() + _AGAIN_S > deadline:
            break
        time.sleep(_AGAIN_S)
    why = answer.get("why")
    if not isinstance(why, str) or answer.get("ok") is not False:
        raise AskError("the answer is none of a sidecar's", _START)
    if answer.get("busy") is True:
        raise AskError(why, "ask again later")
    raise RefusedError(f"refused: {why}", "docs/usage.md says who may ask for what")


class _Asking:
    def __init__(self, folder: str, limit_s: float, deadline: float) -> None:
        self._folder = folder
        self._path = f"{folder.rstrip('/')}/{SOCKET}"
        self._limit_s = limit_s
        self._deadline = deadline
        self._listens = 0

    def ask(self, line: bytes, owner: int) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            place = self._opened()
            try:
                self._connect(connection, place)
                self._require_trust(connection, place, owner)
            finally:
                os.close(place)
            connection.setblocking(False)
            # It may have answered before it is asked, and hung up: it is busy.
            with suppress(OSError):
                connection.send(line, socket.MSG_NOSIGNAL)
            return self._parsed(self._receive(connection))

    def _opened(self) -> int:
        try:
            return os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise AskError(
                f"no sidecar is running in {self._folder}", _START
            ) from error

    # By the folder's descriptor, so that it is the folder that is looked at later, and
    # since a socket's path has at most 107 bytes.
    def _connect(self, connection: socket.socket, place: int) -> None:
        rest = max(0.001, self._deadline - time.monotonic())
        limit = _TIMEVAL.pack(int(rest), int(rest % 1 * 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            connection.connect(f"/proc/self/fd/{place}/{SOCKET}")
        except FileNotFoundError as error:
            raise AskError(f"no sidecar is running at {self._path}", _START) from error
        except ConnectionRefusedError as error:
            raise AskError(
                f"nobody listens at {self._path} any more: the sidecar has ended",
                "how it ended is in its evidence; without `sidecar stop` the run is "
                "incomplete",
            ) from error
        except BlockingIOError as error:
            raise self._silent() from error
        except OSError as error:
            raise AskError(
                f"{self._path} cannot be connected to: {error.strerror}", _START
            ) from error

    def _require_trust(self, connection: socket.socket, place: int, owner: int) -> None:
        try:
            self._listens, uid = credentials_of(connection)
        except OSError as error:
            raise self._gone() from error
        found = os.fstat(place)
        is_roots = found.st_uid == _ROOT and not found.st_mode & _OTHERS_WRITE
        if uid != owner and not is_roots:
            raise AskError(
                f"{self._path} is no sidecar's: uid {uid} listens there, in a folder "
                "that is not root's alone",
                "only root runs a sidecar; no token was sent",
            )

    def _receive(self, connection: socket.socket) -> bytes:
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        received = bytearray()
        while b"\n" not in received:
            rest = self._deadline - time.monotonic()
            if rest <= 0 or not poll.poll(rest * 1000):
                raise self._silent()
            try:
                part = connection.recv(MAX_ANSWER + 1 - len(received))
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone() from error
            if not part:
                raise self._gone()
            received += part
            if len(received) > MAX_ANSWER:
                raise AskError(
                    f"the answer from {self._path} is longer than a sidecar's", _START
                )
        return bytes(received.partition(b"\n")[0])

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            found: Any = orjson.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise AskError(
                f"the answer from {self._path} is none of a sidecar's", _START
            )
        return cast("dict[str, Any]", found)

    def _silent(self) -> AskError:
        who = f" (pid {self._listens})" if self._listens else ""
        return AskError(
            f"the sidecar at {self._path}{who} did not answer within "
            f"{self._limit_s:g} s",
            "it may be frozen, or overloaded: ps -o pid,stat,args shows it",
        )

    def _gone(self) -> AskError:
        return AskError(
            f"the sidecar at {self._path} ended without an answer",
            "how it ended is in its evidence; without an answer it is not concluded",
        )
