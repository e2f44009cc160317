"""Write what pytest compiles, assert statements rewritten, where pytest looks for it.

rewriting.py PACKAGES FOLDER...   run by a Python of the guest's version

PACKAGES is the folder that pytest is imported from. A guest would do this in each run,
for minutes, before the first test. pytest ignores what is older than its source, or of
another version of itself: if this wrote anything else, a guest would only be slow.
"""

import sys
from pathlib import Path
from typing import Any

# Plug-ins, whose modules pytest rewrites as well.
_PLUGINS = ("_hypothesis_*.py", "hypothesis/**/*.py", "xdist/**/*.py")


def main(packages: Path, folders: list[Path]) -> None:
    """Write the compiled files of the tests in `folders`, and of pytest's plug-ins."""
    sys.path.insert(0, str(packages))
    files = [one for pattern in _PLUGINS for one in packages.glob(pattern)]
    for folder in folders:
        files += [*folder.rglob("conftest.py"), *folder.rglob("test_*.py")]
    compile_all(files)


def compile_all(files: list[Path]) -> None:
    """Write the compiled files of `files`, but of those that are no Python."""
    from _pytest.assertion import rewrite  # noqa: PLC0415 -- not before its path is known

    for file in files:
        target = file.parent / "__pycache__" / (file.stem + rewrite.PYC_TAIL)
        if not _is_newer(target, file):
            _write(rewrite, file, target)


def _is_newer(target: Path, source: Path) -> bool:
    return target.exists() and target.stat().st_mtime >= source.stat().st_mtime


def _write(rewrite: Any, source: Path, target: Path) -> None:
    try:
        status, code = rewrite._rewrite_test(source, None)  # noqa: SLF001
    except (SyntaxError, ValueError):
        return  # for another Python: pytest will say so, if it is ever imported
    target.parent.mkdir(exist_ok=True)
    rewrite._write_pyc(None, code, status, target)  # noqa: SLF001


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
