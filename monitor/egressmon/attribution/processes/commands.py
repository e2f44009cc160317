"""The command lines of processes, without secrets."""

from egressmon.sanitise import sanitise_argv
from egressmon.sanitise.argv_mode import ArgvMode
from egressmon.text import from_bytes

_MAX_ARGUMENTS = 512
_MAX_COMMANDS = 1024
_MAX_COMMAND = 1024


class Commands:
    """Makes the words of command lines of what the kernel has."""

    def __init__(self, mode: ArgvMode) -> None:
        """`mode` is how much of command lines is kept."""
        self._mode: ArgvMode = mode
        self._known: dict[bytes, list[str]] = {}
        """Command lines without secrets, by the kernel's bytes."""

    def of(self, arguments: bytes) -> tuple[list[str], bool]:
        """Return the command line, sanitised, and whether words are missing.

        As commands repeat, they are remembered, but for those in which a secret was
        masked.
        """
        known = self._known.get(arguments)
        if known is not None:
            return known, False
        words = arguments.split(b"\0")
        if words and not words[-1]:
            words.pop()
        given = [from_bytes(word) for word in words[:_MAX_ARGUMENTS]]
        argv = sanitise_argv(given, self._mode)
        if argv == given and len(given) == len(words) and len(arguments) < _MAX_COMMAND:
            if len(self._known) >= _MAX_COMMANDS:
                self._known.clear()
            self._known[arguments] = argv
        return argv, len(words) > len(argv)
