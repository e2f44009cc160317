"""Write tables of a policy file, which are TOML however narrow the terminal is."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

Value: TypeAlias = int | str | Sequence[int | str]


class Table(NamedTuple):
    """A table of the file; without a header, keys for a table that is there."""

    header: str
    keys: list[tuple[str, Value]]


def toml_lines(table: Table, width: int | None = None) -> Iterator[str]:
    """Yield the lines of `table`, of at most `width` characters if it is given.

    Its texts must be host names or addresses: nothing in them needs an escape.
    """
    if table.header:
        yield table.header
    for key, value in table.keys:
        line = f"{key} = {_plain(value)}"
        if width is None or len(line) <= width:
            yield line
        elif isinstance(value, str):
            yield from _folded(f"{key} = ", value, width)
        elif not isinstance(value, int):
            yield f"{key} = ["
            for one in value:
                yield from _item(one, width)
            yield "]"


def _plain(value: Value) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(map(_plain, value))}]"


def _item(value: int | str, width: int) -> Iterator[str]:
    line = f"  {_plain(value)},"
    if isinstance(value, int) or len(line) <= width:
        yield line
    else:
        yield from _folded("  ", value, width, ",")


# A line of such a text may end in a backslash: it goes on at the next character that
# is no blank (TOML 1.0, "String").
def _folded(before: str, value: str, width: int, after: str = "") -> Iterator[str]:
    from egressmon.reports.writing.layout import fold  # noqa: PLC0415 -- rich is slow

    yield f'{before}"""\\'
    *lines, last = fold(value, width - 6)
    for line in lines:
        yield f"  {line}\\"
    yield f'  {last}"""{after}'
