"""The environment that the caller gave, which is the command's, and the agent's own.

What Python, or the shell that started it, puts into the environment (PEP 538's
LC_CTYPE, a shell's PWD) is not the caller's, and must not reach the command.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, TypeAlias

RESTORED = "_EGRESSMON_RESTORED"
"""Names, a blank, and in hexadecimal the entries (NUL behind each) that these had
before a shell or egressmon itself changed them; a name without an entry was unset."""
_LOADER = ("LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD")
"""What the dynamic loader reads before any program's first line (ld.so(8))."""
FOREIGN_PYTHON = ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
"""What CPython 3.11 reads even when isolated (Modules/getpath.py): where a pyvenv.cfg
is looked for, and by that the standard library, and what runs at each start."""
WITHOUT_FOREIGN_PYTHON = (
    "/usr/bin/env",
    *(word for name in FOREIGN_PYTHON for word in ("-u", name)),
)
"""What to put before a Python that is to run as root."""
# What sudo says of its caller, which no note can take back.
_SAID_BY_SUDO = (b"SUDO_", b"_EGRESSMON_HOP")
# What the agent itself may hear. All else could name code for its libraries to load
# (OPENSSL_CONF, GCONV_PATH, PYTHONPATH ...), and is the command's alone.
_HEARD = frozenset(
    (
        *("CI", "TERM", "COLORTERM", "COLUMNS", "LINES", "BCC_KERNEL_SOURCE"),
        *("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"),
    )
)
_HEARD_PREFIXES = ("EGRESSMON_", "GITHUB_", "SUDO_")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Block: TypeAlias = tuple[bytes, ...]
"""The entries in order, as execve(2) takes them: well-formed or not."""
Variables: TypeAlias = dict[bytes, bytes]


def entries(data: bytes) -> Block:
    """Return the entries of data, as proc_pid_environ(5) has them."""
    return tuple(data.removesuffix(b"\0").split(b"\0")) if data else ()


def variables(block: Block) -> Variables:
    """Return the variables of block; the first of a name, as getenv(3) takes it."""
    pairs = (entry.partition(b"=") for entry in reversed(block) if b"=" in entry)
    return {name: value for name, _, value in pairs}


def original() -> Block:
    """Return the environment that egressmon was called with."""
    found = _found()
    note = variables(found).get(RESTORED.encode())
    if note is None:
        return found
    names, _, listed = note.partition(b" ")
    listed_names = (one for one in names.split(b",") if one)
    changed = {
        RESTORED.encode(),
        *(one for one in listed_names if not one.startswith(_SAID_BY_SUDO)),
    }
    try:
        before = entries(bytes.fromhex(listed.decode()))
    except ValueError:
        before, changed = (), {RESTORED.encode()}
    kept = (entry for entry in found if entry.partition(b"=")[0] not in changed)
    return (*kept, *(one for one in before if one.partition(b"=")[0] in changed))


def given() -> Variables:
    """Return the variables of this process itself, whatever a note in them says."""
    return variables(_found())


def _found() -> Block:
    found = _at_start()
    return _block(os.environb) if found is None else found


def _block(mapping: Mapping[bytes, bytes]) -> Block:
    return tuple(name + b"=" + value for name, value in mapping.items())


# The kernel keeps what execve(2) was given.
def _at_start() -> Block | None:
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 -- before pathlib is loaded
            return entries(file.read())
    except OSError:
        return None


def execve(file: bytes, words: Sequence[bytes], block: Block) -> NoReturn:
    """Become the program in file; raises OSError.

    os.execve() takes a mapping: no entry without a name, none twice.
    """
    import ctypes  # noqa: PLC0415 -- not before it is known whose it is

    arguments = (ctypes.c_char_p * (len(words) + 1))(*words, None)
    environment = (ctypes.c_char_p * (len(block) + 1))(*block, None)
    ctypes.CDLL(None, use_errno=True).execve(file, arguments, environment)
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def without_loader_variables() -> Block | None:
    """Return an environment to start again with, or None if there is no need to.

    The variables of the dynamic loader took effect on this process already; what it
    loads later would be found by them, too.
    """
    if not any(name in os.environ for name in _LOADER):
        return None
    called_with = original()
    # What a launcher took away does not come back before Python starts again.
    names = [name.encode() for name in (*_LOADER, *FOREIGN_PYTHON)]
    taken = [one for one in called_with if one.partition(b"=")[0] in names]
    kept = tuple(one for one in called_with if one not in taken)
    listed = b"".join(one + b"\0" for one in taken)
    note = b"%s=%s %s" % (RESTORED.encode(), b",".join(names), listed.hex().encode())
    return (*kept, note)


def keep_only_ours() -> None:
    """Take from this process's environment all that the agent has no use for."""
    for name in list(os.environ):
        if name not in _HEARD and not name.startswith(_HEARD_PREFIXES):
            with suppress(OSError):  # no name at all: unsetenv(3) refuses it
                del os.environ[name]
    os.environ.update({"PATH": _PATH, "LANG": "C.UTF-8"})
    # pydantic looks through every installed package for plugins (30 ms), and would
    # run what it finds.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
