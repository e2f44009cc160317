"""Which calls lead to a function, in files as compilers and linkers write them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from egressmon.attribution.native.unwinding.processors.x86_64 import leads_to
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
CALL = re.compile(r"^\s*[0-9a-f]+:\s+call.*\n\s*([0-9a-f]+):", re.MULTILINE)


def said(*words: str) -> str:
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module", params=["-fplt", "-fno-plt", "-fcf-protection=none"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A library that calls, and one that is called."""
    folder = tmp_path_factory.mktemp("built")
    options = ["-O2", "-shared", "-fPIC", "-Wl,-Bsymbolic", request.param]
    for name, source in (("caller", CALLER), ("callee", CALLEE)):
        (folder / f"{name}.c").write_text(source)
        target = str(folder / f"{name}.so")
        said("gcc", *options, "-o", target, str(folder / f"{name}.c"))
    return folder / "caller.so", folder / "callee.so"


def behind_call(path: Path, function: str) -> int:
    """Return the address behind the call that a function makes."""
    words = ["objdump", "-d", "--no-show-raw-insn", f"--disassemble={function}"]
    (address,) = CALL.findall(said(*words, str(path)))
    return int(address, 16)


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
    built: tuple[Path, Path],
    function: str,
    leads: bool,  # noqa: FBT001
) -> None:
    caller, callee = (Elf(os.open(one, os.O_RDONLY)) for one in built)
    symbol = callee.symbol("target")
    assert symbol is not None
    inside = symbol[0] + symbol[1] - 1

    found = leads_to(caller, behind_call(built[0], function), callee, inside)

    assert found is leads
    caller.close()
    callee.close()


def test_calls_in_one_file(built: tuple[Path, Path]) -> None:
    file = Elf(os.open(built[0], os.O_RDONLY))
    behind = behind_call(built[0], "calls_own")
    (own,) = re.findall(r"^(\w+) t own$", said("nm", str(built[0])), re.MULTILINE)
    place = int(own, 16)

    assert leads_to(file, behind, file, place + 4)
    assert not leads_to(file, behind, file, place - 1)
    assert not leads_to(file, behind + 1, file, place + 4)
    file.close()
