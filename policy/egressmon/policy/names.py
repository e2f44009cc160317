"""Host names as policies and DNS use them: lower case, A-labels, no final dot."""

import ipaddress
import re

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_MAX_NAME = 253  # RFC 1035 section 2.3.4, less the root label


def canonical(name: str) -> str:
    """Return name as it is compared: lower case and without the final dot."""
    return name.lower().rstrip(".")


def parse_host_pattern(text: str) -> str:
    """Return the canonical form of a policy's host entry.

    Raises ValueError with what to write instead when text is not a host name,
    `*.` and a name (one label more), or `**.` and a name (one or more labels).
    """
    if "://" in text:
        raise ValueError(f"{text!r} is a URL; write the host name alone")
    if "/" in text:
        raise ValueError(f"{text!r} has a path; write the host name, or use cidr")
    if _is_address(text):
        raise ValueError(f"{text!r} is an address; write cidr = {text!r}")
    if text.count(":"):
        port = text.split(":")[1]
        shown = port if port.isdecimal() else "443"
        raise ValueError(f"{text!r} has a port; write ports = [{shown}]")
    prefix, name = _split_wildcard(text)
    if "*" in name:
        raise ValueError(
            f"{text!r}: a wildcard stands for whole labels at the front; "
            "write *.example.org or **.example.org"
        )
    if prefix and "." not in name.rstrip("."):
        raise ValueError(f"{text!r} covers a whole top-level domain; name one below it")
    return prefix + _a_labels(name, text)


def _split_wildcard(text: str) -> tuple[str, str]:
    for prefix in ("**.", "*."):
        if text.startswith(prefix):
            return prefix, text[len(prefix) :]
    return "", text


def _a_labels(name: str, text: str) -> str:
    ascii_name = in_ascii(name, text)
    labels = ascii_name.split(".")
    if len(ascii_name) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{text!r} is not a host name")
    return ascii_name


def in_ascii(name: str, text: str) -> str:
    """Return `name`, a part of `text`, as it is compared, with A-labels (RFC 5891).

    Raises ValueError for what is no internationalised name.
    """
    if name.isascii():
        return canonical(name)
    import idna  # noqa: PLC0415 -- its tables are large, and such names are few

    try:
        return canonical(idna.encode(name, uts46=True).decode())
    except idna.IDNAError as error:
        raise ValueError(f"{text!r} is not a valid internationalised name") from error


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def covers(pattern: str, name: str) -> bool:
    """Tell whether a canonical pattern covers a canonical name."""
    if pattern.startswith("**."):
        return name.endswith(pattern[2:]) and len(name) > len(pattern) - 2
    if pattern.startswith("*."):
        first, dot, rest = name.partition(".")
        return bool(first and dot) and rest == pattern[2:]
    return name == pattern
