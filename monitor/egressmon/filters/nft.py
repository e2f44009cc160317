"""Run nft(8): load a text in one transaction, and read the table that is there."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

from egressmon.errors import EgressmonError, PrivilegeError
from egressmon.filters.nft_text import TABLE
from egressmon.startup import ownership
from egressmon.text import printable
from egressmon.values import dataclass

_PROGRAMS = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_PATIENCE_S = 60
_MAX_OUTPUT = 64 << 20
MARK = "egressmon 1 "
"""How the comment of every table begins that egressmon made."""


class FilterError(EgressmonError):
    """The operating system's filter cannot be changed, or is another's."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table `inet egressmon` that is loaded."""

    mark: str
    """Its comment."""
    remaining: dict[str, dict[str, int]]
    """For each set, the addresses that are not out of time, and the seconds left."""


def mark_of(digest: str, options: str) -> str:
    """Return the comment of a table: the policy's digest, and that of `options`.

    `options` are what else decides about the rules, as a digest in hexadecimal.
    """
    return f"{MARK}{digest} {options[:16]}"


def load(text: str) -> None:
    """Load `text`, all or nothing. Raises FilterError and PrivilegeError."""
    status, _, errors = _run(["-f", "-"], text)
    if status:
        raise _refusal(errors)


def loaded() -> Table | None:
    """Return the table that is loaded, or None.

    Raises FilterError, also if the table of that name is somebody else's.
    """
    status, listing, errors = _run(["-t", "list", "table", *TABLE.split()])
    if status and "No such file or directory" in errors:
        return None
    if status:
        raise _refusal(errors)
    mark = _comment(listing)
    if not mark.startswith(MARK):
        raise FilterError(
            f"there is a table {TABLE} that egressmon did not make",
            f"see what it is (nft list table {TABLE}), and have its owner rename it or "
            "remove it",
        )
    status, listing, errors = _run(["-j", "list", "table", *TABLE.split()])
    if status:
        raise _refusal(errors)
    return Table(mark, remaining_in(listing))


def remove() -> bool:
    """Remove the table, if it is ours; return whether there was one."""
    if loaded() is None:
        return False
    load(f"delete table {TABLE}\n")
    return True


# The table's own comment is the first line inside it: chains have theirs further in.
def _comment(listing: str) -> str:
    for line in listing.splitlines()[1:2]:
        key, _, text = line.strip().partition(" ")
        if key == "comment":
            return text.strip('"')
    return ""


def remaining_in(listing: str) -> dict[str, dict[str, int]]:
    """Return the addresses in the sets of nft's `listing` (JSON), by set.

    What has no time-out is left out. Raises FilterError if it is unlike
    libnftables-json(5): addresses that are not read would be taken away.
    """
    found: dict[str, dict[str, int]] = {}
    try:
        for one in json.loads(listing)["nftables"]:
            if listed := one.get("set"):
                found[str(listed["name"])] = dict(_elements(listed.get("elem", [])))
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise FilterError(
            "what nft lists of the filter cannot be read",
            "apply it anew: egressmon policy nftables --remove, then FILE --apply",
        ) from error
    return found


def _elements(listed: list[Any]) -> Iterator[tuple[str, int]]:
    for one in listed:
        inner: dict[str, Any] = {} if isinstance(one, str) else one["elem"]
        if "expires" in inner:
            yield str(inner["val"]), int(inner["expires"])


def _run(words: list[str], text: str = "") -> tuple[int, str, str]:
    try:
        done = subprocess.run(  # noqa: S603 -- our own words
            [_find(), *words],
            check=False,
            cwd="/",
            env=_ENVIRONMENT,
            input=text.encode("utf-8", "replace"),
            capture_output=True,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FilterError(f"nft: {error}", "see whether nft works by itself") from error
    if len(done.stdout) > _MAX_OUTPUT:
        raise FilterError(
            f"nft lists more than {_MAX_OUTPUT} bytes", "remove the table"
        )
    said, errors = (
        one.decode("utf-8", "replace") for one in (done.stdout, done.stderr)
    )
    return done.returncode, said, errors


# PATH is not searched: this runs as root.
def _find() -> str:
    for path in _PROGRAMS:
        if not os.access(path, os.X_OK):
            continue
        if os.geteuid() == 0 and (why := ownership.obstacle(path)):
            raise FilterError(f"root would run {path}: {why}", "install it anew")
        return path
    raise FilterError(
        "there is no nft on this machine",
        "apt install nftables (dnf install nftables); without --apply, the filter is "
        "only printed",
    )


def _refusal(errors: str) -> EgressmonError:
    first = printable(errors.strip().partition("\n")[0], 300)
    if "Operation not permitted" in errors or "Permission denied" in errors:
        return PrivilegeError(
            "the filter cannot be read or changed without rights",
            "run it as root, or with CAP_NET_ADMIN in this network namespace",
        )
    if "Protocol not supported" in errors:
        return FilterError(
            f"this kernel has no nf_tables: {first}", "modprobe nf_tables"
        )
    return FilterError(
        f"nft refuses the filter: {first}",
        "nothing was changed; nftables 0.9.9 and Linux 5.13 have all that it needs",
    )
