"""Who created a task: noted as it was made, or said to be unknown."""

import os
import select
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from support.watching import EGRESSMON, Json, Watched

Watch = Callable[..., Watched]
pytestmark = pytest.mark.userspace
UNSEEN = "who created it was not seen"

DIAL = """
import socket
def dial(port):
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", port))
"""


CREATED = {
    "httpx": """
import asyncio, httpx
async def fetch_user():
    async with httpx.AsyncClient() as client:
        await client.get("http://127.0.0.1:7/")
async def main():
    await fetch_user()
asyncio.run(main())
""",
    "trio": """
import trio
async def fetch_user():
    await trio.open_tcp_stream("127.0.0.1", 7)
trio.run(fetch_user)
""",
    "aiohttp": """
import aiohttp, asyncio, socket
class Two(aiohttp.abc.AbstractResolver):
    async def resolve(self, host, port=0, family=0):
        return [
            {"hostname": host, "host": f"127.0.0.{n}", "port": 7, "proto": 0,
             "family": socket.AF_INET, "flags": socket.AI_NUMERICHOST}
            for n in (1, 2)
        ]
    async def close(self):
        pass
async def fetch_user():
    connector = aiohttp.TCPConnector(resolver=Two())
    async with aiohttp.ClientSession(connector=connector) as session:
        await session.get("http://two.test:7/")
asyncio.run(fetch_user())
""",
    "a task": """
import asyncio
async def dial():
    await asyncio.open_connection("127.0.0.1", 7)
async def fetch_user():
    await asyncio.gather(dial())
asyncio.run(fetch_user())
""",
}


@pytest.mark.parametrize("client", CREATED)
def test_who_created_a_task(watched: Watch, python: str, client: str) -> None:
    run = watched(python, "-c", CREATED[client])

    found = [one for one in run.of("connection") if one["dst"]["port"] == 7]
    assert found, run.stderr
    for record in found:
        code = record["code"]
        own = [one["function"] for one in code["stack"]]
        creators = [one["function"] for one in code["created_by"]]
        if client == "aiohttp":  # races addresses, the first of them in its own task
            assert "fetch_user" in own + creators
        else:
            assert "fetch_user" not in own
            assert "fetch_user" in creators


# A thread's first Context may be where a task's was.
def test_a_thread_after_tasks_has_no_creator(watched: Watch, python: str) -> None:
    code = f"""{DIAL}
import asyncio, contextvars, threading
variable = contextvars.ContextVar("variable")
async def nothing():
    pass
async def task_maker():
    await asyncio.gather(*(nothing() for _ in range(300)))
asyncio.run(task_maker())
def in_thread():
    variable.set(1)
    dial(7)
for _ in range(20):
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
"""

    run = watched(python, "-c", code)

    found = run.of("connection")
    assert len(found) == 20
    for record in found:
        assert record["code"]["created_by"] is None
        assert "in_thread" in [one["function"] for one in record["code"]["stack"]]


def creators(record: Json) -> list[str]:
    """Return the functions that created what made a connection."""
    return [one["function"] for one in record["code"]["created_by"] or ()]


# As behind the wrappers that choose a version, which are no interpreters.
def test_an_interpreter_that_a_script_starts(
    watched: Watch, python: str, tmp_path: Path
) -> None:
    # Until the interpreter is known, tasks have no creator: on a busy machine, longer.
    evidence = str(tmp_path / "evidence.jsonl")
    code = f"""{DIAL}
import asyncio
async def task(port):
    dial(port)
async def task_maker():
    for port in range(1000, 5000):
        await asyncio.gather(task(port))
        await asyncio.sleep(0.01)
        if port > 1100 and '"created_by":{{' in open({evidence!r}).read():
            break
    await asyncio.gather(task(port + 1))
asyncio.run(task_maker())
"""

    run = watched("sh", "-c", 'exec "$@"', "sh", python, "-c", code)

    found = sorted(run.of("connection"), key=lambda one: one["dst"]["port"])
    assert len(found) > 100, run.stderr
    assert all(one["code"] is not None for one in found), [
        one["code_reason"] for one in found if one["code"] is None
    ]
    assert "task_maker" in creators(found[-1]), found[-1]["code"]
    noted = [one["code"] for one in found if one["code"]["created_by"] is not None]
    for record in found:
        assert (
            record["code"]["created_by"] or record["code"]["created_by_end"] == UNSEEN
        )
    # The task in which all of them were made came too early, or it did not.
    assert len({one["created_by_end"] for one in noted}) == 1
    assert noted[0]["created_by_end"] in {None, UNSEEN}


def test_a_context_that_was_not_copied(watched: Watch, python: str) -> None:
    code = f"""{DIAL}
import contextvars
contextvars.Context().run(dial, 7)
dial(8)
"""

    run = watched(python, "-c", code)

    ends = {
        one["dst"]["port"]: (
            one["code"]["created_by"],
            one["code"]["created_by_end"],
        )
        for one in run.of("connection")
    }
    assert ends == {7: (None, UNSEEN), 8: (None, None)}


# Objects are made where others were freed: the very next one, of the same size.
def test_a_context_where_a_tasks_was(watched: Watch, python: str) -> None:
    code = f"""{DIAL}
import asyncio, contextvars
addresses = set()
async def task():
    addresses.add(id(contextvars.copy_context()))
async def task_maker():
    await asyncio.gather(*(task() for _ in range(50)))
asyncio.run(task_maker())
own = contextvars.copy_context()
kept, reused = [], 0
for _ in range(200):
    for one in (contextvars.Context(), own.copy()):
        kept.append(one)
        if id(one) in addresses:
            reused += 1
            one.run(dial, 7)
print(reused)
"""

    run = watched(python, "-c", code)

    found = run.of("connection")
    assert len(found) == int(run.stdout) > 0
    for record in found:
        assert record["code"]["created_by"] is None
        assert record["code"]["created_by_end"] == UNSEEN


def test_tasks_in_tasks_are_cut(watched: Watch, python: str) -> None:
    code = f"""{DIAL}
import asyncio
async def task(depth):
    dial(depth)
    if depth < 9:
        await asyncio.create_task(task(depth + 1))
asyncio.run(task(1))
"""

    run = watched(python, "-c", code)

    found = {one["dst"]["port"]: one for one in run.of("connection")}
    assert creators(found[2]).count("task") == 1
    assert found[2]["code"]["created_by_end"] is None
    assert creators(found[9]).count("task") == 4
    assert "more frames were not kept" in found[9]["code"]["created_by_end"]


def said_in_a_watch(folder: Path, script: str) -> str:
    """Return what a script writes, whose parent is the keeper that watches it."""
    words = [*EGRESSMON, "watch", "--quiet", "--", "sh", "-c", script]
    done = subprocess.run(
        words, check=False, stdout=subprocess.PIPE, text=True, cwd=folder
    )
    return done.stdout


def test_what_attaches_probes_can_do_nothing_else(tmp_path: Path) -> None:
    facts = """
one=$(tr ' ' '\\n' </proc/$PPID/task/$PPID/children | head -n 1)
grep -h CapEff /proc/$one/status
ls -l /proc/$one/fd
"""

    capabilities, *files = said_in_a_watch(tmp_path, facts).splitlines()
    assert int(capabilities.split()[1], 16) == 1 << 21  # CAP_SYS_ADMIN
    held = [line.partition(" -> ")[2] for line in files if " -> " in line]
    assert {one.partition(":")[0] for one in held} == {"anon_inode", "socket"}, held
    assert len(held) == 3


def test_it_ends_with_the_agent(tmp_path: Path) -> None:
    children = "cat /proc/$PPID/task/*/children; kill -9 $PPID"

    pids = said_in_a_watch(tmp_path, children).split()

    assert len(pids) == 4  # witness, attacher, agent, and the command
    for pid in pids:
        with suppress(ProcessLookupError):  # gone already
            end = os.pidfd_open(int(pid))
            assert select.select([end], [], [], 10)[0]
            os.close(end)
