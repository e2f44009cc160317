"""What a baseline keeps of a host: what changes when somebody changes it.

No times are kept, and no digests, so that a renewed certificate is no difference and
nothing is pinned. All texts are as `printable` has them: they go to a file that people
review, and come back from it.
"""

from collections.abc import Mapping
from typing import TypeAlias

from egressmon.text import printable
from egressmon.tls.record import Record

Value: TypeAlias = str | int | bool | tuple[str, ...]
Table: TypeAlias = Mapping[str, Value]
MAX_NAMES = 1000
"""Of a certificate with more names, the first in alphabetical order are kept."""
_LONGEST = 500


def table_of(record: Record) -> dict[str, Value]:
    """Return the table of a host whose certificate is known.

    `names_left_out` is there only where it is not 0.
    """
    leaf = record.leaf
    if leaf is None:
        raise ValueError(f"nothing is known of {record.target.text}")
    names = sorted({_text(name) for name in (*leaf.names, *leaf.others)})
    table: dict[str, Value] = {
        "alpn": _text(record.alpn or ""),
        "cipher": _text(record.cipher or ""),
        "issuers": tuple(map(_text, record.issuers)),
        "key": _text(leaf.key or ""),
        "names": tuple(names[:MAX_NAMES]),
        "protocol": _text(record.protocol or ""),
        "valid": record.is_valid,
    }
    if (left := len(names) - MAX_NAMES) > 0:
        table["names_left_out"] = left
    return table


def _text(text: str) -> str:
    return printable(text, _LONGEST)
