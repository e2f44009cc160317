"""Where the libraries are that a file is linked to: as ld.so(8) looks for them."""

import glob
import os
import posixpath
import re
from functools import cache

from egressmon.files import is_regular
from egressmon.files.bounded import read_bounded

# The C library and what belongs to it, the compiler's own libraries, and the
# interpreter's: they call nothing by themselves, and programs import from them.
_OF_THE_SYSTEM = re.compile(
    r"ld-linux[^/]*|ld64[^/]*|ld-musl[^/]*|libc\.musl[^/]*|libpython3[\d.t]*\.so[\d.]*|"
    r"lib(?:c|m|dl|pthread|rt|resolv|util|anl|nsl|crypt|gcc_s|stdc\+\+|atomic|gomp|z)"
    r"\.so[\d.]*"
)
_ALWAYS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_CONFIGURATION = "/etc/ld.so.conf"
_MAX_CONFIGURATION = 1 << 16


def is_of_the_system(name: str) -> bool:
    """Tell whether the library `name` is one that all programs are linked to."""
    return _OF_THE_SYSTEM.fullmatch(name) is not None


def located(name: str, path: str, searched: tuple[str, ...]) -> str | None:
    """Return the path of the library `name`, to which the file at `path` is linked.

    `searched` is where the file has it looked for. None if it is in none of the places,
    and if it is one of the system's in the system's own folders.
    """
    if "\0" in name or not name:
        return None
    origin = posixpath.dirname(os.path.realpath(path))
    if "/" in name:
        candidates = [_expanded(name, origin)]
    else:
        own = [_expanded(one, origin) for one in searched if one]
        systems = () if is_of_the_system(name) else _folders()
        candidates = [f"{folder}/{name}" for folder in (*own, *systems)]
    for candidate in candidates:
        if is_of_the_system(name) and posixpath.dirname(candidate) in _folders():
            return None
        if candidate.startswith("/") and is_regular(candidate):
            return os.path.realpath(candidate)
    return None


def _expanded(text: str, origin: str) -> str:
    for name in ("$ORIGIN", "${ORIGIN}"):
        text = text.replace(name, origin)
    return text.replace("$LIB", "lib").replace("${LIB}", "lib").replace("\0", "")


# /etc/ld.so.conf with the files that it includes; the cache says the same.
@cache
def _folders() -> tuple[str, ...]:
    found: dict[str, None] = {}
    lines = _lines(_CONFIGURATION)
    for line in lines[:256]:
        if line.startswith("include"):
            pattern = posixpath.join("/etc", line.partition(" ")[2].strip())
            for one in sorted(glob.glob(pattern))[:256]:  # noqa: PTH207 -- text
                found.update(dict.fromkeys(_lines(one)))
        else:
            found[line] = None
    return tuple(one for one in (*found, *_ALWAYS) if one.startswith("/"))


def _lines(path: str) -> list[str]:
    data = read_bounded(path, _MAX_CONFIGURATION) or b""
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.strip()]
