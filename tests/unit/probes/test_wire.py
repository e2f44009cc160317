"""wire.py, the C compiler and the probes agree on the layouts in event.h."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from egressmon.probes.wire import CONSTANTS, HEADER, LAYOUTS, STRUCTS, read_structs

PROBES = Path(__file__).parents[3] / "probes/egressmon/probes/programs"
TYPES = "#include <stdint.h>\n#include <stddef.h>\n#include <stdio.h>\n" + "".join(
    f"typedef uint{bits}_t u{bits};\n" for bits in (8, 16, 32, 64)
)


@pytest.mark.parametrize("name", STRUCTS)
def test_no_struct_has_padding(name: str) -> None:
    # Padding would leak bytes of kernel memory to user space.
    structure = STRUCTS[name]
    fields = sum(getattr(structure, field[0]).size for field in structure._fields_)

    assert ctypes.sizeof(structure) == fields


@pytest.mark.parametrize("name", STRUCTS)
def test_both_readers_agree_on_the_size(name: str) -> None:
    assert LAYOUTS[name].size == ctypes.sizeof(STRUCTS[name])


def test_the_compiler_agrees_on_every_offset(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler is not None
    lines = [
        f'printf("{name}.{field[0]} %zu\\n", offsetof(struct {name}, {field[0]}));'
        for name, structure in STRUCTS.items()
        for field in structure._fields_
    ]
    source = tmp_path / "offsets.c"
    source.write_text(
        f'{TYPES}#include "event.h"\nint main(void) {{ {" ".join(lines)} }}\n'
    )
    program = tmp_path / "offsets"
    subprocess.run([compiler, f"-I{PROBES}", "-o", program, source], check=True)

    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout

    ours = "".join(
        f"{name}.{field[0]} {getattr(structure, field[0]).offset}\n"
        for name, structure in STRUCTS.items()
        for field in structure._fields_
    )
    assert said == ours


def test_every_event_begins_with_time_and_kind() -> None:
    for name, structure in STRUCTS.items():
        if name.endswith("_event"):
            assert [field[0] for field in structure._fields_][:2] == [
                "ktime_ns",
                "kind",
            ]


@pytest.mark.parametrize("field", ["long x;", "u32 *x;", "u32 x : 3;", "struct y z;"])
def test_a_field_outside_of_the_grammar_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=r"event\.h: cannot read field"):
        read_structs(f"struct s {{ {field} }};")


def test_the_counters_fill_their_slots() -> None:
    # A counter behind the last slot counts nothing: the map has no element for it.
    slots = {name for name in CONSTANTS if name.startswith("COUNT_")} - {"COUNT_SLOTS"}

    assert sorted(CONSTANTS[name] for name in slots) == list(
        range(CONSTANTS["COUNT_SLOTS"])
    )


def test_the_header_names_no_struct_twice() -> None:
    assert HEADER.count("struct ") >= len(STRUCTS)
