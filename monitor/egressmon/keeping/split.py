"""Split the process in two: the keeper, which was called, and the agent, its child."""

import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from egressmon import files, host
from egressmon.keeping.keeper import Keeper
from egressmon.keeping.keeper_client import KeeperClient
from egressmon.keeping.setup import KeeperSetup
from egressmon.privileges.confinement import become_nobody, end_with_parent, unused_uid
from egressmon.startup import descriptors

# Modules that the agent imports only when it needs them.
_LATER = (
    "dataclasses",
    "orjson.orjson",
    "traceback",
    "egressmon.attribution.native.unwinding.processors.aarch64",
    "egressmon.attribution.packages.rpm",
    "egressmon.reports.runs.github",
    "egressmon.reports.runs.summary",
)
_PACKAGES = ("rich", "orjson")
_READ, _ENTER = 0o004, 0o001  # permission bits for others than owner and group
_INCOMPLETE, _CANNOT = 121, 125


def split(setup: KeeperSetup, before_giving_up: Callable[[], None]) -> KeeperClient:
    """Fork the agent, and return in it, with the client by which it asks the keeper.

    The agent calls `before_giving_up`, then gives up all rights. The calling process
    becomes the keeper and never returns: it ends with the agent's exit status.
    """
    uid = unused_uid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper_pid = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # A garbage collection writes to each object, and would copy every shared page.
    gc.freeze()
    agent = os.fork()
    if agent:
        theirs.close()
        descriptors.let_go()
        with suppress(Exception):  # a file that is not closed does no harm
            setup.close_agents_files()
        _run_keeper(Keeper(setup, ours), agent)
    ours.close()
    descriptors.let_go()
    before_giving_up()
    return _become_agent(setup, uid, keeper_pid, theirs)


def _become_agent(
    setup: KeeperSetup, uid: int, keeper_pid: int, connection: socket.socket
) -> KeeperClient:
    setup.child.forget()
    setup.relay.let_go()
    setup.scope.let_go()
    if setup.segments is not None:
        setup.segments.let_go()
    if setup.kept is not None:
        setup.kept.let_go()
    _import_what_is_hidden()
    keeper = KeeperClient(connection)
    keeper.take_over(setup.engine)
    become_nobody(uid)
    end_with_parent(signal.SIGKILL)
    if os.getppid() != keeper_pid:
        os._exit(1)  # the keeper ended before the death signal was set
    files.use(keeper)
    return keeper


def _run_keeper(keeper: Keeper, agent: int) -> NoReturn:
    status = _CANNOT
    try:
        status = keeper.serve(agent)
    except BaseException:  # noqa: BLE001 -- the keeper must not go on as an agent
        status = _INCOMPLETE if keeper.is_started else _CANNOT
        import traceback  # noqa: PLC0415 -- slow, and rarely needed

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


# Import the modules that the agent could not read later: if egressmon is installed in a
# private folder or with a strict umask, only root can read its files.
def _import_what_is_hidden() -> None:
    if all(map(_is_seen_by_others, _files_of_packages())):
        return
    host.egressmon_version()
    for name in _LATER:
        importlib.import_module(name)


def _files_of_packages() -> list[str]:
    found = [importlib.util.find_spec(name) for name in _PACKAGES]
    return [os.__file__, __file__, *(one.origin for one in found if one and one.origin)]


def _is_seen_by_others(file: str) -> bool:
    path = Path(file)
    try:
        return bool(path.stat().st_mode & _READ) and all(
            folder.stat().st_mode & _ENTER for folder in path.parents
        )
    except OSError:
        return False
