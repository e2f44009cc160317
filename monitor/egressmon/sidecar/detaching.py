"""Start a sidecar that outlives whoever started it, and wait until it watches."""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast

from egressmon.errors import SensorError
from egressmon.privileges.privilege import User, acting_as
from egressmon.sidecar import tokens
from egressmon.sidecar.matching import not_there_yet
from egressmon.text import printable
from egressmon.values import dataclass

if TYPE_CHECKING:
    import subprocess

_PATIENCE_S = 60
_MAX_TOLD = 65536
_MAX_SAID = 20000
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Order:
    """What the sidecar is started with, and for whom."""

    words: list[str]
    user: User
    token_file: str | None
    """Where the token goes; None: it is printed, which is as JSON."""
    as_json: bool


def apart(make: Callable[[], bytes]) -> bytes:
    """Return what `make` returns in a process of its own: what it knows stays there.

    Raises SensorError if it fails; that process has said why.
    """
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        _answer(make, write)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        answer = told.read()
    _, status = os.waitpid(pid, 0)
    if status or not answer:
        raise SensorError("there is no token", "see above")
    return answer


def _answer(make: Callable[[], bytes], write: int) -> None:
    status = 1
    try:
        os.write(write, make())
        status = 0
    except Exception as error:  # noqa: BLE001 -- said here, as nobody else can
        hint = getattr(error, "hint", "")
        sys.stderr.write(f"error: {printable(error, 2000)}\n")
        sys.stderr.write(f"hint: {printable(hint, 2000)}\n" if hint else "")
        sys.stderr.flush()
    finally:
        os._exit(status)


def detach(order: Order) -> int:
    """Start the sidecar of `order`; return once it watches, with status 0.

    What a later step needs is printed, and the token written, as that says. Raises
    SensorError if it does not begin.
    """
    token = tokens.make_token()
    if order.token_file is not None:
        with acting_as(order.user):
            tokens.write_token(order.token_file, token)
    begun = _begin(order, token)
    told = _until_told(begun.told)
    if told is None:
        _give_up(begun, order)
        raise SensorError("the sidecar did not begin to watch", "see above")
    unmatched = cast("list[str]", told.get("unmatched", []))
    sys.stderr.write(not_there_yet(unmatched))
    _show(told, token, order)
    return 0


class _Begun(NamedTuple):
    """A sidecar that was started, and may not watch yet."""

    process: "subprocess.Popen[bytes]"
    told: int
    """Says that it watches, and what."""
    errors: int


def _begin(order: Order, token: str) -> _Begun:
    import subprocess  # noqa: PLC0415 -- 4 ms

    read, write = os.pipe()
    errors_read, errors_write = os.pipe()
    words = [sys.executable, "-I", "-m", "egressmon", "sidecar", *order.words]
    words += ["--token-digest", tokens.digest_of(token).hex(), "--told", str(write)]
    started = subprocess.Popen(  # noqa: S603 -- this program, and our own words
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors_write,
        env=_ENVIRONMENT,
        pass_fds=[write],
        start_new_session=True,
    )
    os.close(write)
    os.close(errors_write)
    return _Begun(started, read, errors_read)


# End what did not begin, say what it said, and take the token away again.
def _give_up(begun: _Begun, order: Order) -> None:
    with suppress(ProcessLookupError):
        begun.process.send_signal(signal.SIGTERM)
    begun.process.wait()
    said = _said(begun.errors)
    if said:
        sys.stderr.write(said)
    if order.token_file is not None:
        with acting_as(order.user), suppress(OSError):
            os.unlink(order.token_file)  # noqa: PTH108 -- it is new, and no token


# Only what was asked for as JSON has the token, where no file has it.
def _show(told: "dict[str, object]", token: str, order: Order) -> None:
    if order.as_json:
        shown = {**told, "token": token} if order.token_file is None else told
        sys.stdout.write(json.dumps(shown) + "\n")
    else:
        sys.stdout.write(f"{printable(told['evidence'], 1000)}\n")
    sys.stdout.flush()


# What the sidecar says once it watches; None if it has ended, or takes too long.
def _until_told(read: int) -> "dict[str, object] | None":
    import select  # noqa: PLC0415 -- only here

    poll = select.poll()
    poll.register(read, select.POLLIN)
    data = b""
    while poll.poll(1000 * _PATIENCE_S):
        piece = os.read(read, _MAX_TOLD)
        if not piece:
            break
        data += piece
        if b"\n" in data:
            return dict(json.loads(data.partition(b"\n")[0]))
    return None


def _said(errors: int) -> str:
    os.set_blocking(errors, False)
    with suppress(OSError):
        text = os.read(errors, _MAX_SAID).decode(errors="backslashreplace")
        return "".join(f"{printable(line, 2000)}\n" for line in text.splitlines())
    return ""
