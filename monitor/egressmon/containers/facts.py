"""Read what an engine says of a container; all of it can be anything.

The API is that of Docker, which Podman offers, too: GET /containers/ID/json. The bundle
is that of the OCI runtime specification, with the annotations of Kubernetes (CRI).
"""

import json
import re
from collections.abc import Iterable
from typing import Any, TypeAlias, cast

from egressmon.values import dataclass

MAX_LABELS = 32
MAX_TEXT = 256
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |$)")
_MAX_HEAD = 16384
_NOT_FOUND = 404
_MAX_PID = 1 << 22
_CRI_NAME = ("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
_CRI_IMAGE = (
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "io.podman.annotations.image",
)
_CRI_PREFIX = "io.kubernetes."
_Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine says of a container; None: nothing."""

    id: str | None
    name: str | None
    image: str | None
    labels: tuple[str, ...] = ()
    """NAME=VALUE, by name; no more than `MAX_LABELS`."""
    labels_cut: bool = False
    """Whether there are more, or one of them is longer."""
    pid: int | None = None
    """Its first process, as this machine numbers it; None: it does not run."""


class FactsError(ValueError):
    """The answer says nothing of the container; the text says why."""

    def __init__(self, why: str, *, may_pass: bool = False) -> None:
        """`may_pass` says that the engine may answer otherwise when asked again."""
        super().__init__(why)
        self.may_pass = may_pass


def facts_of_answer(data: bytes) -> Facts:
    """Return what the engine's HTTP response `data` says; raises `FactsError`."""
    head, blank, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = _STATUS.match(lines[0])
    if not blank or status is None or len(head) > _MAX_HEAD:
        raise FactsError("its engine's answer is no HTTP response")
    if int(status[1]) == _NOT_FOUND:
        raise FactsError("its engine knows no such container, or none any more")
    if status[1] != b"200":
        raise FactsError(
            f"its engine answered with HTTP status {status[1].decode()}",
            may_pass=status[1].startswith(b"5"),
        )
    found = _object(body)
    identifier = _text(found.get("Id"))
    if identifier is None:
        raise FactsError("its engine's answer does not say of which container it is")
    config, state = _inner(found, "Config"), _inner(found, "State")
    labels, is_cut = _labels(_inner(config, "Labels").items())
    name = _text(found.get("Name"))
    return Facts(
        id=identifier,
        name=name.removeprefix("/") if name is not None else None,
        image=_text(config.get("Image")),
        labels=labels,
        labels_cut=is_cut,
        pid=_pid(state.get("Pid")),
    )


def facts_of_bundle(data: bytes) -> Facts:
    """Return what the config.json `data` of an OCI bundle says; raises `FactsError`."""
    notes = _inner(_object(data), "annotations")
    labels, is_cut = _labels(
        (key, value) for key, value in notes.items() if key.startswith(_CRI_PREFIX)
    )
    return Facts(
        id=None,
        name=_first(notes, _CRI_NAME),
        image=_first(notes, _CRI_IMAGE),
        labels=labels,
        labels_cut=is_cut,
    )


def _object(data: bytes) -> _Json:
    try:
        found = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise FactsError("what its engine says of it is no JSON") from error
    if not isinstance(found, dict):
        raise FactsError("what its engine says of it is no JSON object")
    return cast("_Json", found)


def _inner(found: _Json, name: str) -> _Json:
    value = found.get(name)
    return cast("_Json", value) if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


def _first(notes: _Json, names: tuple[str, ...]) -> str | None:
    found = (_text(notes.get(name)) for name in names)
    return next((one for one in found if one is not None), None)


def _pid(value: object) -> int | None:
    if isinstance(value, int) and value is not True and 0 < value <= _MAX_PID:
        return int(value)
    return None


def _labels(items: Iterable[tuple[str, object]]) -> tuple[tuple[str, ...], bool]:
    texts = sorted(f"{key}={value}" for key, value in items if isinstance(value, str))
    kept = tuple(one[:MAX_TEXT] for one in texts[:MAX_LABELS])
    return kept, list(kept) != texts
