"""Stacks: garbage ends with a reason, and what a call looks like is known."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressmon.attribution.call_instructions import ends_in_call
from egressmon.attribution.images import Images
from egressmon.attribution.mappings import parse_maps
from egressmon.attribution.unwind import Unwinder
from egressmon.probes.architecture import ARCHITECTURES
from egressmon.probes.wire import CONSTANTS

MACHINE = ARCHITECTURES["x86_64"]
WORDS = CONSTANTS["REGISTERS"]


@pytest.mark.parametrize(
    "code",
    [
        "90 90 e8 01 02 03 04",  # call rel32
        "90 90 90 90 90 ff d0",  # call rax
        "90 90 90 90 41 ff d3",  # call r11
        "90 90 90 90 ff 50 10",  # call [rax + 16]
        "90 90 90 ff 54 24 08",  # call [rsp + 8]
        "90 ff 15 01 02 03 04",  # call [rip + x]
        "90 ff 90 01 02 03 04",  # call [rax + x]
        "ff 94 24 01 02 03 04",  # call [rsp + x]
        "90 90 90 90 ff 14 c8",  # call [rax + rcx * 8]
    ],
)
def test_every_form_of_call_is_known(code: str) -> None:
    assert ends_in_call(bytes.fromhex(code))


@pytest.mark.parametrize(
    "code",
    [
        "90 90 90 90 90 90 90",
        "90 90 e9 01 02 03 04",  # jmp
        "90 90 90 90 90 ff e0",  # jmp rax
        "90 90 90 90 ff d0 90",  # something behind the call
        "ff d0",
    ],
)
def test_nothing_else_is_a_call(code: str) -> None:
    assert not ends_in_call(bytes.fromhex(code))


def mapped() -> tuple[list[int], bytes]:
    text = Path("/proc/self/maps").read_bytes()
    return [one.start for one in parse_maps(text)], text


@settings(max_examples=200, deadline=None)
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
    images = Images()

    found = Unwinder(MACHINE, images).unwind(
        parse_maps(text), os.getpid(), tuple(words), bytes(stack)
    )

    assert 1 <= len(found.frames) <= 256
    images.close()
