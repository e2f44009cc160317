"""Start egressmon: make sure that only trusted code runs, then hand over to the CLI.

The interpreter must be isolated (`-I`): nothing from the working directory, from
PYTHON* variables or from the user's site-packages is imported. As root, no file that
another user can write is imported either. Until that is checked, this module imports
only a few small modules.
"""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from egressmon.startup import descriptors, dispositions, environment, ownership, streams

if TYPE_CHECKING:
    from egressmon.probes.loaders.loading import Preparation

CANNOT = 125
"""The exit status if egressmon cannot run here (docs/usage.md)."""
_INSTALL = (
    "`egressmon install` makes an installation that only root can write; in a "
    "checkout, run ./scripts/egressmon as yourself (docs/usage.md, Installing)"
)


def main() -> NoReturn:
    """Run egressmon and end this process with its exit status."""
    streams.open_missing()
    dispositions.begin()
    descriptors.note_inherited()
    try:
        status = _main()
    except SystemExit as end:  # raised by argparse
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # noqa: BLE001 -- printed and counted as CPython does
        status = _failed(error)
    streams.flush_and_exit(status)


def _failed(error: Exception) -> int:
    from egressmon.startup import limits  # noqa: PLC0415 -- rarely needed

    if (explained := limits.explained(error)) is None:
        import traceback  # noqa: PLC0415 -- 8 ms, and rarely needed

        with suppress(OSError):
            traceback.print_exc()
        return 1
    with suppress(OSError):
        sys.stderr.write("error: {}\nhint: {}\n".format(*explained))
    return CANNOT


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
    # __main__ had turned it off until the code was known to belong to root.
    sys.dont_write_bytecode = False
    again = environment.without_loader_variables()
    if again is not None:
        _start_again(again)
    from egressmon.startup import caller, limits  # noqa: PLC0415 -- after the checks

    limits.widen()
    descriptors.take()
    # Open sudo's processes now (the result is cached): they may be ended at any time.
    caller.calling_sudo()
    environment.keep_only_agent_variables()
    try:
        from egressmon import early  # noqa: PLC0415 -- after the checks

        return _command_line(early.prepare(sys.argv[1:]))
    except ownership.ForeignCodeError as error:
        return _refuse(str(error))


def _command_line(preparation: "Preparation | None" = None) -> int:
    from egressmon.startup.late import import_late  # noqa: PLC0415 -- after the checks

    import_late("orjson")  # 10 ms, and no line is written before the command starts
    from egressmon.cli.main import main as command_line  # noqa: PLC0415 -- as above

    return command_line(preparation)


# `python -m` has already imported from the working directory. For a user that is no
# harm: it is code that the user may run anyway. For root it is too late: refuse.
def _isolate() -> NoReturn:
    if os.geteuid() == 0:
        with suppress(OSError):
            sys.stderr.write(
                "error: root's Python is not isolated: it may run files of the working "
                "directory\nhint: run `egressmon`, or `python -I -m egressmon`\n"
            )
        sys.exit(CANNOT)
    _start_again(environment.with_note(environment.original(), ()))


# Return the variable, if any, that made CPython read another's pyvenv.cfg: it has
# taken effect by now, so that root can only refuse.
def _foreign_python() -> str:
    variables = environment.own_variables()
    names = environment.FOREIGN_PYTHON
    return next((name for name in names if name.encode() in variables), "")


def _start_again(block: environment.Block) -> NoReturn:
    words = [sys.executable, "-I", "-m", "egressmon", *sys.argv[1:]]
    signals = f"{environment.SIGNALS}={os.getpid()} {dispositions.note()}".encode()
    block = (*block, signals)
    streams.close_at_exec()
    dispositions.block_interrupt()
    environment.execve(os.fsencode(words[0]), list(map(os.fsencode, words)), block)


def _refuse(reason: str) -> int:
    from egressmon.text import printable  # noqa: PLC0415 -- rarely needed

    with suppress(OSError):
        sys.stderr.write(
            f"error: root would run code that others can change: {printable(reason)}\n"
            f"hint: {_INSTALL}\n"
        )
    return CANNOT
