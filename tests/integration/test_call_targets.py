"""Which calls lead to a function, in files as compilers and linkers write them."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from egressmon.attribution.native.unwinding.processors import aarch64_calls, x86_64
from egressmon.files.elf import Elf

CALLEE = """
int other(int one) { return one * 3; }
__attribute__((noinline)) int target(int one)
{
    for (volatile int i = 0; i < one; i++)
        ;
    return one;
}
int wrapper(int one) { return target(one + 1); }
"""
CALLER = """
int target(int one), wrapper(int one), other(int one);
int calls_target(int one) { return target(one) + 1; }
int calls_wrapper(int one) { return wrapper(one) + 1; }
int calls_other(int one) { return other(one) + 1; }
int calls_pointer(int (*way)(int)) { return way(1) + 1; }
static __attribute__((noinline)) int own(int one)
{
    volatile int kept = one;
    return kept;
}
int calls_own(int one) { return own(one) + 1; }
"""
CALL = re.compile(r"^\s*[0-9a-f]+:\s+(?:call|blr?\b).*\n\s*([0-9a-f]+):", re.MULTILINE)
LEADS_TO = {"x86_64": x86_64.leads_to, "aarch64": aarch64_calls.leads_to}
# Options by which calls and stubs differ, and the processors that have them.
WAYS = [
    ("x86_64", "-fplt"),
    ("x86_64", "-fno-plt"),
    ("x86_64", "-fcf-protection=none"),
    ("aarch64", "-fplt"),
    ("aarch64", "-fno-plt"),
    ("aarch64", "-mbranch-protection=standard"),
    ("aarch64", "-Wl,-z,pac-plt,-z,force-bti"),
]


def said(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


class Built(NamedTuple):
    """A library that calls and one that is called, for a processor."""

    machine: str
    caller: Path
    callee: Path

    def tool(self, name: str) -> str:
        """Return the name of the tool for the files."""
        here = self.machine == os.uname().machine
        return name if here else f"{self.machine.replace('_', '-')}-linux-gnu-{name}"

    def behind_call(self, function: str) -> int:
        """Return the address behind the call that a function of the caller makes."""
        words = [self.tool("objdump"), "-d", "--no-show-raw-insn"]
        words += [f"--disassemble={function}", str(self.caller)]
        (address,) = CALL.findall(said(*words))
        return int(address, 16)

    def leads_to(self, caller: Elf, behind: int, callee: Elf, address: int) -> bool:
        """Ask what the processor's walk asks."""
        return LEADS_TO[self.machine](caller, behind, callee, address)


@pytest.fixture(scope="module", params=WAYS, ids=" ".join)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    """Compile the sources for a processor in one of the ways."""
    machine, way = request.param
    folder = tmp_path_factory.mktemp("built")
    made = Built(machine, folder / "caller.so", folder / "callee.so")
    if shutil.which(made.tool("gcc")) is None:
        pytest.skip(f"no {made.tool('gcc')}")
    options = ["-O2", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-nostdlib"]
    # A wrapper that jumps through memory is not recognised.
    plain = "-fplt" if way == "-fno-plt" else way
    for target, source, kind in (
        (made.caller, CALLER, way),
        (made.callee, CALLEE, plain),
    ):
        target.with_suffix(".c").write_text(source)
        words = [*options, kind, "-o", str(target), str(target.with_suffix(".c"))]
        said(made.tool("gcc"), *words)
    return made


@pytest.mark.parametrize(
    ("function", "leads"),
    [
        ("calls_target", True),
        ("calls_wrapper", True),
        ("calls_other", False),
        ("calls_pointer", False),
        ("calls_own", False),
    ],
)
def test_calls_to_another_file(
    built: Built,
    function: str,
    leads: bool,  # noqa: FBT001
) -> None:
    caller, callee = (
        Elf(os.open(one, os.O_RDONLY)) for one in (built.caller, built.callee)
    )
    symbol = callee.symbol("target")
    assert symbol is not None
    inside = symbol[0] + symbol[1] - 1

    found = built.leads_to(caller, built.behind_call(function), callee, inside)

    assert found is leads
    caller.close()
    callee.close()


def test_calls_in_one_file(built: Built) -> None:
    file = Elf(os.open(built.caller, os.O_RDONLY))
    behind = built.behind_call("calls_own")
    names = said(built.tool("nm"), str(built.caller))
    (own,) = re.findall(r"^(\w+) t own$", names, re.MULTILINE)
    place = int(own, 16)

    assert built.leads_to(file, behind, file, place + 4)
    assert not built.leads_to(file, behind, file, place - 1)
    assert not built.leads_to(file, behind + 1, file, place + 4)
    file.close()
