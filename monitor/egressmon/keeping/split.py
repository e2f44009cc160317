"""Part a process into two: the keeper, which was called, and the agent, which reads."""

import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from egressmon import files, host
from egressmon.keeping.keeper import Keeper, Keeping
from egressmon.keeping.kept import Kept
from egressmon.privileges.confinement import become_nobody, end_with_parent, unused_uid

# What the agent imports only when it is needed.
_LATER = (
    "egressmon.attribution.packages.rpm",
    "egressmon.reports.github",
    "egressmon.reports.summary",
)
_PACKAGES = ("rich",)
_READ, _ENTER = 0o004, 0o001  # for others than owner and group
_INCOMPLETE, _CANNOT = 121, 125


def split(keeping: Keeping, with_rights: Callable[[], None]) -> Kept:
    """Return in the agent, a new process without rights, with what it may ask.

    It calls `with_rights` before it gives them up. The calling process becomes the
    keeper, and ends with the agent's exit status.
    """
    uid = unused_uid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Ignored by the caller, children could not be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    keeper = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # a collection would copy every page that holds an object
    agent = os.fork()
    if agent:
        theirs.close()
        # What is not closed here is only open for longer.
        with suppress(Exception):
            keeping.let_go()
        _keep(Keeper(keeping, ours), agent)
    ours.close()
    with_rights()
    keeping.child.forget()
    os.close(keeping.scope.fd)
    _import_what_is_hidden()
    kept = Kept(theirs)
    kept.take_over(keeping.engine)
    become_nobody(uid)
    end_with_parent(signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)  # it ended before it could be told apart
    files.use(kept)
    return kept


def _keep(keeper: Keeper, agent: int) -> NoReturn:
    status = _CANNOT
    try:
        status = keeper.serve(agent)
    except BaseException:  # noqa: BLE001 -- it must not become a second agent
        status = _INCOMPLETE if keeper.is_started else _CANNOT
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


# A private folder, or a strict umask at the installation, hides them from the agent.
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
