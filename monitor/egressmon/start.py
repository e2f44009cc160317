"""From the interpreter's first line to the command line: isolated, and root's alone.

Nothing of the working directory, of PYTHON* variables or of a user's own packages
may be imported (PEP 741's isolated mode, `-I`), and as root nothing that another user
can write. Only small modules are imported here before that is known.
"""

import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from egressmon.startup import environment, ownership, streams

if TYPE_CHECKING:
    from egressmon.probes.loaders.loading import Preparation

CANNOT = 125
_INSTALL = (
    "`egressmon install` makes an installation that only root can write; in a "
    "checkout, run ./scripts/egressmon as yourself (docs/usage.md, Installing)"
)


def main() -> NoReturn:
    """Run egressmon as it may be run here, and end with the exit status."""
    streams.open_missing()
    try:
        status = _main()
    except SystemExit as end:  # argparse's
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001 -- said as CPython does
        with suppress(OSError):
            traceback.print_exc()
        status = 1
    streams.leave(status)


def _main() -> int:
    if not sys.flags.isolated:
        _isolate()
    if os.geteuid() != 0:
        os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
        return _command_line()
    return _as_root()


def _as_root() -> int:
    if ownership.is_machine_root():
        if reason := ownership.obstacle_to_root():
            return _refuse(reason)
        ownership.guard_imports()
    if name := _foreign_python():
        return _refuse(f"{name} is set, which Python reads even when isolated")
    sys.dont_write_bytecode = False  # __main__ said no, until it is known to be root's
    again = environment.without_loader_variables()
    if again is not None:
        _start_again(again)
    from egressmon.startup import caller  # noqa: PLC0415 -- not before

    caller.calling_sudo()  # at once: nothing else tells of what may end
    environment.keep_only_ours()
    try:
        from egressmon import early  # noqa: PLC0415 -- not before

        return _command_line(early.prepare(sys.argv[1:]))
    except ownership.ForeignCodeError as error:
        return _refuse(str(error))


def _command_line(preparation: "Preparation | None" = None) -> int:
    from egressmon.cli.main import main as command_line  # noqa: PLC0415 -- not before

    return command_line(preparation)


# By then the working directory had its chance (`python -m`): for a user it runs what
# the user may run anyway; for root it is too late to do anything but say so.
def _isolate() -> NoReturn:
    if os.geteuid() == 0:
        with suppress(OSError):
            sys.stderr.write(
                "error: root's Python is not isolated: it may run files of the working "
                "directory\nhint: run `egressmon`, or `python -I -m egressmon`\n"
            )
        sys.exit(CANNOT)
    _start_again(environment.original())


# By then its pyvenv.cfg had its chance, too.
def _foreign_python() -> str:
    given = environment.given()
    names = environment.FOREIGN_PYTHON
    return next((name for name in names if name.encode() in given), "")


def _start_again(block: environment.Block) -> NoReturn:
    words = [sys.executable, "-I", "-m", "egressmon", *sys.argv[1:]]
    streams.close_at_exec()
    environment.execve(os.fsencode(words[0]), list(map(os.fsencode, words)), block)


def _refuse(reason: str) -> int:
    from egressmon.text import printable  # noqa: PLC0415 -- seldom

    with suppress(OSError):
        sys.stderr.write(
            f"error: root would run code that others can change: {printable(reason)}\n"
            f"hint: {_INSTALL}\n"
        )
    return CANNOT
