"""The sources of the probes, and what Python says of them."""

import re
from pathlib import Path

import pytest

from egressmon.probes.architecture import ARCHITECTURES
from egressmon.probes.hooks import HOOKS, MAPS

PROBES = Path(__file__).parents[2] / "probes/egressmon/probes"


def test_every_program_of_the_source_is_a_hook_of_its_kind() -> None:
    text = (PROBES / "egressmon.bpf.c").read_text()
    found = {
        name: section
        for section, name in re.findall(r'SEC\("(\S+?)"\)\nint (\w+)\(', text)
    }

    assert set(found) == {hook.program for hook in HOOKS}
    for hook in HOOKS:
        if hook.tracepoint is not None:
            assert found[hook.program] == f"raw_tp/{hook.tracepoint}"
        else:
            kind = hook.program.removeprefix(f"{hook.place}_")
            assert found[hook.program].partition("/")[2] == kind


def test_every_map_of_the_source_is_known() -> None:
    text = "".join(path.read_text() for path in PROBES.glob("*.h"))
    text = text[: text.index("#define DEFINE_MAP")] + text.split("#define READ")[1]
    defined = re.findall(r"^DEFINE_\w+\((\w+),", text, re.MULTILINE)

    assert sorted(defined) == sorted(MAPS)


# BCC takes the text of the entry points as it is; whatever includes a header of the
# kernel's inside would tie it to that kernel's BCC.
@pytest.mark.parametrize(
    "path", sorted(PROBES.glob("*.[ch]")), ids=lambda one: one.name
)
def test_the_probes_include_the_stable_interface_alone(path: Path) -> None:
    allowed = {
        "<uapi/linux/bpf.h>",
        "<linux/bpf.h>",
        "<linux/types.h>",
        "<stdbool.h>",
        "<bpf/bpf_core_read.h>",
        "<bpf/bpf_endian.h>",
        "<bpf/bpf_helpers.h>",
    }

    for included in re.findall(r"^#include (\S+)", path.read_text(), re.MULTILINE):
        assert included in allowed or included.startswith('"')


# What is per architecture is in architecture.py and architecture.h alone.
def test_no_other_source_names_an_architecture() -> None:
    names = [*ARCHITECTURES, "TARGET_ARCH", "linux-gnu"]
    for path in (*PROBES.glob("*.py"), *PROBES.glob("*.[ch]")):
        if path.name not in {"architecture.py", "architecture.h", "compile.py"}:
            for name in names:
                assert name not in path.read_text(), path.name
