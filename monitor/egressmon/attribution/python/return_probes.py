"""Test whether this kernel's uretprobes kill processes under seccomp.

Since Linux 6.11 a probed function returns through a system call of its own
(uretprobe(2), which x86-64 alone has), which filters refuse as they do not know it: the
process is killed. Linux 6.14 lets it pass whatever filters say, and some older ones do.
Between the two it is tried, in a child process.
"""

import contextvars
import ctypes
import os
import re
import struct
from collections.abc import Callable
from typing import NoReturn

from egressmon.probes.architecture import machine

_WITH_CALL = (6, 11)
_WITHOUT_FILTER = (6, 14)
_URETPROBE = 335  # on x86-64
# Numbers of prctl(2), seccomp(2) and classic BPF, from the headers in uapi/linux.
_SET_SECCOMP, _NO_NEW_PRIVILEGES = 22, 38
_FILTER_MODE = 2
_LOAD_NUMBER = (0x20, 0, 0, 0)
_REFUSE, _ALLOW = 0x00050000 | 1, 0x7FFF0000


def may_harm(release: str, watch: Callable[[int], int]) -> bool:
    """Tell whether uretprobes can kill a process on the kernel `release`.

    `watch` attaches one to PyContext_CopyCurrent() of this interpreter in the process
    of the given id, and returns a descriptor that holds it; it may raise OSError.
    """
    version = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if version < _WITH_CALL or version >= _WITHOUT_FILTER:
        return False
    if machine() != "x86_64":
        return False
    return _is_killed(watch)


def _is_killed(watch: Callable[[int], int]) -> bool:
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        _copy_in_filter(ready, go)
    os.close(ready)
    try:
        descriptor = watch(child)
    except OSError:
        os.kill(child, 9)
        os.waitpid(child, 0)
        return True
    finally:
        os.close(go)  # the child goes on
    _, status = os.waitpid(child, 0)
    os.close(descriptor)
    return status != 0


# In the child, which must not go on from here, whatever happens.
def _copy_in_filter(ready: int, go: int) -> NoReturn:
    try:
        os._exit(_filtered_copy(ready, go))
    finally:
        os._exit(1)


def _filtered_copy(ready: int, go: int) -> int:
    os.close(go)
    os.read(ready, 1)
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            _LOAD_NUMBER,
            (0x15, 0, 1, _URETPROBE),  # equal: the next one, else the one behind it
            (0x06, 0, 0, _REFUSE),
            (0x06, 0, 0, _ALLOW),
        )
    )
    room = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("=HxxxxxxQ", len(code) // 8, ctypes.addressof(room))
    libc = ctypes.CDLL(None)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return 1
    if libc.prctl(_SET_SECCOMP, _FILTER_MODE, program, 0, 0):
        return 1
    contextvars.copy_context()
    return 0
