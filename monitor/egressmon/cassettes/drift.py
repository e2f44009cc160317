"""How the structure of recorded and fresh answers differs: not what they say."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from egressmon.cassettes.addresses import clean_address
from egressmon.cassettes.headers import values_of
from egressmon.cassettes.loading import (
    ENDINGS,
    Interaction,
    MalformedError,
    read_cassette,
)
from egressmon.cassettes.shape import UncomparableError, below_empty, shape_of
from egressmon.cassettes.text import clean
from egressmon.scan.walk import entries


class Change(NamedTuple):
    """One difference; `old` and `new` are "" for what is not there."""

    cassette: str
    """Relative to what was compared."""
    interaction: str
    """Method and address; "" for a whole cassette."""
    what: str
    """cassette, interaction, status, header, body or shape."""
    where: str
    """The header's name, or the place in JSON."""
    old: str
    new: str


class Unreadable(NamedTuple):
    """A cassette, or an answer in it, that cannot be compared, and why."""

    path: str
    reason: str


def drift(old: str, new: str) -> Iterator[Change | Unreadable]:
    """Yield how what is at `new`, a cassette or a folder, differs from `old`."""
    for entry in entries([path for path in (old, new) if Path(path).is_dir()]):
        if entry.reason and entry.path.endswith(ENDINGS):
            yield Unreadable(entry.path, entry.reason)
    befores, afters = cassettes_at(old), cassettes_at(new)
    for name in sorted({*befores, *afters}):
        if name not in afters:
            yield Change(name, "", "cassette", "", "recorded", "")
        elif name not in befores:
            yield Change(name, "", "cassette", "", "", "recorded")
        else:
            yield from _between(name, befores[name], afters[name])


def cassettes_at(path: str) -> dict[str, str]:
    """Return the paths of the cassettes at `path` by their names in it."""
    if not Path(path).is_dir():
        return {"": path}
    return {
        str(Path(entry.path).relative_to(path)): entry.path
        for entry in entries([path])
        if not entry.reason and entry.path.endswith(ENDINGS)
    }


def _between(name: str, old: str, new: str) -> Iterator[Change | Unreadable]:
    read: list[list[Interaction]] = []
    for path in (old, new):
        try:
            read.append(read_cassette(path))
        except MalformedError as error:
            yield Unreadable(path, f"malformed: {error}")
        except OSError as error:
            yield Unreadable(path, error.strerror or str(error))
    if len(read) == 2:
        for found in differences(name or Path(new).name, *read):
            if isinstance(found, Unreadable):
                yield Unreadable(new, found.reason)
            else:
                yield found


def differences(
    name: str, old: list[Interaction], new: list[Interaction]
) -> Iterator[Change | Unreadable]:
    """Yield how the interactions of a cassette differ; those of a request, in order.

    What cannot be compared has the cassette's name as its path.
    """
    befores, afters = _by_request(old), _by_request(new)
    for request in dict.fromkeys([*befores, *afters]):
        one, other = befores[request], afters[request]
        for before, after in zip(one, other, strict=False):
            yield from _of_answers(name, request, before, after)
        for _ in one[len(other) :]:
            yield Change(name, request, "interaction", "", "recorded", "")
        for _ in other[len(one) :]:
            yield Change(name, request, "interaction", "", "", "recorded")


def _by_request(found: Iterable[Interaction]) -> defaultdict[str, list[Interaction]]:
    requests: defaultdict[str, list[Interaction]] = defaultdict(list)
    for one in found:
        requests[f"{one.method} {_address(one.uri)}"].append(one)
    return requests


# Without the query, whose values change; a cassette that was not cleaned is shown, too.
def _address(uri: str) -> str:
    shown = clean_address(uri)
    try:
        return urlsplit(shown)._replace(query="", fragment="").geturl()
    except ValueError:
        return shown


def _of_answers(
    name: str, request: str, old: Interaction, new: Interaction
) -> Iterator[Change | Unreadable]:
    if old.status != new.status:
        yield Change(name, request, "status", "", str(old.status), str(new.status))
    befores, afters = ({str(one).lower() for one in x.headers} for x in (old, new))
    for header in sorted(befores ^ afters):
        before, after = ("there" if header in x else "" for x in (befores, afters))
        yield Change(name, request, "header", header, before, after)
    if _has_same_body(old, new):
        return
    try:
        one, other = shape_of(old), shape_of(new)
    except UncomparableError as error:
        yield Unreadable(name, f"{request}: body: {error}")
        return
    if one.form == other.form == "undecodable":
        yield Unreadable(name, f"{request}: body: neither can be decoded here")
        return
    if one.form != other.form:
        yield Change(name, request, "body", "", one.form, other.form)
        return
    for place in sorted({*one.types, *other.types}):
        before, after = one.types.get(place, ""), other.types.get(place, "")
        if before != after and not below_empty(place, one, other):
            yield Change(name, request, "shape", clean(place), before, after)


def _has_same_body(old: Interaction, new: Interaction) -> bool:
    encodings = [values_of(one.headers, "content-encoding") for one in (old, new)]
    return old.body == new.body and encodings[0] == encodings[1]
