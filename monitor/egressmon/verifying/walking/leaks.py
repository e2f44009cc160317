"""Search what is verified for secrets."""

from collections.abc import Iterator

from egressmon.scan.search import FileSearch, Leak


def leaks_in(path: str) -> Iterator[str]:
    """Yield what each secret in the file `path` is, and where; none is shown."""
    for one in FileSearch(path).results():
        if isinstance(one, Leak):
            yield f"a secret ({one.kind}) at line {one.line}"
        else:
            yield f"it could not be searched for secrets: {one.reason}"
