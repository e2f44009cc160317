"""The answers of a sidecar: lines of JSON that are safe to read, and not too long."""

from typing import Any

from egressmon.evidence.gate import Fields, admit

MAX_ANSWER = 64 << 10
"""In bytes, with the newline."""
_TOO_LONG = b'{"ok":false,"why":"the answer is too long"}\n'


def line_of(answer: dict[str, Any]) -> bytes:
    """Return `answer` as a line; long texts and lists in it are cut."""
    line, _ = admit(Fields({str(name): value for name, value in answer.items()}))
    return line + b"\n" if len(line) < MAX_ANSWER else _TOO_LONG


def refusal(why: str, *, is_busy: bool = False) -> bytes:
    """Return the answer to what is not done; if `is_busy`, it may be asked again."""
    busy = {"busy": True} if is_busy else {}
    return line_of({"ok": False, "why": why, **busy})
