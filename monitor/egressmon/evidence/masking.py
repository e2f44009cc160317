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

from egressmon.evidence.records import Record
from egressmon.evidence.records.actors import ProcessRecord
from egressmon.evidence.records.code import StackReference
from egressmon.evidence.records.running import RunStart
from egressmon.evidence.records.traffic import ConnectionRecord, DnsRecord
from egressmon.recent import Recent
from egressmon.sanitise import sanitise_place
from egressmon.sanitise.catalog.surrounded import IN_NAME
from egressmon.sanitise.commands import kinds
from egressmon.sanitise.counting import MASK, hidden, masked_so_far, recount
from egressmon.sanitise.words.tokens import tokens_in_name

_MAX_REMEMBERED = 8192
_MAX_TEXT = 512
_KEY = secrets.token_bytes(16)

_AnyRecord = TypeVar("_AnyRecord", bound=Record)

# Texts without secrets, to save work. A text with a secret must not be kept in memory.
_harmless = Recent[str, bool](_MAX_REMEMBERED)


def forget_unused() -> None:
    """Let go of the texts and words that were not met since the last call."""
    _harmless.turn()
    kinds.harmless.turn()


def sanitise_record(record: _AnyRecord) -> _AnyRecord:
    """Return `record` with the tokens in its names and paths masked."""
    for text in _texts(record):
        if text is not None and not (_harmless.get(text) or _is_harmless(text)):
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
            yield record.comm
        case RunStart():
            yield record.cwd
            yield record.policy
        case _:
            yield from _all(record)


def _common(record: ConnectionRecord | DnsRecord) -> Iterator[str | None]:
    yield record.reason
    if record.process is not None:
        yield record.process.exe
        yield record.process.comm  # which each process and thread can set
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


def _is_harmless(text: str) -> bool:
    if is_masked(text):
        return False  # it is masked again, and counted, as the record is written
    if len(text) <= _MAX_TEXT:
        _harmless.put(text, True)
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


def is_masked(text: str) -> bool:
    """Tell whether evidence would have `text`, a name or path, only masked."""
    return redacted(text) != text


def redacted(text: str) -> str:
    """Return what `shown` does, for a message: it is not counted as masked."""
    counts = masked_so_far()
    masked = shown(text)
    recount(counts)
    return masked


def is_unclear(name: str) -> bool:
    """Tell whether `name`, as evidence has it, is masked or cut."""
    return MASK in name or "…" in name


def could_be(unclear: str, pattern: str) -> bool | None:
    """Tell whether the name that became `unclear` is one that `pattern` covers.

    `pattern` is in canonical form, and may have wildcards as a policy's hosts do.
    None: nobody can tell any more.
    """
    before, _, rest = unclear.partition(MASK)
    after = rest.rpartition(MASK)[2]
    # Of both, the labels that are whole; a mask may stand for several others.
    known_first = before.split(".")[:-1]
    is_tail_known = "…" not in unclear and "~" not in unclear
    known_last = after.split(".")[1:] if is_tail_known else []
    wanted = pattern.split(".")
    if wanted[0] == "**":
        behind = wanted[1:]
        common = min(len(behind), len(known_last))
        if not all(map(_fits, behind[::-1], known_last[::-1])):
            return False
        return True if common == len(behind) else None
    if len(wanted) <= len(known_first) + len(known_last):
        return False
    if not all(map(_fits, wanted, known_first)):
        return False
    return None if all(map(_fits, wanted[::-1], known_last[::-1])) else False


def _fits(wanted: str, label: str) -> bool:
    return wanted in {"*", label}


def _mark(token: str) -> str:
    data = token.encode("utf-8", "surrogatepass")
    return hashlib.blake2s(data, key=_KEY, digest_size=4).hexdigest()
