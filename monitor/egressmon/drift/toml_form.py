"""Write a baseline: one form for each content, so that a diff shows what changed."""

import json
from collections.abc import Iterator, Mapping, Sequence

from blake3 import blake3

from egressmon.drift.model import (
    ASPECTS,
    FACTS,
    MAX_BYTES,
    Baseline,
    Content,
    Key,
    Review,
    Texts,
    TlsValue,
)
from egressmon.errors import UsageError

VERSION = 1
_HEADER = """\
# What was reached, as it was reviewed. Written by `egressmon baseline`, which compares
# it with later runs: `egressmon drift`. After a review: `egressmon baseline update`.
"""
LOOK_UP_ASPECTS = ("kinds", *ASPECTS)


def digest_of(content: Content) -> str:
    """Return what tells `content` from any other."""
    text = "".join(f"{line}\n" for line in _body(content))
    return f"blake3:{blake3(text.encode()).hexdigest()}"


def text_of(content: Content, reviews: Sequence[Review]) -> str:
    """Return the file of a baseline with this content, as nobody has edited it.

    Raises UsageError if it would be too large to be read.
    """
    text = render(Baseline(content, digest_of(content), tuple(reviews)))
    if len(text.encode()) > MAX_BYTES:
        raise UsageError(
            f"the baseline would be larger than {MAX_BYTES} bytes",
            "make it of fewer runs, or of runs that reach less",
        )
    return text


def render(baseline: Baseline) -> str:
    """Return the file of `baseline`."""
    lines = [f"version = {VERSION}", f"digest = {_plain(baseline.digest)}"]
    lines += _body(baseline.content)
    for one in baseline.reviews:
        lines += ["", "[[review]]"]
        lines += (f"{name} = {_plain(value)}" for name, value in one._asdict().items())
    return _HEADER + "".join(f"{line}\n" for line in lines)


def _body(content: Content) -> Iterator[str]:
    yield from ("", "[run]")
    for name in FACTS:
        if values := content.facts.get(name):
            yield from _list(name, values)
    if content.versions:
        yield from ("", "[packages]")
        for name, versions in sorted(content.versions.items()):
            yield f"{_plain(name)} = {_plain(versions)}"
    for key, aspects in sorted(content.items.items()):
        yield from ("", f"[[{key.kind}]]")
        yield from _key(key)
        for name in LOOK_UP_ASPECTS:
            if values := aspects.get(name):
                yield from _list(name, values)
    for place, found in sorted(content.tls.items()):
        yield from ("", f"[tls.{_plain(place)}]")
        yield from _tls(found)


def _key(key: Key) -> Iterator[str]:
    if key.name:
        yield f"name = {_plain(key.name)}"
    if key.network:
        yield f"network = {_plain(key.network)}"
    if key.kind == "destination":
        if key.port >= 0:
            yield f"port = {key.port}"
        yield f"protocol = {_plain(key.protocol)}"


def _tls(found: Mapping[str, TlsValue]) -> Iterator[str]:
    for name, value in sorted(found.items()):
        if isinstance(value, tuple):
            yield from _list(_name(name), value)
        else:
            yield f"{_name(name)} = {_plain(value)}"


# One value a line where there are several, so that a diff shows which one changed.
def _list(name: str, values: Texts) -> Iterator[str]:
    if len(values) < 2:
        yield f"{name} = {_plain(values)}"
        return
    yield f"{name} = ["
    for one in values:
        yield f"  {_plain(one)},"
    yield "]"


def _name(name: str) -> str:
    is_bare = name.replace("_", "").replace("-", "").isalnum() and name.isascii()
    return name if is_bare else _plain(name)


# JSON's escapes are TOML's, too, but for surrogate pairs: none is made of what may
# stand as it is. Which texts may, `text.printable` has seen to.
def _plain(value: TlsValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"[{', '.join(map(_plain, value))}]"
