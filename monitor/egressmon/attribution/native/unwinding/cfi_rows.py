"""The values in unwind tables: entries of functions, and rows of addresses.

Terms: DWARF 5, 6.4. The canonical frame address (CFA) is where a frame ends.
"""

from typing import Literal, TypeAlias

from egressmon.values import dataclass

RuleKind: TypeAlias = Literal[
    "saved", "offset", "register", "saved-expression", "expression", "same", "undefined"
]
Rule: TypeAlias = tuple[RuleKind, int | bytes]


class CfiError(ValueError):
    """The tables are damaged, or contain what no compiler writes."""


@dataclass(slots=True)
class Row:
    """How to unwind one frame: where it ends (CFA), and where registers are saved."""

    register: int
    """The CFA is this register plus `offset`, unless there is an `expression`."""
    offset: int
    expression: bytes | None
    rules: dict[int, Rule]
    signal: bool = False
    """Whether a signal interrupted the caller, which called nothing itself."""

    plain: tuple[tuple[int, int], ...] | None = None
    """What `plain_rules` returns for it."""

    def copy(self) -> "Row":
        """Return an independent copy."""
        return Row(
            self.register, self.offset, self.expression, dict(self.rules), self.signal
        )


@dataclass(frozen=True, slots=True)
class Common:
    """What several frames of a file have in common (a CIE)."""

    code_factor: int
    data_factor: int
    return_register: int
    encoding: int
    signal: bool
    augmented: bool
    program: bytes


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """One function's entry in the tables (an FDE), with its program."""

    begin: int
    end: int
    program: bytes
    place: int
    """The address of the program's first byte."""
    common: Common


def plain_rules(row: Row, return_register: int) -> tuple[tuple[int, int], ...] | None:
    """Return the registers that `row` saves, each with its offset from the CFA.

    None for the few rows that need more than that.
    """
    if row.expression is not None or row.signal or return_register not in row.rules:
        return None
    found: list[tuple[int, int]] = []
    for register, (kind, value) in row.rules.items():
        if kind != "saved" or not isinstance(value, int):
            return None
        found.append((register, value))
    return tuple(found)
