"""The tables in hooks.py and architecture.py agree with the probes' sources."""

import re
from pathlib import Path

import pytest

from egressmon.probes.architecture import ARCHITECTURES
from egressmon.probes.hooks import (
    CALL,
    COPIED,
    FOUND,
    FOUND_CGROUPS,
    FRAMES,
    FRAMES_MAPS,
    FRAMES_ROOT,
    HOOKS,
    LEVEL,
    MADE,
    MAPS,
    Hook,
)

PROBES = Path(__file__).parents[3] / "probes/egressmon/probes/programs"


@pytest.mark.parametrize(
    ("source", "hooks"),
    [
        ("egressmon.bpf.c", (*HOOKS, *FOUND, *FOUND_CGROUPS)),
        ("python/frames.bpf.c", (*FRAMES, *FRAMES_ROOT, COPIED, MADE)),
    ],
)
def test_every_program_of_the_source_is_a_hook_of_its_kind(
    source: str, hooks: tuple[Hook, ...]
) -> None:
    found = {
        name: section
        for section, name in re.findall(
            r'SEC\("(\S+?)"\)\nint (\w+)\(', (PROBES / source).read_text()
        )
    }

    assert set(found) == {hook.program for hook in hooks}
    for hook in hooks:
        if hook.tracepoint is not None:
            kind = "tp_btf" if hook is CALL else "raw_tp"
            assert found[hook.program] == f"{kind}/{hook.tracepoint}"
        elif hook in {COPIED, MADE}:
            assert found[hook.program] == "uretprobe"
        else:
            kind = hook.program.removeprefix(f"{hook.place}_")
            kind = "sock_create" if hook is LEVEL else kind
            assert found[hook.program].partition("/")[2] == kind


def included(source: str) -> set[str]:
    """Return the names of `source` and of all our headers that it includes."""
    names = {source}
    for name in re.findall(
        r'^#include "(\S+)"', (PROBES / source).read_text(), re.MULTILINE
    ):
        folder = "" if (PROBES / name).exists() else "python/"
        names |= included(folder + name)
    return names


@pytest.mark.parametrize(
    ("source", "maps"),
    [("egressmon.bpf.c", set(MAPS)), ("python/frames.bpf.c", {*MAPS, *FRAMES_MAPS})],
)
def test_every_map_of_the_source_is_known(source: str, maps: set[str]) -> None:
    names = included(source) - {"portable.bpf.h"}
    text = "".join((PROBES / name).read_text() for name in names)
    defined = set(re.findall(r"^DEFINE_\w+\((\w+),", text, re.MULTILINE))

    # The maps that frames.bpf.c shares are those of egressmon.bpf.c.
    assert defined <= maps
    assert defined >= (set(FRAMES_MAPS) if source == "python/frames.bpf.c" else maps)


# BCC compiles the source as it is: kernel-internal headers would tie it to one kernel.
@pytest.mark.parametrize(
    "path", sorted(PROBES.rglob("*.[ch]")), ids=lambda one: one.name
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


# All that differs between architectures is in architecture.py and architecture.bpf.h.
def test_no_other_source_names_an_architecture() -> None:
    names = [*ARCHITECTURES, "TARGET_ARCH", "linux-gnu"]
    for path in (*PROBES.parent.rglob("*.py"), *PROBES.rglob("*.[ch]")):
        if path.name not in {"architecture.py", "architecture.bpf.h", "compile.py"}:
            for name in names:
                assert name not in path.read_text(), path.name
