"""The packages that rpm itself wrote into its database."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from egressmon.attribution.packages.rpm import owner_in
from egressmon.evidence.records.code import PackageRecord

SPEC = """
Name: demo-tool
Version: 2.1
Release: 3
Summary: A package to be found
License: MIT
BuildArch: noarch
%description
It has two files.
%install
mkdir -p %{buildroot}/usr/lib64 %{buildroot}/usr/bin
touch %{buildroot}/usr/lib64/libdemo.so.1 %{buildroot}/usr/bin/demo
%files
/usr/lib64/libdemo.so.1
/usr/bin/demo
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("rpm")
    spec, where = folder / "demo.spec", folder / "db"
    spec.write_text(SPEC)
    build = ["rpmbuild", "-bb", "--define", f"_topdir {folder}/top", str(spec)]
    subprocess.run(build, check=True, capture_output=True)
    (package,) = folder.glob("top/RPMS/*/*.rpm")
    rpm = ["rpm", "--dbpath", str(where)]
    subprocess.run([*rpm, "--initdb"], check=True)
    install = [*rpm, "-i", "--justdb", "--nodeps", "--force-debian", str(package)]
    subprocess.run(install, check=True)
    return str(where / "rpmdb.sqlite")


@pytest.mark.parametrize("path", [b"/usr/lib64/libdemo.so.1", b"/usr/bin/demo"])
def test_a_file_of_a_package(database: str, path: bytes) -> None:
    found = owner_in(database, (path,))

    assert found == PackageRecord("rpm", "demo-tool", "2.1-3")


@pytest.mark.parametrize("path", [b"/usr/bin/other", b"/opt/demo", b"demo", b"/"])
def test_a_file_of_none(database: str, path: bytes) -> None:
    assert owner_in(database, (path,)) is None


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0" + bytes(4096), b"x" * 99]
)
def test_a_damaged_database_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rpmdb.sqlite").write_bytes(content)

    assert owner_in(str(tmp_path / "rpmdb.sqlite"), (b"/usr/bin/demo",)) is None


# As the agent does: to read what SQLite has a journal for, it would write beside it.
@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be somebody else")
def test_a_database_is_read_without_the_right_to_write(database: str) -> None:
    code = (
        "import os, sys; os.setresuid(65534, 65534, 65534)\n"
        "from egressmon.attribution.packages.rpm import owner_in\n"
        "print(owner_in(sys.argv[1], (b'/usr/bin/demo',)))\n"
    )
    with tempfile.TemporaryDirectory(prefix="egressmon-rpm-") as folder:
        copy = Path(folder, "rpmdb.sqlite")
        shutil.copy(database, copy)
        with sqlite3.connect(copy) as connection:
            connection.execute("PRAGMA journal_mode = wal")
        connection.close()
        Path(folder).chmod(0o755)

        done = subprocess.run(
            [sys.executable, "-c", code, str(copy)],
            check=True,
            capture_output=True,
            text=True,
        )

    assert "demo-tool" in done.stdout


def test_a_header_that_is_cut_says_nothing(database: str, tmp_path: Path) -> None:
    copy = tmp_path / "rpmdb.sqlite"
    with sqlite3.connect(database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
        (header,) = target.execute("SELECT blob FROM Packages").fetchone()
        for size in (0, 4, 8, 100, len(header) // 2):
            target.execute("UPDATE Packages SET blob = ?", (header[:size],))
            target.commit()

            assert owner_in(str(copy), (b"/usr/bin/demo",)) is None
