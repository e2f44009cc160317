"""Who created a task, and what a callback of asyncio's that is none says of that."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.pythons import WALKED, minor
from support.watching import Json, Watched

Watch = Callable[..., Watched]
pytestmark = pytest.mark.userspace
SCRIPT = Path(__file__).parent / "sources/callbacks.py"
SCHEDULED = "by way of a callback: the frames that scheduled it are not kept"


def creators(record: Json) -> list[str]:
    """Return the functions that created what made a connection, without classes."""
    frames = record["code"]["created_by"] or ()
    return [one["function"].rpartition(".")[2] for one in frames]


@pytest.mark.parametrize("interpreter", WALKED)
def test_tasks_and_callbacks(watched: Watch, interpreter: str) -> None:
    run = watched(interpreter, str(SCRIPT), options=["--quiet"])

    assert run.status == 0, run.stderr
    found = {one["dst"]["port"]: one for one in run.of("connection")}
    version = minor(interpreter)
    check_tasks(found, version)
    check_callbacks(found)
    assert run.end["losses"]["missed_frames"] == 0


def check_tasks(found: dict[int, Json], version: int) -> None:
    """Assert that each task names what created it, and nothing is missing."""
    made_by = {1: "fetch_user", 2: "fetch_user", 3: "fetch_user", 4: "in_python_task"}
    if version >= 11:
        made_by[5] = "in_group"
    if version >= 12:
        made_by |= {6: "in_eager_task", 7: "in_eager_task"}
    made_by[8] = "fetch_user"  # after 20,000 callbacks
    for port, creator in made_by.items():
        assert creator in creators(found[port]), (port, found[port]["code"])
        assert found[port]["code"]["created_by_end"] is None, port


def check_callbacks(found: dict[int, Json]) -> None:
    """Assert that callbacks refer to what created the task that scheduled them."""
    for port in (20, 21, 23, 24):
        assert "fetch_user" in creators(found[port]), (port, found[port]["code"])
        assert "scheduler" not in creators(found[port])
        assert found[port]["code"]["created_by_end"] == SCHEDULED, port
    # A task that a callback made has that on the first of its stacks.
    assert "make_task" in creators(found[22])
    assert "fetch_user" in creators(found[22])
    assert found[22]["code"]["created_by_end"] == SCHEDULED
    # No task scheduled it, so all is there; and nothing of the tasks before it.
    assert "outside" in creators(found[30])
    assert "fetch_user" not in creators(found[30])
    assert found[30]["code"]["created_by_end"] is None
    # By turns in two threads of a process, each with a loop of its own.
    for port, creator in ((40, "first_thread"), (41, "second_thread")):
        assert creator in creators(found[port]), (port, found[port]["code"])
        assert found[port]["code"]["created_by_end"] == SCHEDULED, port
