"""The environment that the caller gave, which is the command's, and the agent's own.

What Python, or the shell that started it, puts into the environment (PEP 538's
LC_CTYPE, a shell's PWD) is not the caller's, and must not reach the command.
"""

import os

RESTORED = "_EGRESSMON_RESTORED"
"""Names, a blank, and in hexadecimal the entries (NUL behind each) that these had
before a shell or egressmon itself changed them; a name without an entry was unset."""
_LOADER = ("LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD")
"""What the dynamic loader reads before any program's first line (ld.so(8))."""
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

Variables = dict[bytes, bytes]


def parse(block: bytes) -> Variables:
    """Return the variables of block, as proc_pid_environ(5) has them."""
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if b"=" in entry)
    found: Variables = {}
    for name, _, value in pairs:
        found.setdefault(name, value)  # getenv(3) takes the first, too
    return found


def original() -> Variables:
    """Return the environment that egressmon was called with."""
    found = _at_start() or dict(os.environb)
    names, _, entries = found.pop(RESTORED.encode(), b"").partition(b" ")
    try:
        before = parse(bytes.fromhex(entries.decode()))
    except ValueError:
        return found
    for name in filter(None, names.split(b",")):
        found.pop(name, None)
        if name in before:
            found[name] = before[name]
    return found


# The kernel keeps what execve(2) was given.
def _at_start() -> Variables:
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 -- before pathlib is loaded
            return parse(file.read())
    except OSError:
        return {}


def without_loader_variables() -> Variables | None:
    """Return an environment to start again with, or None if there is no need to.

    The variables of the dynamic loader took effect on this process already; what it
    loads later would be found by them, too.
    """
    if not any(name in os.environ for name in _LOADER):
        return None
    called_with = original()
    taken = [name for name in map(str.encode, _LOADER) if name in called_with]
    entries = b"".join(b"%s=%s\0" % (name, called_with.pop(name)) for name in taken)
    note = b"%s %s" % (b",".join(taken), entries.hex().encode())
    return {**called_with, RESTORED.encode(): note}


def keep_only_ours() -> None:
    """Take from this process's environment all that the agent has no use for."""
    for name in list(os.environ):
        if name not in _HEARD and not name.startswith(_HEARD_PREFIXES):
            del os.environ[name]
    os.environ.update({"PATH": _PATH, "LANG": "C.UTF-8"})
    # pydantic looks through every installed package for plugins (30 ms), and would
    # run what it finds.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
