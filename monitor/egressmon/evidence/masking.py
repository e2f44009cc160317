"""Mask secrets in records: in host names, in paths, and in texts that repeat them.

A host name is evidence, as it may carry data out itself: only tokens in it are masked.
Names and paths also tell things apart. So each masked token gets a mark: equal tokens
have equal marks within one run. The key of the marks is forgotten with the run.
"""

import dataclasses
import hashlib
import secrets
from collections.abc import Iterator
from typing import Any, TypeVar, cast

from egressmon.evidence.code_records import StackReference
from egressmon.evidence.records import (
    ConnectionRecord,
    DnsRecord,
    ProcessRecord,
    Record,
    RunStart,
)
from egressmon.sanitise.catalog import IN_NAME
from egressmon.sanitise.counting import hidden, masked_so_far, recount
from egressmon.sanitise.text import sanitise_place
from egressmon.sanitise.tokens import tokens_in_name

_MAX_REMEMBERED = 20_000
_MAX_TEXT = 512
_KEY = secrets.token_bytes(16)

_AnyRecord = TypeVar("_AnyRecord", bound=Record)

# Texts without secrets, to save work. A text with a secret must not be kept in memory.
_harmless: set[str | None] = {None}


def sanitise_record(record: _AnyRecord) -> _AnyRecord:
    """Return `record` with the tokens in its names and paths masked."""
    for text in _texts(record):
        if text not in _harmless and not _is_harmless(text):
            return cast("_AnyRecord", _walked(record))
    return record


# Yield the texts that others chose and that are not sanitised yet, as command lines,
# frames and test ids already are. Of other kinds of records, yield every text.
def _texts(record: Record) -> Iterator[str | None]:
    match record:
        case ConnectionRecord():
            yield from _common(record)
            for name in record.dst.names:
                yield name.name
            for claim in record.claimed:
                yield claim.reason
        case DnsRecord():
            yield from _common(record)
            yield record.name
            yield record.asked
            yield from record.answers
        case ProcessRecord():
            yield record.exe
        case RunStart():
            yield record.cwd
            yield record.policy
        case _:
            yield from _all(record)


def _common(record: ConnectionRecord | DnsRecord) -> Iterator[str | None]:
    yield record.reason
    if record.process is not None:
        yield record.process.exe
    if (module := record.module) is not None:
        yield module.caller.path
        if module.binding is not None:
            yield module.binding.path
        for step in module.chain:
            yield step.file


def _all(value: object) -> Iterator[str | None]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _all(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _all(getattr(value, field.name))


def _is_harmless(text: str | None) -> bool:
    if text is None:
        return True
    counts = masked_so_far()
    if shown(text) != text:
        recount(counts)  # it is masked again, as the record is written
        return False
    if len(text) <= _MAX_TEXT:
        if len(_harmless) >= _MAX_REMEMBERED:
            _harmless.clear()
        _harmless.add(text)
    return True


# A copy of the record in which every text is masked.
def _walked(value: object) -> object:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, StackReference):
        return value  # its digest is that of the stack as written
    if isinstance(value, list):
        return [_walked(item) for item in cast("list[object]", value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes: dict[str, Any] = {
            field.name: _walked(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **changes)
    return value


def shown(text: str) -> str:
    """Return a name or path with secrets masked; different ones stay different."""
    parts: list[str] = []
    at = 0
    for start, end in tokens_in_name(text):
        mask = hidden(IN_NAME.name)
        parts += [text[at:start], mask, _mark(text[start:end].lower())]
        at = end
    named = "".join([*parts, text[at:]])
    placed = sanitise_place(named)
    return placed if placed == named else f"{placed}~{_mark(named)}"


def _mark(token: str) -> str:
    data = token.encode("utf-8", "surrogatepass")
    return hashlib.blake2s(data, key=_KEY, digest_size=4).hexdigest()
