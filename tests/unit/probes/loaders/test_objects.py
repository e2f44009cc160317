"""The compiled probes are those of the running machine, or their lack is explained."""

import platform
from pathlib import Path

import pytest

from egressmon.probes.errors import ProbeError
from egressmon.probes.loaders.libbpf import load_object


def test_probes_of_another_machine_are_named(tmp_path: Path) -> None:
    (tmp_path / "riscv64").mkdir()
    (tmp_path / "riscv64/egressmon.bpf.o").touch()

    with pytest.raises(ProbeError, match="there are only those of riscv64") as caught:
        load_object(tmp_path / "x86_64")

    assert "a wheel for x86_64" in caught.value.hint


def test_a_checkout_without_probes_says_how_to_compile_them(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="there are none") as caught:
        load_object(tmp_path / platform.machine())

    assert "apt install clang llvm libbpf-dev" in caught.value.hint
