"""How much of a command line is recorded."""

from typing import Literal, TypeAlias, get_args

ArgvMode: TypeAlias = Literal["none", "program", "masked"]
ARGV_MODES: tuple[ArgvMode, ...] = get_args(ArgvMode)
