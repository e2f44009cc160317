"""Search what is verified for secrets, where there is something to search with."""

import importlib
from collections.abc import Iterator
from typing import Any


def leaks_in(path: str) -> Iterator[str] | None:
    """Yield what each secret in the file `path` is, and where, with it masked.

    None if this egressmon cannot search.
    """
    try:
        search: Any = importlib.import_module("egressmon.scan.search")
    except ImportError:
        return None
    return (_shown(one) for one in search.FileSearch(path).results())


def _shown(one: Any) -> str:
    kind = getattr(one, "kind", None)
    if kind is None:
        return f"it could not be searched for secrets: {one.reason}"
    return f"a secret ({kind}) at line {one.line}"
