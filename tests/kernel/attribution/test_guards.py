"""Which connections went through a guard in their process, and which around it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.lab import SERVER4
from support.watching import Watched

Watch = Callable[..., Watched]
Compile = Callable[..., str]
PORT = 4000
SOURCE = Path(__file__).with_name("sources") / "guarded.py"
POLICY = """
version = 1
[[allow]]
cidr = "{server}"
ports = "any"
[[allow]]
cidr = "192.0.2.0/24"
ports = "any"
[guard]
{guard}
"""


@pytest.fixture
def guarded(watched: Watch, compiled: Compile) -> Callable[..., Watched]:
    """Return how to run the program that is marked as guarded."""

    def run(guard: str = "", **how: Any) -> Watched:
        policy = POLICY.format(server=SERVER4, guard=guard)
        program = compiled("leave", "leave")
        command = ("python3", str(SOURCE), SERVER4, str(PORT), program)
        return watched(*command, policy=policy, **how)

    return run


def states(run: Watched) -> list[str]:
    """Return what is said of each connection, in the order of their ports."""
    found = {one["dst"]["port"]: one["guard"] for one in run.of("connection")}
    return [found[port] for port in sorted(found)]


@pytest.mark.smoke
def test_what_went_through_the_guard_and_around_it(
    guarded: Callable[..., Watched],
) -> None:
    run = guarded()

    expected = ["passed", "bypassed", "passed", "bypassed", "bypassed", "passed"]
    assert states(run)[-7:] == ["absent", *expected]
    assert run.end["guard"] == dict(Counter(["absent", *expected]))
    assert "3 connections through the guard, 3 around it: " in run.stderr
    assert "1 by a child (leave)" in run.stderr
    child = {one["dst"]["port"]: one for one in run.of("connection")}[PORT + 5]
    assert child["guard_reason"] == "unguarded child of a guarded process"


def test_a_function_of_another_guard(guarded: Callable[..., Watched]) -> None:
    run = guarded('functions = ["guarded:wrapped"]')

    found = {one["dst"]["port"]: one for one in run.of("connection")}
    assert found[PORT]["guard"] == "bypassed"
    assert found[PORT]["guard_reason"].startswith("no function of guard.functions")
    assert found[PORT + 6]["guard"] == "passed"
    assert found[PORT + 6]["guard_reason"] == "guarded:wrapped is on its stack"


def test_around_the_guard_is_a_violation(guarded: Callable[..., Watched]) -> None:
    run = guarded('bypass = "violation"')

    wrong = [one for one in run.of("connection") if one["verdict"] == "violation"]
    # The program `leave` stays on this machine.
    assert {one["dst"]["port"] - PORT for one in wrong} == {2, 4}
    assert {one["rule"] for one in wrong} == {"guard.bypass"}


def test_without_attribution_it_is_unknown(guarded: Callable[..., Watched]) -> None:
    run = guarded(options=("--attribution", "process"))

    assert set(states(run)) == {"unknown"}
