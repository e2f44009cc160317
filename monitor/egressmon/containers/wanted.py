"""Which containers somebody wants watched: by name, id or label."""

import re
from typing import Literal

from egressmon.containers.facts import MAX_TEXT
from egressmon.evidence.records.lasting import ContainerRecord
from egressmon.values import dataclass

_ID = re.compile(r"[0-9a-f]{12,64}", re.ASCII)
_FULL_ID = 64
_NAME = re.compile(r"[^\s/\0-\x1f\x7f]+")
_LABEL = "label="
_NAMED_BY_PATH = frozenset({"lxc", "nspawn", "cgroup"})
"""What has no id but a name, which is the last part of its cgroup's path."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Containers with one name, id or label."""

    kind: Literal["name", "label"]
    """`name`: or an id, which may be short."""
    text: str
    """The name or id; NAME or NAME=VALUE of a label."""

    def __str__(self) -> str:
        """Return it as it was asked for."""
        return f"{_LABEL}{self.text}" if self.kind == "label" else self.text

    def fits(self, one: ContainerRecord, *, is_whole: bool) -> bool | None:
        """Tell whether it is `one` that is meant; None: that is not known.

        `is_whole`: all that its engine knows of it was asked for.
        """
        if self.kind == "label":
            return self._fits_label(one, is_whole=is_whole)
        if one.name == self.text or self.is_id_of(one):
            return True
        if one.engine in _NAMED_BY_PATH and one.id == self.text:
            return True
        is_id = len(self.text) == _FULL_ID and _ID.fullmatch(self.text) is not None
        if is_id and one.id is not None and _ID.fullmatch(one.id) is not None:
            return False
        return False if one.name is not None else None

    def is_id_of(self, one: ContainerRecord) -> bool:
        """Tell whether this is the id of `one`, or the first digits of it."""
        return (
            one.id is not None
            and self.kind == "name"
            and _ID.fullmatch(self.text) is not None
            and len(one.id) == _FULL_ID
            and one.id.startswith(self.text)
        )

    def is_proved_by(self, one: ContainerRecord) -> bool:
        """Tell whether `one`, which fits, is no claim of who may have made it up.

        An id needs no engine's word where root made the cgroup.
        """
        if one.confirmed:
            return True
        is_told_by_path = self.is_id_of(one) or one.engine in _NAMED_BY_PATH
        return is_told_by_path and one.made_by == 0 and one.outer is None

    def _fits_label(self, one: ContainerRecord, *, is_whole: bool) -> bool | None:
        key, equals, _ = self.text.partition("=")
        if any(
            label == self.text if equals else label.startswith(f"{key}=")
            for label in one.labels
        ):
            return True
        return False if is_whole and not one.labels_cut else None


def wanted_of(text: str) -> Wanted:
    """Return what `text` asks for; raises ValueError, which says what to write."""
    if text.startswith(_LABEL):
        label = text.removeprefix(_LABEL)
        if not label.partition("=")[0]:
            raise ValueError("write label=NAME or label=NAME=VALUE")
        found = Wanted("label", label)
    else:
        found = Wanted("name", text.removeprefix("/"))
        if not _NAME.fullmatch(found.text):
            raise ValueError("write a container's name or id, or label=NAME=VALUE")
    if len(found.text) >= MAX_TEXT:
        raise ValueError(f"write less than {MAX_TEXT} characters")
    return found
