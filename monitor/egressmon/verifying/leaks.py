"""Search what is verified for secrets, where there is something to search with."""

# Not always installed.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from typing import Any, cast


def leaks_in(path: str) -> Iterator[str] | None:
    """Yield what each secret in the file `path` is, and where, with it masked.

    None if this egressmon cannot search.
    """
    try:
        from egressmon.scan.search import FileSearch  # noqa: PLC0415
    except ImportError:
        return None
    results = cast("Iterator[Any]", FileSearch(path).results())
    return (_shown(one) for one in results)


def _shown(one: Any) -> str:
    kind = getattr(one, "kind", None)
    if kind is None:
        return f"it could not be searched for secrets: {one.reason}"
    return f"a secret ({kind}) at line {one.line}"
