"""A C library without unwind tables: what is on the stack is believed with a reason."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.watching import Watched

Watch = Callable[..., Watched]
# How a caller is found that no table tells of: both are said with it. arm64's compilers
# keep frame pointers, and musl there may have been built with them.
WITHOUT_TABLES = ("scan", "frame-pointer")
SOURCES = Path(__file__).parent / "sources"
pytestmark = [pytest.mark.userspace, pytest.mark.processor]


@pytest.mark.parametrize("calls", ["-fplt", "-fno-plt"])
def test_the_caller_is_who_called(watched: Watch, tmp_path: Path, calls: str) -> None:
    library, program = tmp_path / "libdial.so", tmp_path / "program"
    musl = ["musl-gcc", "-O2", "-Wall", calls]
    shared = ["-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*musl, *shared, str(SOURCES / "musl_dial.c")], check=True)
    linked = ["-o", str(program), f"-Wl,-rpath,{tmp_path}", str(library)]
    subprocess.run([*musl, str(SOURCES / "musl_main.c"), *linked], check=True)

    run = watched(str(program))

    assert run.status == 0, run.stderr
    found = {one["dst"]["port"]: one for one in run.of("connection")}
    assert set(found) == {7, 8, 9, 10}
    for port in (7, 8, 9):
        module = found[port]["module"]
        assert module["caller"]["path"] == str(library), module
        dialled, main = [(one["file"], one["how"]) for one in module["chain"]][1:3]
        assert dialled in [("libdial.so", how) for how in WITHOUT_TABLES]
        assert main == ("program", "cfi")
    # By a pointer that only the process knows.
    fields = ("module", "module_reason", "route")
    assert [found[10][name] for name in fields] == [None, "no unwind tables", "unknown"]
