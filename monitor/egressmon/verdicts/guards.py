"""Whether a connection went through a guard inside its process, or around it.

All of it is what the process claims: that it has a guard, and what its Python stack is.
"""

from functools import lru_cache

from egressmon.attribution.result import Attribution
from egressmon.events.model import FLAG_UNASKED, Flow
from egressmon.evidence.records.code import CodeRecord, StackRecord
from egressmon.evidence.records.guard import (
    CHILD,
    NOT_ASKED,
    UNGUARDED_CHILD,
    GuardState,
)
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a guard had to do with a connection, and why that is said."""

    state: GuardState | None
    reason: str | None


UNGUARDED = _ABSENT = Guarded("absent", None)
_NOT_ASKED = Guarded(None, NOT_ASKED)


def guarded(flow: Flow, source: Attribution, functions: tuple[str, ...]) -> Guarded:
    """Return what a guard in its process had to do with `flow`.

    `functions` are the policy's `guard.functions`.
    """
    if flow.operation == "accept" or flow.flags & FLAG_UNASKED:
        return _NOT_ASKED
    named = _named(source.code, functions) if functions else None
    if named is not None:
        return Guarded("passed", f"{named} is on its stack")
    if source.guard is not None:
        return _by_mark(source)
    if functions:
        return _by_functions(source)
    if source.module is None:
        return Guarded("unknown", source.module_reason)
    return _ABSENT


# CPython's own sockets raise an audit event before each such call, and an audit hook
# cannot be taken off: so the guard was asked (PEP 578; Modules/socketmodule.c).
def _by_mark(source: Attribution) -> Guarded:
    if source.guard == "ancestor":
        return Guarded("bypassed", UNGUARDED_CHILD)
    if source.route == "python-socket":
        return Guarded("passed", "by the guard's audit hook")
    if source.route == "unknown":
        return Guarded("unknown", source.route_reason)
    return Guarded("bypassed", f"by route {source.route}")


# Which of the functions a process has is not known, but that none was asked.
def _by_functions(source: Attribution) -> Guarded:
    if source.code_status == "unknown":
        return Guarded("unknown", source.code_reason)
    code = source.code
    if code is None:
        return _ABSENT
    if code.language is None:
        return Guarded("bypassed", CHILD)
    if code.stack_end is not None:
        return Guarded("unknown", f"its stack is not known whole: {code.stack_end}")
    return Guarded("bypassed", "no function of guard.functions is on its stack")


def _named(code: CodeRecord | None, functions: tuple[str, ...]) -> str | None:
    if code is None or code.stack is None:
        return None
    return _first_on(code.stack.digest, functions, _Stack(code.stack.record))


class _Stack:
    """A stack that is equal to every other: its digest is compared instead."""

    def __init__(self, record: StackRecord) -> None:
        self.record = record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stack)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=1024)
def _first_on(_digest: str, functions: tuple[str, ...], stack: _Stack) -> str | None:
    names = stack.record.names
    for function, file, _ in stack.record.frames:
        if function is None or file is None:
            continue
        for one in functions:
            if is_function(one, names[function], names[file]):
                return one
    return None


def is_function(wanted: str, name: str, file: str) -> bool:
    """Tell whether the function `name` of `file` is `wanted`, as "module:function".

    Python before 3.11 knows no more of a function than the last part of its name.
    """
    module, _, function = wanted.partition(":")
    path = module.replace(".", "/")
    if not file.endswith((f"/{path}.py", f"/{path}/__init__.py")):
        return False
    if name == function or name.endswith(f".{function}"):
        return True
    return "." not in name and name == function.rpartition(".")[2]
