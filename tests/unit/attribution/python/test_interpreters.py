"""Builds of CPython, read from files: sound, of no use, and hostile."""

import struct
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressmon.attribution.python import builds, offsets
from egressmon.attribution.python.builds import contexts_of, read_interpreter
from egressmon.attribution.python.interpreters import Interpreters
from egressmon.attribution.python.offsets.versions import (
    DEBUG_OFFSETS,
    TABLES,
    read_debug_offsets,
)
from egressmon.files.elf import ElfError
from egressmon.probes.kernel.sideband import Executed, Mapped
from egressmon.probes.wire import STRUCTS
from support.files import elf_of

PYTHON = str(Path(sys.executable).resolve())


class Probes:
    """Counts what it is told, as the probes' maps would take it."""

    def __init__(self, room: int = 64) -> None:
        self.builds: list[bytes] = []
        self.looks = 0
        self._room = room

    def add(self, interpreter: bytes) -> bool:
        if len(self.builds) >= self._room:
            return False
        self.builds.append(interpreter)
        return True

    def look_again(self) -> None:
        self.looks += 1


def test_this_interpreter_is_known_with_its_library() -> None:
    probes = Probes()

    found = Interpreters(probes).consider(PYTHON)

    assert found is not None
    assert found.contexts is not None
    assert all(found.contexts)
    (build,) = probes.builds
    known = STRUCTS["interpreter"].from_buffer_copy(build)
    assert known.minor == sys.version_info.minor
    assert known.environ_kind
    # What the type says of a code object's size is where its bytes begin.
    assert known.code_size in {known.code_bytes, 176}


def test_a_version_that_is_not_known_is_of_no_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builds, "TABLES", {})

    def untold(_data: bytes) -> None:
        return None

    monkeypatch.setattr(builds, "read_debug_offsets", untold)
    probes = Probes()
    known = Interpreters(probes)

    found = known.consider(PYTHON)

    assert found is not None
    assert found.contexts is None
    assert probes.builds == []
    assert found.unusable == f"CPython 3.{sys.version_info.minor} is not known"


def test_a_file_is_read_once_and_a_build_told_once(tmp_path: Path) -> None:
    probes = Probes()
    interpreters = Interpreters(probes)
    library = interpreters.consider(PYTHON)
    assert library is not None
    copy = tmp_path / "copy"
    copy.write_bytes(Path(library.path).read_bytes())

    assert interpreters.consider(str(copy)) is not None
    assert interpreters.consider(PYTHON) == library
    assert len(probes.builds) == 1


@pytest.mark.parametrize("path", ["/bin/true", "/etc/passwd", "/dev/null", "/none"])
def test_what_is_no_interpreter(path: str) -> None:
    probes = Probes()

    assert Interpreters(probes).consider(path) is None
    assert probes.builds == []


def test_too_many_are_said_to_be(tmp_path: Path) -> None:
    interpreters = Interpreters(Probes(room=0))

    for path in (PYTHON, str(copied(tmp_path / "copy"))):  # of the same build
        found = interpreters.consider(path)
        assert found is not None
        assert found.unusable == "too many interpreters are known already"


def test_a_damaged_interpreter_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_data: bytes) -> None:
        raise ValueError

    monkeypatch.setattr(builds, "read_debug_offsets", cut)

    found = Interpreters(Probes()).consider(PYTHON)

    assert found is not None
    assert found.unusable == "the interpreter's file is damaged"


def test_a_command_is_prepared_for(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text(f"#!{sys.executable}\n")
    script.chmod(0o755)
    probes = Probes()

    found = Interpreters(probes).prepare([b"tool"], str(tmp_path).encode())

    assert found is not None
    assert probes.builds


def test_another_program_is_not_the_interpreter_before_it() -> None:
    assert Interpreters(Probes()).prepare([b"true"], b"/bin:/usr/bin") is None


def mapped(pid: int, path: str) -> Mapped:
    return Mapped(1, pid, 0, 4096, 0, path.encode(), 1, 1)


def copied(file: Path) -> Path:
    """Copy this interpreter, or its library, to file."""
    found = Interpreters(Probes()).consider(PYTHON)
    assert found is not None
    file.write_bytes(Path(found.path).read_bytes())
    return file


def test_what_is_executed_is_looked_at_whatever_its_name(tmp_path: Path) -> None:
    copy = str(copied(tmp_path / "surprise"))
    probes = Probes()
    interpreters = Interpreters(probes)

    assert interpreters.on_side_record(mapped(1, copy)) is None
    assert probes.builds == []
    interpreters.on_side_record(Executed(1, 1))
    found = interpreters.on_side_record(mapped(1, copy))
    assert len(probes.builds) == 1
    assert found is not None
    assert found.path.endswith(copy)


def test_a_library_that_is_loaded_later_is_looked_for_again(tmp_path: Path) -> None:
    copy = str(copied(tmp_path / "libpython3.99.so.1.0"))
    probes = Probes()
    interpreters = Interpreters(probes)

    for _ in range(2):
        interpreters.on_side_record(mapped(1, copy))

    assert probes.looks == 2


def test_debug_offsets_of_a_later_version_are_not_guessed() -> None:
    data = b"xdebugpy" + struct.pack("<QQ", 0x03630000, 0) + bytes(900)

    assert read_debug_offsets(data) == (0x63, {})
    assert read_debug_offsets(bytes(1024)) is None
    with pytest.raises(ValueError, match="cut short"):
        read_debug_offsets(b"xdebugpy" + struct.pack("<QQ", 0x030D0000, 0))


def test_every_file_of_offsets_is_chosen_by_its_version() -> None:
    folder = Path(offsets.__file__).parent
    files = {path.stem for path in folder.glob("cpython_3_*.py")}

    assert files == {f"cpython_3_{minor}" for minor in (*TABLES, *DEBUG_OFFSETS)}


@pytest.mark.parametrize("minor", sorted(DEBUG_OFFSETS))
@pytest.mark.parametrize("free_threaded", [0, 1])
def test_debug_offsets_have_all_that_the_probes_read(
    minor: int, free_threaded: int
) -> None:
    head = struct.pack("<QQ", 0x03000000 | minor << 16, free_threaded)
    data = b"xdebugpy" + head + struct.pack("<120Q", *range(120))

    found = read_debug_offsets(data)

    assert found is not None
    fields = {field[0] for field in STRUCTS["interpreter"]._fields_}
    assert set(found[1]) <= fields
    needed = set(TABLES[12]) - {"frame_indirect", "runtime_key"}
    assert needed <= set(found[1])


@cache
def library() -> bytes:
    found = Interpreters(Probes()).consider(PYTHON)
    assert found is not None
    return Path(found.path).read_bytes()


def places(content: bytes) -> tuple[int, ...] | None:
    elf = elf_of(content)
    try:
        build = read_interpreter(elf)
        assert isinstance(build, bytes)
        return contexts_of(elf, build)
    finally:
        elf.close()


def test_probes_pass_by_the_mark_of_where_calls_may_lead() -> None:
    changed = bytearray(library())
    found = places(bytes(changed))
    assert found is not None
    copies, made, copied = found
    assert len({copies, made, copied}) == 3
    endbr64 = b"\xf3\x0f\x1e\xfa"
    unmarked = [changed[place : place + 4] != endbr64 for place in found]
    changed[copies : copies + 4] = endbr64

    marked = places(bytes(changed))

    assert marked == (copies + 4 * unmarked[0], made, copied)


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_interpreter_is_an_error_or_an_answer(data: st.DataObject) -> None:
    changed = bytearray(library())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, 8191))
        changed[place] = data.draw(st.integers(0, 255))
    try:
        elf = elf_of(bytes(changed))
    except ElfError:
        return
    try:
        read_interpreter(elf)
    except (ElfError, ArithmeticError, ValueError, struct.error):
        pass
    finally:
        elf.close()
