"""The routes: the ways in which a connection can leave a process."""

from typing import Literal, TypeAlias, get_args

Route: TypeAlias = Literal["python-socket", "native", "executable", "unbacked"]
ROUTES: tuple[Route, ...] = get_args(Route)
