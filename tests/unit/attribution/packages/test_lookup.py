"""Which package a file belongs to, by accounts sound and damaged."""

import json
import os
from pathlib import Path

import pytest

from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.evidence.records.code import PackageRecord
from egressmon.files.bounded import open_regular


def site(root: Path, name: str, record: str, metadata: str = "") -> Path:
    folder = root / "venv/lib/python3.11/site-packages"
    info = folder / f"{name}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "RECORD").write_text(record)
    (info / "METADATA").write_text(metadata)
    return folder


def owner(path: Path | str, root: Path | str = "") -> PackageRecord | None:
    return Packages().of(Place(str(path), str(root)))


def test_a_wheel_owns_its_modules_and_its_libraries(tmp_path: Path) -> None:
    folder = site(
        tmp_path,
        "demo_pkg-1.2.dist-info".removesuffix(".dist-info"),
        "demo/_core.cpython-311.so,sha256=x,1\ndemo_pkg.libs/libcurl-1.so.4,,\n",
        "Metadata-Version: 2.1\nName: Demo-Pkg\nVersion: 1.2\n\nName: not this\n",
    )

    expected = PackageRecord("python", "Demo-Pkg", "1.2")
    assert owner(folder / "demo/_core.cpython-311.so") == expected
    assert owner(folder / "demo_pkg.libs/libcurl-1.so.4") == expected
    assert owner(folder / "demo/other.so") is None


def test_names_with_commas_quotes_and_no_metadata(tmp_path: Path) -> None:
    folder = site(tmp_path, "odd-3", '"a, b/""c"".so",,\n./x/../y.so,,\n,\n')

    assert owner(folder / 'a, b/"c".so') == PackageRecord("python", "odd", "3")
    assert owner(folder / "y.so") == PackageRecord("python", "odd", "3")


@pytest.mark.parametrize(
    "record", ['"unclosed.so\n', "x.so\0,,\n", "\xff\n", "a.so" * 50_000, '"' * 200_000]
)
def test_a_damaged_record_says_nothing(tmp_path: Path, record: str) -> None:
    folder = site(tmp_path, "bad-1", record)

    assert owner(folder / "mine.so") is None


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    folder = site(tmp_path, "trap-1", "")
    (folder / "trap-1.dist-info/RECORD").unlink()
    os.mkfifo(folder / "trap-1.dist-info/RECORD")
    (folder / "trap-1.dist-info/METADATA").unlink()
    (folder / "trap-1.dist-info/METADATA").symlink_to("/dev/zero")

    assert owner(folder / "mine.so") is None
    with pytest.raises(OSError, match="not a regular file"):
        open_regular("/dev/null")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(str(folder))


def test_a_folder_is_read_again_when_it_changes(tmp_path: Path) -> None:
    folder = site(tmp_path, "one-1", "one.so,,\n")
    packages = Packages()
    assert packages.of(Place(str(folder / "two.so"))) is None

    site(tmp_path, "two-2", "two.so,,\n")

    fresh = Packages()
    assert fresh.of(Place(str(folder / "two.so"))) == PackageRecord(
        "python", "two", "2"
    )


def test_the_nearest_named_package_json_owns_an_addon(tmp_path: Path) -> None:
    inner = tmp_path / "node_modules/zeromq/build/Release"
    inner.mkdir(parents=True)
    (tmp_path / "node_modules/zeromq/build/package.json").write_text('{"type": "x"}')
    (tmp_path / "node_modules/zeromq/package.json").write_text(
        json.dumps({"name": "zeromq", "version": "6.0.0"})
    )

    found = owner(inner / "zeromq.node")

    assert found == PackageRecord("npm", "zeromq", "6.0.0")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 1}', "[" * 100_000])
def test_a_damaged_package_json_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "package.json").write_text(text)

    assert owner(tmp_path / "x.node") is None


def dpkg(root: Path) -> None:
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "libc6:amd64.list").write_text("/.\n/lib\n/lib/libc.so.6\n")
    (info / "other.list").write_text("/usr/bin/other\n")
    (root / "var/lib/dpkg/status").write_text(
        "Package: other\nStatus: install ok installed\nVersion: 1.0-1\n\n"
        "Package: libc6\nArchitecture: amd64\nVersion: 2.36-9\n\n"
    )


def test_debians_account_with_either_spelling_of_usr(tmp_path: Path) -> None:
    dpkg(tmp_path)

    libc = PackageRecord("debian", "libc6", "2.36-9")
    assert owner("/usr/lib/libc.so.6", tmp_path) == libc
    assert owner("/lib/libc.so.6", tmp_path) == libc
    assert owner("/usr/bin/other", tmp_path) == PackageRecord(
        "debian", "other", "1.0-1"
    )
    assert owner("/usr/bin/oth", tmp_path) is None


def test_alpines_account(tmp_path: Path) -> None:
    (tmp_path / "lib/apk/db").mkdir(parents=True)
    (tmp_path / "lib/apk/db/installed").write_text(
        "P:musl\nV:1.2.5-r0\nF:lib\nR:ld-musl-x86_64.so.1\n\n"
        "P:curl\nV:8.9-r1\nF:usr/bin\nR:curl\n\n"
    )

    assert owner("/usr/bin/curl", tmp_path) == PackageRecord("apk", "curl", "8.9-r1")


def test_a_real_file_of_this_system() -> None:
    found = owner(Path("/bin/true").resolve())

    assert found is None or found.name == "coreutils"


def test_an_interpreter_built_from_source(tmp_path: Path) -> None:
    path = tmp_path / "opt/lib/python3.12/lib-dynload/_socket.cpython-312-x.so"

    assert owner(path) == PackageRecord("cpython", "cpython", "3.12")


def test_an_editable_install(tmp_path: Path) -> None:
    folder = site(tmp_path, "mine-0.1", "mine.pth,,\n")
    project = tmp_path / "work/my project"
    project.mkdir(parents=True)
    (folder / "mine-0.1.dist-info/direct_url.json").write_text(
        json.dumps(
            {
                "url": f"file://{tmp_path}/work/my%20project",
                "dir_info": {"editable": True},
            }
        )
    )
    packages = Packages()
    packages.know_interpreter(str(tmp_path / "venv/bin/python3.11"))

    found = packages.of(Place(str(project / "src/mine/_core.so")))

    assert found == PackageRecord("python", "mine", "0.1")
