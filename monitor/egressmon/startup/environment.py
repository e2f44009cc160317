"""The caller's environment, kept for the command, and the agent's own environment.

Variables that Python or a launching shell adds (LC_CTYPE by PEP 538, a shell's PWD) do
not come from the caller, and must not reach the command.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, TypeAlias

RESTORED = "_EGRESSMON_RESTORED"
"""A note of how to restore variables that a shell or egressmon itself changed.

Its value: the id of the process that it is for; a blank; the names, separated by
commas; a blank; in hexadecimal, the original entries, each with a NUL byte at its end.
A name without an entry was unset. With `*` for the names, the entries are the whole
environment. A variable of this name that is for no process of this id is the caller's
own, like any other."""
SIGNALS = "_EGRESSMON_SIGNALS"
"""A note of which signals the caller ignores and blocks (startup/dispositions.py).

Its value begins like that of `RESTORED`."""
HOP = "_EGRESSMON_HOP"
"""Set by egressmon when it calls sudo itself: then sudo must say who the caller is.

Its value: `1`, and after a colon what `SIGNALS` would note."""
_LOADER = ("LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD")
"""Variables that make the dynamic loader run other code in a program (ld.so(8))."""
FOREIGN_PYTHON = ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
"""Variables that CPython 3.11 obeys even when isolated (Modules/getpath.py): they say
where pyvenv.cfg is, hence where the standard library and site-packages are."""
WITHOUT_FOREIGN_PYTHON = (
    "/usr/bin/env",
    *(word for name in FOREIGN_PYTHON for word in ("-u", name)),
)
"""The words to put before a Python that is to run as root."""
_NOTES = (RESTORED.encode(), SIGNALS.encode())
# What sudo says of its caller: a RESTORED note must not change it.
_SAID_BY_SUDO = (b"SUDO_", b"_EGRESSMON_HOP")
# The only variables that the agent keeps. Others could name code that its libraries
# would load (OPENSSL_CONF, GCONV_PATH, PYTHONPATH ...); they are for the command.
_AGENT_VARIABLES = frozenset(
    (
        *("CI", "TERM", "COLORTERM", "COLUMNS", "LINES", "BCC_KERNEL_SOURCE"),
        *("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"),
    )
)
_AGENT_PREFIXES = ("EGRESSMON_", "GITHUB_", "SUDO_")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Block: TypeAlias = tuple[bytes, ...]
"""Entries of an environment as execve(2) takes them: in order, even ill-formed."""
Variables: TypeAlias = dict[bytes, bytes]


def entries(data: bytes) -> Block:
    """Return the entries of `data`, in the format of proc_pid_environ(5)."""
    return tuple(data.removesuffix(b"\0").split(b"\0")) if data else ()


def variables(block: Block) -> Variables:
    """Return the variables of `block`; of equal names the first counts (getenv(3))."""
    pairs = (entry.partition(b"=") for entry in reversed(block) if b"=" in entry)
    return {name: value for name, _, value in pairs}


def original() -> Block:
    """Return the caller's environment, with the changes undone that RESTORED notes."""
    found, note = _own_block(), noted(RESTORED)
    if note is None:
        return found
    names, _, listed = note.partition(b" ")
    try:
        before = entries(bytes.fromhex(listed.decode()))
    except ValueError:
        names, before = b"", ()
    if names == b"*":
        return before
    listed_names = (one for one in names.split(b",") if one)
    changed = {
        *_NOTES,
        *(one for one in listed_names if not one.startswith(_SAID_BY_SUDO)),
    }
    kept = (entry for entry in found if entry.partition(b"=")[0] not in changed)
    return (*kept, *(one for one in before if one.partition(b"=")[0] in changed))


def noted(name: str) -> bytes | None:
    """Return what the variable `name` notes for this very process, or None.

    A launcher notes it, and then executes Python in its own process.
    """
    pid, _, note = own_variables().get(name.encode(), b"").partition(b" ")
    return note if pid == b"%d" % os.getpid() else None


def with_note(block: Block, names: Sequence[str]) -> Block:
    """Return `block` without the variables `names`, and with a note to restore them.

    It is for a program that this process executes.
    """
    taken = {*_NOTES, *map(os.fsencode, names)}
    before = [one for one in block if one.partition(b"=")[0] in taken]
    kept = tuple(one for one in block if one.partition(b"=")[0] not in taken)
    listed = b"".join(one + b"\0" for one in before).hex().encode()
    parts = RESTORED.encode(), os.getpid(), b",".join(sorted(taken)), listed
    return (*kept, b"%s=%d %s %s" % parts)


def without(block: Block, name: str) -> Block:
    """Return `block` without the entries of `name`."""
    return tuple(one for one in block if one.partition(b"=")[0] != os.fsencode(name))


def with_entry(block: Block, entry: bytes) -> Block:
    """Return `block` with `entry` in place of those of the same name, or at its end."""
    name = entry.partition(b"=")[0]
    names = [one.partition(b"=")[0] for one in block]
    if name not in names:
        return (*block, entry)
    place = names.index(name)
    before, after = block[:place], block[place + 1 :]
    return (*before, entry, *without(after, os.fsdecode(name)))


def own_variables() -> Variables:
    """Return the variables with which this process was executed, ignoring RESTORED."""
    return variables(_own_block())


def _own_block() -> Block:
    found = _read_own_environ()
    return _block(os.environb) if found is None else found


def _block(mapping: Mapping[bytes, bytes]) -> Block:
    return tuple(name + b"=" + value for name, value in mapping.items())


# The environment as execve(2) was given it: Python's later changes do not show here.
def _read_own_environ() -> Block | None:
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 -- before pathlib is loaded
            return entries(file.read())
    except OSError:
        return None


def execve(file: bytes, words: Sequence[bytes], block: Block) -> NoReturn:
    """Execute the program `file` in this process, with exactly `block`; raises OSError.

    `os.execve` cannot do that: it takes a mapping, so that no name may occur twice and
    every entry needs a name.
    """
    import ctypes  # noqa: PLC0415 -- not before its file is known to belong to root

    arguments = (ctypes.c_char_p * (len(words) + 1))(*words, None)
    environment = (ctypes.c_char_p * (len(block) + 1))(*block, None)
    ctypes.CDLL(None, use_errno=True).execve(file, arguments, environment)
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def without_loader_variables() -> Block | None:
    """Return an environment to start again with: without the loader's variables.

    Return None if none of them is set. They have already affected this process, and
    would affect each library that it loads later. A RESTORED note keeps them for the
    command.
    """
    if not any(name in os.environ for name in _LOADER):
        return None
    # The launcher may have removed these as well: they must stay away until then.
    return with_note(original(), (*_LOADER, *FOREIGN_PYTHON))


def keep_only_agent_variables() -> None:
    """Remove all variables from `os.environ` that the agent does not need."""
    for name in list(os.environ):
        if name not in _AGENT_VARIABLES and not name.startswith(_AGENT_PREFIXES):
            with suppress(OSError):  # unsetenv(3) refuses an empty name
                del os.environ[name]
    os.environ.update({"PATH": _PATH, "LANG": "C.UTF-8"})
    # pydantic would search all installed packages for plugins (30 ms), and run them.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
