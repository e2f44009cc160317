"""Python frames: what the kernel read is what Python itself sees."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.watching import Json, Watched

Watch = Callable[..., Watched]
pytestmark = pytest.mark.userspace
STACKS = Path(__file__).parent / "sources/stacks.py"
MAX_FRAMES = 1024


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


def stack_of(record: Json) -> list[list[object]]:
    """Return the frames of a connection as stacks.py writes them."""
    code = record["code"]
    assert code is not None, record["code_reason"]
    return [[one["function"], one["file"], one["line"]] for one in code["stack"]]


@pytest.mark.parametrize("interpreter", WALKED)
def test_every_stack_is_pythons_own(
    watched: Watch, tmp_path: Path, interpreter: str
) -> None:
    truth = tmp_path / "truth.jsonl"

    run = watched(interpreter, str(STACKS), str(truth), options=["--quiet"])

    assert run.status == 0, run.stderr
    found = {one["dst"]["ip"]: one for one in run.of("connection")}
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert len(lines) > 500
    for address, frames in lines:
        assert stack_of(found[address]) == frames[:MAX_FRAMES], address
        whole = len(frames) <= MAX_FRAMES
        assert (found[address]["code"]["stack_end"] is None) is whole
    assert run.end["unknown_code"] == 0
    assert run.end["losses"]["missed_frames"] == 0
    assert run.end["losses"]["missed_code"] == 0
