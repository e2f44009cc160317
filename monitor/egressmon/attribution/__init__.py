"""Attribution: the code, the package and the route behind each connection."""

from typing import Literal, TypeAlias, get_args

Level: TypeAlias = Literal["full", "module", "process"]
"""What to attribute: Python code and native modules, modules, or processes alone."""
LEVELS: tuple[Level, ...] = get_args(Level)
