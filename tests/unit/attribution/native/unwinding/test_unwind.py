"""Stacks: garbage ends with a reason."""

import os
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from egressmon.attribution.native.memory.proc_maps import parse_maps
from egressmon.attribution.native.unwinding.images import Image, Images, Missing
from egressmon.attribution.native.unwinding.unwind import Unwinder
from egressmon.probes.architecture import ARCHITECTURES
from egressmon.probes.wire import CONSTANTS

MACHINE = ARCHITECTURES["x86_64"]
WORDS = CONSTANTS["REGISTERS"]


def mapped() -> tuple[list[int], bytes]:
    text = Path("/proc/self/maps").read_bytes()
    return [one.start for one in parse_maps(text)], text


@settings(max_examples=200)
@given(st.integers(0, 1 << 32), st.integers(0, 4096), st.floats(0, 1))
def test_garbage_ends_with_a_reason(seed: int, size: int, chance: float) -> None:
    starts, text = mapped()
    numbers = random.Random(seed)  # noqa: S311 -- to be repeated
    stack = bytearray(numbers.randbytes(size))
    for place in range(0, size - 8, 8):
        if numbers.random() < chance:  # a word that leads into code
            word = numbers.choice(starts) + numbers.randrange(1 << 20)
            stack[place : place + 8] = word.to_bytes(8, "little")
    words = [numbers.getrandbits(64) for _ in range(WORDS)]
    words[MACHINE.program_counter] = numbers.choice(starts) + numbers.randrange(1 << 16)
    images = Images(MACHINE)

    found = Unwinder(MACHINE, images).unwind(
        parse_maps(text), os.getpid(), tuple(words), bytes(stack)
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
