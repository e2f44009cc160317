"""Whether a connection went through a guard or around it."""

import ipaddress
from dataclasses import replace
from typing import Any, cast

import pytest

from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.result import Attribution, unknown
from egressmon.events.model import FLAG_UNASKED, Flow
from egressmon.evidence.records.code import CodeRecord, FrameRecord, ModuleRecord
from egressmon.evidence.stacks import Stacks
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Destination, Origin
from egressmon.policy.language.model import Policy
from egressmon.verdicts.guards import guarded, is_function

FUNCTIONS = ("my.pkg.egress_guard:wrapped", "pytest_socket:guarded_connect")
FLOW = cast("Flow", type("F", (), {"operation": "connect", "flags": 0})())
MODULE = cast("ModuleRecord", object())
KNOWN = Attribution(MODULE, None, "python-socket", None, False)


def code(*frames: tuple[str, str], end: str | None = None) -> CodeRecord:
    """Return the record of a call from these (function, file)s, innermost first."""
    stack = [FrameRecord(function, file, 1) for function, file in frames]
    fields: dict[str, Any] = dict.fromkeys(CodeRecord.__slots__)
    fields |= {"language": "python", "stack": Stacks().refer(stack), "stack_end": end}
    return CodeRecord(**fields)


def state(source: Attribution, functions: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Return what is said of a connection by `source`."""
    found = guarded(FLOW, source, functions)
    return found.state, found.reason


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("python-socket", ("passed", "by the guard's audit hook")),
        ("native", ("bypassed", "by route native")),
        ("unbacked", ("bypassed", "by route unbacked")),
        ("executable", ("bypassed", "by route executable")),
    ],
)
def test_a_marked_process_by_its_route(route: str, expected: tuple[str, str]) -> None:
    assert state(replace(KNOWN, route=route, guard="here")) == expected


def test_a_marked_process_whose_route_is_unknown() -> None:
    source = replace(KNOWN, route="unknown", route_reason="why", guard="here")

    assert state(source) == ("unknown", "why")


def test_another_program_of_a_guarded_process() -> None:
    source = replace(KNOWN, route="executable", guard="ancestor")

    assert state(source) == ("bypassed", "unguarded child of a guarded process")


def test_no_guard() -> None:
    assert state(KNOWN) == ("absent", None)


def test_an_unknown_module_leaves_it_unknown() -> None:
    assert state(unknown("lost")) == ("unknown", "lost")


def test_what_no_guard_is_asked_about() -> None:
    for other in ({"operation": "accept"}, {"flags": FLAG_UNASKED}):
        fields = {"operation": "connect", "flags": 0} | other
        flow = cast("Flow", type("F", (), fields)())

        assert guarded(flow, replace(KNOWN, guard="here"), FUNCTIONS).state is None


def test_a_named_function_on_the_stack() -> None:
    inner = ("connect", "/usr/lib/python3.11/socket.py")
    guard = ("guard.<locals>.guarded_connect", "/v/site-packages/pytest_socket.py")
    source = replace(KNOWN, code=code(inner, guard), code_status="known")

    expected = "pytest_socket:guarded_connect is on its stack"
    assert state(source, FUNCTIONS) == ("passed", expected)
    assert state(source) == ("absent", None)


def test_no_named_function_on_the_stack() -> None:
    source = replace(KNOWN, code=code(("f", "/a.py")), code_status="known")

    assert state(source, FUNCTIONS)[0] == "bypassed"


def test_a_stack_that_is_not_whole_proves_no_bypass() -> None:
    source = replace(KNOWN, code=code(("f", "/a.py"), end="cut"), code_status="known")

    assert state(source, FUNCTIONS)[0] == "unknown"


def test_frames_that_are_unknown_prove_no_bypass() -> None:
    source = replace(KNOWN, code_status="unknown", code_reason="lost")

    assert state(source, FUNCTIONS) == ("unknown", "lost")


def test_a_program_that_python_started_is_around_the_named_functions() -> None:
    child = replace(code(), language=None, stack=None)
    source = replace(KNOWN, code=child, code_status="known")

    assert state(source, FUNCTIONS) == ("bypassed", "child of a Python process")


def test_no_python_needs_no_python_guard() -> None:
    assert state(replace(KNOWN, code_status="none"), FUNCTIONS) == ("absent", None)


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("wrapped", "/x/my/pkg/egress_guard.py", True),
        ("wrapped", "/x/my/pkg/egress_guard/__init__.py", True),
        ("outer.<locals>.wrapped", "/x/my/pkg/egress_guard.py", True),
        ("unwrapped", "/x/my/pkg/egress_guard.py", False),
        ("wrapped", "/x/notmy/pkg/egress_guard.py.evil", False),
        ("wrapped", "/x/other_my/pkg/egress_guard.py", False),
        ("wrapped", "/x/egress_guard.py", False),
    ],
)
def test_how_a_function_is_named(name: str, file: str, *, expected: bool) -> None:
    assert is_function(FUNCTIONS[0], name, file) is expected


def test_a_method_by_the_last_part_of_its_name_alone() -> None:
    assert is_function("a:C.m", "m", "/a.py")
    assert not is_function("a:C.m", "D.m", "/a.py")


def test_the_mark_is_kept_by_a_fork_and_becomes_an_ancestors_by_an_exec() -> None:
    space = AddressSpace()
    assert space.guard is None
    space.add(Mapping(0, 1, 0, b"/memfd:egressmon-guard:1 (deleted)", 1, 1, 0))

    assert space.copy().guard == "here"
    assert space.copy().replaced().guard == "ancestor"
    assert space.replaced().replaced().copy().guard == "ancestor"
    assert AddressSpace().replaced().guard is None


def verdict(guard: str | None, bypass: str) -> tuple[str, str | None]:
    """Return what a policy says of a connection that an entry covers."""
    policy = Policy.model_validate(
        {
            "version": 1,
            "allow": [{"cidr": "192.0.2.0/24"}],
            "guard": {"bypass": bypass},
        }
    )
    target = Destination(ipaddress.ip_address("192.0.2.1"), 443, "tcp")
    found = Judge(policy, frozenset()).connection(
        target, Origin(guard=guard, guard_reason="why")
    )
    return found.word, found.rule


@pytest.mark.parametrize("guard", ["bypassed", "unknown"])
def test_around_the_guard_is_a_violation_where_the_policy_says_so(guard: str) -> None:
    assert verdict(guard, "report") == ("allowed", "allow[0]")
    assert verdict(guard, "violation") == ("violation", "guard.bypass")


@pytest.mark.parametrize("guard", ["passed", "absent", None])
def test_what_did_not_go_around_a_guard_is_judged_as_ever(guard: str | None) -> None:
    assert verdict(guard, "violation") == ("allowed", "allow[0]")
