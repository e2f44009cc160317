"""The values of a plan: what each must look like, and what to write instead."""

import re
from typing import Annotated, TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from egressmon.clock import HOW_LONG, seconds
from egressmon.policy.errors import RefusedError, quoted
from egressmon.proofs.plans.destinations import ANY, parse_pattern, refuse_masked

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")  # RFC 9110
_LONGEST_S = 7 * 24 * 3600.0
_MAX_PATTERN = 1000
# What such an expression has and a text that a server writes hardly has.
_REGULAR = re.compile(r"\.[*+?]|[])][*+?{]|\\[AbBdDsSwWZ.()[\]+*?^$]|\(\?")
_PROBED = ("tcp", "udp")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        raise RefusedError("not a duration", f"write {HOW_LONG}, in quotes")
    try:
        found = seconds(value)
    except ValueError as error:
        raise RefusedError(
            f"{quoted(value)} is no duration", f"write {HOW_LONG}"
        ) from error
    if found > _LONGEST_S:
        raise RefusedError(f"{quoted(value)} is longer than a week", "write 168h")
    return found


# As execve(2) takes it.
def _word(value: object) -> object:
    if isinstance(value, str) and "\0" in value:
        raise RefusedError(
            f"{quoted(value)} has a NUL, which no program can be given", "remove it"
        )
    return value


def _variable(value: object) -> object:
    if isinstance(value, str) and (not value or "=" in value or "\0" in value):
        raise RefusedError(
            f"{quoted(value)} is no name of a variable", "write letters, digits and _"
        )
    return value


def _header_name(value: object) -> object:
    if isinstance(value, str) and _TOKEN.fullmatch(value) is None:
        raise RefusedError(
            f"{quoted(value)} is no name of a header", "write letters, digits and -"
        )
    return value


def _header_value(value: object) -> object:
    if isinstance(value, str) and (
        any(ord(one) < 32 and one != "\t" for one in value) or not _is_latin(value)
    ):
        raise RefusedError(
            f"{quoted(value)} cannot be in a header", "write one line of Latin-1"
        )
    return value


def _is_latin(text: str) -> bool:
    return all(ord(one) < 256 for one in text)


def _name(value: object) -> object:
    if isinstance(value, str) and _NAME.fullmatch(value) is None:
        raise RefusedError(
            f"{quoted(value)} is no name", "write letters, digits, - and _"
        )
    if isinstance(value, str):
        refuse_masked(value)
    return value


def _pattern(value: object) -> object:
    if isinstance(value, str):
        if not value or len(value) > _MAX_PATTERN:
            raise RefusedError(
                f"a pattern has 1 to {_MAX_PATTERN} characters", "write a part of it"
            )
        if _REGULAR.search(value):
            raise RefusedError(
                f"{quoted(value)} is a regular expression, which could take forever",
                "write the text itself: * stands for any text, ^ for the line's begin",
            )
    return value


def _destination(value: object) -> object:
    if isinstance(value, str):
        parse_pattern(value)
    return value


def _exact(value: object) -> object:
    if not isinstance(value, str):
        return value
    pattern = parse_pattern(value)
    if not pattern.is_exact:
        raise RefusedError(
            f"{quoted(value)} is not one destination",
            "write HOST:PORT, such as 198.51.100.1:443",
        )
    if pattern.protocol not in {None, *_PROBED}:
        raise RefusedError(
            f"{quoted(value)}: no probe is of this protocol",
            f"write one of {', '.join(_PROBED)}",
        )
    return value


def _local_url(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        fine = parts.scheme == "http" and parts.hostname in _LOCAL and parts.port != 0
    except ValueError:
        fine = False
    if fine and not value.isascii():
        raise RefusedError(
            f"{quoted(value)} cannot be sent: it is not ASCII",
            "write other characters as browsers send them, such as %C3%A9",
        )
    if not fine or not value.isprintable() or " " in value:
        raise RefusedError(
            f"{quoted(value)} is no URL of a server in the scope",
            "write http://127.0.0.1:PORT/PATH: what goes elsewhere must come from the "
            "scope",
        )
    return value


# `headers = { Accept = "text/html", Authorization = { env = "TOKEN" } }`
def as_headers(value: object) -> object:
    if not isinstance(value, dict):
        return value
    headers = cast("dict[str, object]", value).items()
    return {
        key: {"value": one} if isinstance(one, str) else one for key, one in headers
    }


# `expect = "none"`: nothing leaves this machine.
def as_expectations(value: object) -> object:
    return [{"destination": ANY, "at_most": 0}] if value == "none" else value


Seconds: TypeAlias = Annotated[float, BeforeValidator(_seconds)]
Name: TypeAlias = Annotated[str, BeforeValidator(_name)]
Pattern: TypeAlias = Annotated[str, BeforeValidator(_pattern)]
Destination: TypeAlias = Annotated[str, BeforeValidator(_destination)]
OneDestination: TypeAlias = Annotated[str, BeforeValidator(_exact)]
LocalUrl: TypeAlias = Annotated[str, BeforeValidator(_local_url)]
Word: TypeAlias = Annotated[str, BeforeValidator(_word)]
Words: TypeAlias = Annotated[list[Word], Field(min_length=1)]
Variable: TypeAlias = Annotated[str, BeforeValidator(_variable)]
HeaderName: TypeAlias = Annotated[str, BeforeValidator(_header_name)]
HeaderValue: TypeAlias = Annotated[str, BeforeValidator(_header_value)]
Status: TypeAlias = Annotated[int, Field(ge=100, le=599)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
