"""The CPython interpreters of this machine."""

from pathlib import Path


def minor(interpreter: str) -> int:
    """Return the interpreter's minor version."""
    name = Path(interpreter).resolve().name
    return int(name.removeprefix("python3.").rstrip("t"))


INTERPRETERS = sorted(
    {
        str(path)
        for pattern in ("usr/bin/python3.*", "usr/local/bin/python3.*")
        for path in Path("/").glob(pattern)
        if path.name.removeprefix("python3.").isdigit()
    }
    | {str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3.*[0-9]")}
)
WALKED = [one for one in INTERPRETERS if minor(one) >= 9]
"""Those whose frames the probes can read."""
