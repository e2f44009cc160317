"""What is kept of the kernel's types makes the same probes as the kernel's own."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from egressmon.probes.engine import Engine
from egressmon.probes.hooks import HOOKS
from egressmon.probes.loaders import kernel_types, loading
from egressmon.probes.loaders.kernel_types import KernelTypes
from egressmon.startup import stored_types
from support.watching import watch

NOBODY = 65534


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Return a folder of root's own, which is not there yet, to keep types in."""
    path = Path(f"/var/cache/egressmon-test-{os.getpid()}")
    monkeypatch.setattr(stored_types, "FOLDER", str(path))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def loaded(*, frames: bool = True) -> Engine:
    return loading.load("libbpf", frames=frames, stored=stored_types.stored)


def keep(change: dict[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """Keep what the kernel's own types make; return the key, and the programs' tags."""
    engine = loaded()
    found = kernel_types.tags(*engine.parts)
    data, key = loading.to_store(engine), engine.types_key
    engine.close()
    assert data is not None
    assert key is not None
    types = kernel_types.unpacked(data)
    assert types is not None
    if change is not None:
        data = kernel_types.packed(KernelTypes(types.btf, types.tags | change))
    stored_types.store(key, data)
    return key, found


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("frames", [True, False])
def test_the_probes_are_the_same_instruction_by_instruction(frames: bool) -> None:  # noqa: FBT001 -- a parameter
    _, tags = keep()

    engine = loaded(frames=frames)
    found = kernel_types.tags(*engine.parts)
    engine.close()

    assert engine.types_key is None  # the excerpt was used
    assert found.items() <= tags.items()
    assert {hook.program for hook in HOOKS} <= set(found)
    assert ("frames_connect4" in found) == frames


@pytest.mark.usefixtures("folder")
def test_where_one_program_differs_the_kernels_own_types_are_read() -> None:
    key, tags = keep({"scope_connect4": "0" * 16})

    engine = loaded()
    found = kernel_types.tags(*engine.parts)
    engine.close()

    assert engine.types_key == key
    assert found == tags


@pytest.mark.usefixtures("folder")
def test_what_differed_is_not_tried_in_each_run() -> None:
    key, _ = keep({"scope_connect4": "0" * 16})
    engine = loaded()
    data = loading.to_store(engine)
    engine.close()
    assert data is not None

    stored_types.store(key, data)
    engine = loaded()
    engine.close()

    assert engine.types_key is None
    assert not engine.has_differed


@pytest.mark.usefixtures("folder")
def test_a_run_with_frames_keeps_more_than_one_without() -> None:
    engine = loaded(frames=False)
    data, key = loading.to_store(engine), engine.types_key
    engine.close()
    assert data is not None
    assert key is not None
    stored_types.store(key, data)
    for frames, kept in ((False, None), (True, key)):
        engine = loaded(frames=frames)
        engine.close()
        assert engine.types_key == kept
        assert not engine.has_differed


def test_what_others_could_have_changed_is_not_read(folder: Path) -> None:
    key, _ = keep()
    file = folder / f"{key}.types"
    data = file.read_bytes()
    assert stored_types.stored(key) == data

    for changed in (file, folder):
        os.chown(changed, NOBODY, NOBODY)
        assert stored_types.stored(key) is None
        os.chown(changed, 0, 0)
        mode = changed.stat().st_mode
        changed.chmod(mode | 0o002)
        assert stored_types.stored(key) is None
        changed.chmod(mode)
    file.rename(folder / "elsewhere")
    file.symlink_to("elsewhere")
    assert stored_types.stored(key) is None


def test_nothing_is_kept_where_others_can_write(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        stored_types.store("key", b"data")
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("data", [b"", b"\n", bytes(100), b"{}" * 100])
def test_a_damaged_file_is_as_if_it_were_not_there(data: bytes) -> None:
    key, tags = keep()
    stored_types.store(key, data)

    engine = loaded()
    found = kernel_types.tags(*engine.parts)
    engine.close()

    assert engine.types_key == key
    assert found == tags


def test_a_run_keeps_what_the_next_one_takes(tmp_path: Path) -> None:
    assert watch(tmp_path, "true", options=["--engine", "libbpf"]).status == 0

    engine = loaded()
    engine.close()

    assert engine.types_key is None
