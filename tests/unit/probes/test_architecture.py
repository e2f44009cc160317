"""Which processor this is."""

import os
import sys

import pytest

from egressmon.probes import architecture


def uname_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    said = os.uname_result([*os.uname()[:4], name])
    monkeypatch.setattr(os, "uname", lambda: said)


# setarch(8) has uname(2) lie to all below it: to this process, which has 64 bits, too.
@pytest.mark.parametrize(
    ("said", "machine"),
    [("armv8l", "aarch64"), ("i686", "x86_64"), ("aarch64", "aarch64")],
)
def test_a_personality_changes_no_machine(
    monkeypatch: pytest.MonkeyPatch, said: str, machine: str
) -> None:
    uname_says(monkeypatch, said)

    assert architecture.machine() == machine
    assert architecture.this_machine() == architecture.ARCHITECTURES[machine]


def test_what_is_not_known_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    uname_says(monkeypatch, "riscv64")
    assert architecture.machine() == "riscv64"
    assert architecture.this_machine() is None

    uname_says(monkeypatch, "armv8l")
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert architecture.this_machine() is None  # a Python of 32 bits
