"""The token: who has it may conclude the run.

It is made at the start and returned once. The agent knows only its digest.
"""

import hmac
import os
import re
import secrets
import select
import stat
import time
from collections.abc import Iterable
from contextlib import suppress

from blake3 import blake3

from egressmon.errors import UsageError
from egressmon.files.own_links import open_by_own_links

_BYTES = 24
_CONTEXT = "egressmon sidecar token 1"
_FORM = re.compile(r"[\w-]{1,200}", re.ASCII)
_MAX_FILE = 1024
_TYPED_S = 10.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def make_token() -> str:
    """Return a new token."""
    return secrets.token_urlsafe(_BYTES)


def digest_of(token: str) -> bytes:
    """Return the digest by which `token` is known."""
    given = token.encode("utf-8", "surrogatepass")
    return blake3(given, derive_key_context=_CONTEXT).digest()


def fits(token: str | None, digest: bytes) -> bool:
    """Tell whether `digest` is that of `token`, in the same time for each token."""
    return token is not None and hmac.compare_digest(digest_of(token), digest)


def write_token(path: str, token: str) -> None:
    """Write `token` to the new file `path`, which only its owner can read.

    No link is followed that another user made, and no file is replaced. Raises
    UsageError.
    """
    try:
        descriptor = open_by_own_links(path, _NEW, 0o600)
    except FileExistsError as error:
        raise UsageError(
            f"the token file {path} exists already", "remove it, or name a new file"
        ) from error
    except OSError as error:
        raise _unwritten(path, error) from error
    try:
        os.fchmod(descriptor, 0o600)  # a umask may take away more
        os.write(descriptor, f"{token}\n".encode())
    except OSError as error:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 -- text in
        raise _unwritten(path, error) from error
    finally:
        os.close(descriptor)


def read_token(path: str, owners: Iterable[int] = ()) -> str:
    """Return the token in the file `path`; raises UsageError.

    It must be a file of root's, of the effective user's or of one of `owners`, and only
    its owner may read it: what others may have seen is no secret.
    """
    hint = "name the file that `egressmon sidecar --token-file` wrote"
    try:
        descriptor = os.open(path, _READING)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"the token file {path} cannot be read: {why}", hint
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"the token file {path} is no regular file", hint)
        if found.st_uid not in {0, os.geteuid(), *owners}:
            raise UsageError(
                f"the token file {path} belongs to uid {found.st_uid}", hint
            )
        if found.st_mode & _OTHERS:
            raise UsageError(
                f"others than its owner can use the token file {path}",
                "chmod 600 it, if nobody else can have read it; the next start makes a "
                "new token",
            )
        data = os.read(descriptor, _MAX_FILE + 1)
    except OSError as error:
        why = error.strerror
        raise UsageError(
            f"the token file {path} cannot be read: {why}", hint
        ) from error
    finally:
        os.close(descriptor)
    return _token(data, f"the token file {path}", hint)


def receive_token(descriptor: int) -> str:
    """Return the token that comes through `descriptor`, such as standard input.

    It is the first line. A pipe is waited for 10 s, a person at a terminal for ever.
    Raises UsageError.
    """
    hint = "write the token and a newline to it: egressmon sidecar stop --token-stdin"
    deadline = None if os.isatty(descriptor) else time.monotonic() + _TYPED_S
    data = b""
    try:
        while b"\n" not in data and len(data) <= _MAX_FILE:
            if not _is_readable(descriptor, deadline):
                raise UsageError("no token came on standard input within 10 s", hint)
            part = os.read(descriptor, _MAX_FILE + 1 - len(data))
            if not part:
                break
            data += part
    except OSError as error:
        why = error.strerror
        raise UsageError(f"standard input cannot be read: {why}", hint) from error
    return _token(data.partition(b"\n")[0], "standard input", hint)


def _is_readable(descriptor: int, deadline: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if deadline is None:
        return bool(poll.poll())
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _token(data: bytes, where: str, hint: str) -> str:
    text = data.decode("ascii", "replace").strip()
    if not text:
        raise UsageError(f"there is no token in {where}", hint)
    if not _FORM.fullmatch(text):
        raise UsageError(f"what is in {where} is no token", hint)
    return text


def _unwritten(path: str, error: OSError) -> UsageError:
    return UsageError(
        f"the token cannot be written to {path}: {error.strerror}",
        "name a new file in a folder that you can write to",
    )
