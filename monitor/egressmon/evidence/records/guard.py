"""What evidence says of guards inside the processes."""

from typing import Literal, TypeAlias

GuardState: TypeAlias = Literal["passed", "bypassed", "absent", "unknown"]
"""Whether a connection went through its process's guard, or around it; whether there
is none; or that this is not known."""

NOT_ASKED = "no guard is asked about it"
"""Why a connection has no `GuardState`: a peer made it, or the kernel itself."""

UNGUARDED_CHILD = "unguarded child of a guarded process"
CHILD = "child of a Python process"
CHILDREN = frozenset({UNGUARDED_CHILD, CHILD})
"""Why what a program did, which has no guard, went around one."""
