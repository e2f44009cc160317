"""How much of command lines is recorded: the values of `--argv`."""

from typing import Literal, TypeAlias, get_args

ArgvMode: TypeAlias = Literal["none", "program", "masked"]
ARGV_MODES: tuple[ArgvMode, ...] = get_args(ArgvMode)
