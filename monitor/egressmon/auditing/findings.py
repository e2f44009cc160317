"""What `policy check --against` tells of: where policy and evidence differ."""

from typing import Literal, TypeAlias

from egressmon.values import dataclass

Kind: TypeAlias = Literal[
    "uncovered", "look-ups", "accepted", "refused", "unused", "looked-up", "wide",
    "anyone",
]  # fmt: skip
KINDS: dict[Kind, str] = {
    "uncovered": "a destination that no entry covers",
    "look-ups": "names and resolvers that [dns] does not have",
    "accepted": "peers that accept.from does not admit",
    "refused": "what the policy refuses by more than its silence",
    "unused": "an entry that nothing used",
    "looked-up": "an entry whose name was only looked up",
    "wide": "an entry that covers more than was used",
    "anyone": "an entry without `by` that one package alone used",
}
"""In the order in which they are told."""
Change: TypeAlias = Literal["add", "replace", "remove", "decide"]
"""What is to be done with the TOML; `decide`: no TOML closes it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. Its texts may quote what others wrote."""

    kind: Kind
    text: str
    change: Change
    toml: tuple[str, ...] = ()
    """The lines that close it, or that are to be removed."""
    entry: str | None = None
    """Such as `allow[0]`; None: it is about no entry."""
    line: int | None = None
    """Where the entry is in the policy's file, if that is known."""
    details: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether the policy does not fit for it; else it is only a remark."""
        return self.kind != "anyone"
