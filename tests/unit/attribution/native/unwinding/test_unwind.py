"""Stacks: garbage ends with a reason, and so does what could not be read."""

import ctypes
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressmon.attribution.native.memory.proc_maps import parse_maps
from egressmon.attribution.native.unwinding.images import Image, Images, Missing
from egressmon.attribution.native.unwinding.unwind import Unwinder
from egressmon.probes.architecture import ARCHITECTURES, Architecture
from egressmon.probes.wire import CONSTANTS

MACHINE = ARCHITECTURES["x86_64"]
WORDS = CONSTANTS["REGISTERS"]


def mapped() -> tuple[list[int], bytes]:
    text = Path("/proc/self/maps").read_bytes()
    return [one.start for one in parse_maps(text)], text


# On the other machine the files are not its code: what is left is guessed.
@pytest.mark.parametrize("machine", ARCHITECTURES.values(), ids=ARCHITECTURES)
@settings(max_examples=200)
@given(
    st.integers(0, 1 << 32), st.integers(0, 9000), st.floats(0, 1), st.integers(0, 7)
)
def test_garbage_ends_with_a_reason(
    machine: Architecture, seed: int, size: int, chance: float, missing: int
) -> None:
    starts, text = mapped()
    numbers = random.Random(seed)  # noqa: S311 -- to be repeated
    stack = bytearray(numbers.randbytes(size))
    for place in range(0, size - 8, 8):
        if numbers.random() < chance:  # a word that leads into code
            word = numbers.choice(starts) + numbers.randrange(1 << 20)
            stack[place : place + 8] = word.to_bytes(8, "little")
    words = [numbers.getrandbits(64) for _ in range(WORDS)]
    words[machine.program_counter] = numbers.choice(starts) + numbers.randrange(1 << 16)
    images = Images(machine)

    found = Unwinder(machine, images).unwind(
        parse_maps(text), os.getpid(), tuple(words), bytes(stack), missing
    )

    assert 1 <= len(found.frames) <= 256
    images.close()


# A recording may be read on another machine than the one where stacks were copied.
def test_the_stacks_machine_decides_which_files_are_its_code() -> None:
    program = parse_maps(Path("/proc/self/maps").read_bytes()).program
    assert program is not None
    here = os.uname().machine

    for name, machine in ARCHITECTURES.items():
        images = Images(machine)
        found = images.of(program, os.getpid())
        images.close()
        if name == here:
            assert isinstance(found, Image)
        else:
            assert found == Missing("the file is damaged (of another architecture)")


def test_a_page_that_was_not_read_is_not_taken_for_zeros() -> None:
    libc = ctypes.CDLL(None)
    first, caller = (
        ctypes.cast(one, ctypes.c_void_p).value or 0 for one in (libc.connect, libc.abs)
    )
    words = [0] * WORDS
    words[MACHINE.program_counter] = first
    # The top of the stack is the last word of a page.
    words[MACHINE.registers[MACHINE.stack_pointer]] = 0x7000_0FF8
    stack = (caller + 1).to_bytes(8, "little") + bytes(4096)
    space, images = parse_maps(Path("/proc/self/maps").read_bytes()), Images(MACHINE)
    unwinder = Unwinder(MACHINE, images)

    def unwind(missing: int) -> tuple[list[int], str | None]:
        found = unwinder.unwind(space, os.getpid(), tuple(words), stack, missing)
        return [frame.address for frame in found.frames], found.stopped

    # The return address of the second call is a zero, on the next page.
    assert unwind(0b00) == ([first, caller + 1], None)
    reason = "a page of the stack that was not in memory"
    assert unwind(0b10) == ([first, caller + 1], reason)
    assert unwind(0b01) == ([first], reason)
    images.close()
