"""The guard's ledger: each decision as a JSON object on a line of its own."""

import errno
import json
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from egressmon.guard.decisions import Decision
from egressmon.text import escape, printable

SCHEMA = "egressmon-ledger/1"
# O_NONBLOCK: does not wait for the reader of a pipe.
_ADDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
_FLAGS = _ADDING | os.O_CLOEXEC | os.O_NOFOLLOW


class Ledger:
    """Appends to a file that several processes may share: one write a line."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._was_told = False
        self._is_broken = False
        """Whether the last line may be there in part."""
        self._descriptor: int | None = None
        self._problem: str | None = None
        try:
            self._descriptor = os.open(path, _FLAGS, 0o600)
        except (OSError, ValueError) as error:
            problem: str = getattr(error, "strerror", None) or str(error)
            self._problem = problem
            self._tell(problem)
        os.register_at_fork(after_in_child=self._renew_lock)

    def write(self, decision: Decision) -> str | None:
        """Append `decision`; return None, or why it could not be written."""
        line = json.dumps(_record(decision)).encode() + b"\n"
        problem = self._problem
        if self._descriptor is not None:
            with self._lock:
                problem = self._append(self._descriptor, line)
        if problem is None:
            return None
        self._tell(problem)
        return f"the decision could not be written to the guard's ledger: {problem}"

    def _append(self, descriptor: int, line: bytes) -> str | None:
        # A line that is there in part is ended first, so that it spoils no other.
        data = b"\n" + line if self._is_broken else line
        try:
            written = os.write(descriptor, data)
        except OSError as error:
            return error.strerror or str(error)
        if written != len(data):
            self._is_broken = True
            return os.strerror(errno.ENOSPC)
        self._is_broken = False
        return None

    def _tell(self, problem: str) -> None:
        if self._was_told or sys.stderr is None:
            return
        self._was_told = True
        with suppress(OSError, ValueError):
            sys.stderr.write(
                f"egressmon guard: {printable(self._path)}: {printable(problem)}: what "
                "cannot be written down is refused\n"
            )

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


def _record(decision: Decision) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "time": _now(),
        "pid": os.getpid(),
        "tid": threading.get_native_id(),
        "kind": decision.kind,
        "host": _safe(decision.host),
        "address": decision.address,
        "port": decision.port,
        "protocol": decision.protocol,
        "names": list(decision.names),
        "verdict": decision.verdict,
        "rule": decision.rule,
        "reason": _safe(decision.reason),
        "caller": _safe(decision.caller),
    }


def _safe(text: str | None) -> str | None:
    return None if text is None else escape(text[:4096])


def _now() -> str:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
