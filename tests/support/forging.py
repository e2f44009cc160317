"""Change evidence as somebody does who knows how it is made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blake3 import blake3

Json = dict[str, Any]


def written(record: Json) -> bytes:
    """Return `record` as egressmon writes it."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def forge(evidence: Path, change: Callable[[list[Json]], object]) -> None:
    """Have `change` change the records, and make numbers and chain right again."""
    records = [json.loads(line) for line in evidence.read_bytes().splitlines()]
    change(records)
    prev: str | None = None
    lines: list[bytes] = []
    for number, record in enumerate(records):
        record["seq"], record["prev"] = number, prev
        lines.append(written(record))
        prev = "blake3:" + blake3(lines[-1]).hexdigest()
    evidence.write_bytes(b"".join(line + b"\n" for line in lines))
