"""What a run imports, and when: each module delays the command, or the run's end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.watching import LIMIT_S, watch

# Slow ones, which no run needs that has nothing to say, and no policy file.
SELDOM = frozenset({
    "email", "importlib.metadata", "pydantic", "rich", "shutil", "subprocess",
    "tempfile", "traceback", "zipfile",
})  # fmt: skip
MOST = 449
"""How many modules a run may import, those of the interpreter itself included."""
RUN = ("-m", "egressmon", "watch", "--quiet", "--engine", "libbpf")
# Runs egressmon where the module that writes JSON breaks as it is loaded.
BROKEN = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "orjson.orjson":
            raise ImportError("broken")
sys.meta_path.insert(0, Broken())
from egressmon.start import main
main()
"""

# Runs egressmon where no process can be moved into the scope.
CLOSED = """
import errno, os
from egressmon.start import main
from egressmon.sensor.scope import Scope
def refuse(scope):
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
Scope.enter = refuse
main()
"""


def run_script(
    code: str, folder: Path, *command: str
) -> subprocess.CompletedProcess[str]:
    """Run the program `code`, which runs egressmon, to watch `command`."""
    words = [sys.executable, "-I", "-c", code, "watch", "--engine", "libbpf"]
    words += ["--evidence", str(folder / "e.jsonl"), "--", *command]
    return subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=LIMIT_S
    )


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The modules that a run of `true` imports, in their order."""
    folder = tmp_path_factory.mktemp("imported")
    assert watch(folder, "true", options=["--engine", "libbpf"]).status == 0
    words = [sys.executable, "-I", "-X", "importtime", *RUN]
    words += ["--evidence", str(folder / "e.jsonl"), "--", "true"]
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, timeout=LIMIT_S
    )
    return re.findall(r"^import time:.*\| *(\S+)$", done.stderr, re.MULTILINE)


def test_a_quiet_run_imports_nothing_that_is_seldom_needed(imported: list[str]) -> None:
    assert SELDOM & set(imported) == set()


def test_a_run_imports_not_many_modules(imported: list[str]) -> None:
    assert len(imported) < MOST, f"{len(imported)} modules: raise the bound with care"


def test_what_writes_json_is_imported_when_the_process_has_parted(
    imported: list[str],
) -> None:
    assert imported.index("orjson.orjson") > imported.index("egressmon.runs.run")


def test_an_import_that_fails_during_the_run_makes_it_incomplete(
    tmp_path: Path,
) -> None:
    made = tmp_path / "made"

    done = run_script(BROKEN, tmp_path, "touch", str(made))

    assert made.exists()
    assert done.returncode == 121
    assert "broken" in done.stderr


def test_without_a_way_into_the_scope_nothing_is_started(tmp_path: Path) -> None:
    made = tmp_path / "made"

    done = run_script(CLOSED, tmp_path, "touch", str(made))

    assert not made.exists()
    assert done.returncode == 125
    assert "the scope's cgroup could not be entered" in done.stderr
