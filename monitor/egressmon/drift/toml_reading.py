"""Read a baseline, which anybody may have edited: strictly, and bounded."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from egressmon.drift.model import (
    FACTS,
    MAX_BYTES,
    MAX_ITEMS,
    Baseline,
    Content,
    Key,
    Review,
    Texts,
    TlsValue,
)
from egressmon.drift.toml_form import LOOK_UP_ASPECTS, VERSION
from egressmon.errors import UsageError
from egressmon.files.bounded import open_regular
from egressmon.policy.errors import PolicyError
from egressmon.policy.reading import toml
from egressmon.text import printable

Json = dict[str, Any]
_MAX_TEXT = 2000
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TOP = frozenset(
    {"version", "digest", "run", "packages", "destination", "lookup", "tls", "review"}
)
_KEYS = frozenset({"name", "network", "port", "protocol"})
_RESTORE = "restore it, or make another with `egressmon baseline write`"


class _WrongError(Exception):
    """It is no baseline; the message says where, and what is wrong."""


def read_baseline(path: str) -> Baseline:
    """Return the baseline at `path`; raises UsageError if it cannot be read."""
    found = _parsed(path)
    version = found.get("version")
    if type(version) is int and version > VERSION:
        raise UsageError(
            f"{path} is a baseline of version {version}, and this egressmon knows "
            f"version {VERSION}",
            "read it with the egressmon that wrote it, or a newer one",
        )
    try:
        return _baseline(found)
    except _WrongError as error:
        raise UsageError(f"{path} is no baseline: {error}", _RESTORE) from error


def _parsed(path: str) -> Json:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{path} cannot be read: {reason}",
            "make it with `egressmon baseline write EVIDENCE -o FILE`",
        ) from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES} bytes", _RESTORE)
    try:
        return toml.parse(Path(path), toml.decode(Path(path), data))
    except PolicyError as error:
        raise UsageError(str(error), _RESTORE) from error


def _baseline(found: Json) -> Baseline:
    if found.get("version") != VERSION or type(found["version"]) is not int:
        raise _WrongError(f"it has no `version = {VERSION}`")
    _only(found, _TOP, "it")
    run = _table(found.get("run", {}), "run")
    _only(run, frozenset(FACTS), "run")
    content = Content(
        items=_items(found),
        versions=_texts_by_name(_table(found.get("packages", {}), "packages")),
        facts={name: _texts(value, f"run.{name}") for name, value in run.items()},
        tls=_tls(_table(found.get("tls", {}), "tls")),
    )
    reviews = tuple(
        _review(one, f"review {number}")
        for number, one in enumerate(_tables(found.get("review", []), "review"), 1)
    )
    return Baseline(content, _matching(found.get("digest"), _DIGEST, "digest"), reviews)


def _items(found: Json) -> dict[Key, dict[str, Texts]]:
    items: dict[Key, dict[str, Texts]] = {}
    for kind in ("destination", "lookup"):
        for number, one in enumerate(_tables(found.get(kind, []), kind), 1):
            where = f"{kind} {number}"
            _only(one, _KEYS.union(LOOK_UP_ASPECTS), where)
            key = _key(kind, one, where)
            if key in items:
                raise _WrongError(f"{where} ({key.label}) is there twice")
            items[key] = {
                name: _texts(value, f"{where}.{name}")
                for name, value in one.items()
                if name not in _KEYS
            }
    if len(items) > MAX_ITEMS:
        raise _WrongError(f"it has more than {MAX_ITEMS} destinations and look-ups")
    return items


def _key(kind: str, one: Json, where: str) -> Key:
    name = _text(one.get("name", ""), f"{where}.name")
    network = _text(one.get("network", ""), f"{where}.network")
    if bool(name) == bool(network):
        raise _WrongError(f"{where} has not one of name and network")
    if kind == "lookup":
        return Key(kind, name or network, "", -1, "dns")
    port = one.get("port", -1)
    if type(port) is not int or not -1 <= port < 1 << 16:
        raise _WrongError(f"{where}.port is no port")
    return Key(
        kind, name, network, port, _text(one.get("protocol"), f"{where}.protocol")
    )


def _review(one: Json, where: str) -> Review:
    _only(one, frozenset(Review._fields), where)
    return Review(
        _text(one.get("by"), f"{where}.by"),
        _text(one.get("reason"), f"{where}.reason"),
        _matching(one.get("date"), _DATE, f"{where}.date"),
        _matching(one.get("digest"), _DIGEST, f"{where}.digest"),
    )


def _tls(found: Json) -> dict[str, dict[str, TlsValue]]:
    tls: dict[str, dict[str, TlsValue]] = {}
    for place, inner in found.items():
        where = f"tls.{_text(place, 'tls')}"
        values = _table(inner, where).items()
        tls[place] = {
            _text(name, where): _tls_value(value, f"{where}.{name}")
            for name, value in values
        }
    return tls


def _tls_value(value: object, where: str) -> TlsValue:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, list):
        return _texts(cast("list[object]", value), where, is_sorted=False)
    return _text(value, where)


def _texts_by_name(found: Json) -> dict[str, Texts]:
    return {
        _text(name, "packages"): _texts(value, f"packages.{name}")
        for name, value in found.items()
    }


def _texts(value: object, where: str, *, is_sorted: bool = True) -> Texts:
    if not isinstance(value, list):
        raise _WrongError(f"{where} is no list")
    found = [_text(one, where) for one in cast("list[object]", value)]
    return tuple(sorted(set(found))) if is_sorted else tuple(found)


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise _WrongError(f"{where} is no text of at most {_MAX_TEXT} characters")
    if value != printable(value, _MAX_TEXT):
        raise _WrongError(f"{where} has characters that are not shown as they are")
    return value


def _matching(value: object, pattern: re.Pattern[str], where: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise _WrongError(f"{where} is missing, or not of its form")
    return value


def _table(value: object, where: str) -> Json:
    if not isinstance(value, dict):
        raise _WrongError(f"{where} is no table")
    return cast("Json", value)


def _tables(value: object, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise _WrongError(f"{where} is no list of tables: write [[{where}]]")
    return [_table(one, where) for one in cast("list[object]", value)]


def _only(found: Mapping[str, object], known: frozenset[str], where: str) -> None:
    if unknown := sorted(found.keys() - known):
        raise _WrongError(f"{where} has an unknown key, {printable(unknown[0])}")
