"""Where native code is looked for, and whose it is: also in hostile folders."""

import base64
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.inspection.inspection import Result, inspect
from egressmon.inspection.targets import environment
from support.native import built

CONNECTS = "int connect(int, void *, int); int f(void *a) { return connect(1, a, 16); }"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("library") / "a.so", CONNECTS)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "venv/lib/python3.11/site-packages"
    folder.mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    return folder


# As installers write it: with the hash of what is there.
def _hashed(site: Path, row: str) -> str:
    path = site / row.removesuffix(",,")
    if not row.endswith(",,") or not path.is_file():
        return row
    digest = hashlib.sha256(path.read_bytes()).digest()
    text = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return f"{row.removesuffix(',,')},sha256={text},1"


def recorded(
    site: Path, name: str, *rows: str, version: str = "1.0", said: str | None = None
) -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    said = name if said is None else said
    text = f"Metadata-Version: 2.1\nName: {said}\nVersion: {version}\n\nName: no\n"
    (folder / "METADATA").write_text(text)
    lines = [_hashed(site, row) for row in rows]
    (folder / "RECORD").write_text("".join(f"{line}\n" for line in lines))


def put(library: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)


def found(result: Result) -> list[tuple[str, str, str | None, str]]:
    return [
        (
            one.package.manager,
            one.package.name,
            one.package.version,
            Path(one.path).name,
        )
        for one in result.findings
    ]


def reasons(result: Result) -> list[str]:
    return [one.reason for one in result.unread]


def test_the_files_of_a_distribution_are_in_its_record(
    library: Path, site: Path
) -> None:
    bin_file = site.parents[2] / "bin/tool"
    put(library, site / "one/a.so", site / "one.libs/b.so", bin_file, site / "c.so")
    recorded(site, "one", "one/a.so,,", "one.libs/b.so,,", "../../../bin/tool,,")

    result = inspect([str(site.parents[2])])

    assert found(result) == [
        ("none", "", None, "c.so"),
        ("python", "one", "1.0", "tool"),
        ("python", "one", "1.0", "b.so"),
        ("python", "one", "1.0", "a.so"),
    ]
    assert {one.package.import_names for one in result.findings[1:]} == {("one",)}
    assert result.unread == ()


def test_who_lists_a_file_of_others_owns_it_too(library: Path, site: Path) -> None:
    put(library, site / "a.so")
    recorded(site, "grpcio", "a.so,,")
    recorded(site, "evil", "a.so,,")

    assert [row[1] for row in found(inspect([str(site)]))] == ["evil", "grpcio"]


def test_a_file_that_was_changed_is_nobodys(library: Path, site: Path) -> None:
    put(library, site / "a.so", site / "b.so")
    digest = hashlib.sha256(library.read_bytes()).digest()
    right = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    recorded(site, "one", f"a.so,sha256={right},1", f"b.so,sha256={'A' * 43},1")

    nobodys, ones = inspect([str(site)]).findings

    assert (nobodys.package.manager, nobodys.note) == (
        "none",
        "the RECORD of one lists it with another hash",
    )
    assert ones.package.name == "one"


def test_a_file_without_a_hash_is_nobodys(library: Path, site: Path) -> None:
    put(library, site / "a.so")
    recorded(site, "one", "a.so,,5")

    (finding,) = inspect([str(site)]).findings

    assert (finding.package.manager, finding.note) == (
        "none",
        "the RECORD of one lists it without a hash",
    )


def test_a_record_that_leads_elsewhere_is_told_and_not_followed(
    library: Path, site: Path, tmp_path: Path
) -> None:
    put(library, tmp_path / "elsewhere/a.so")
    recorded(site, "one", "../../../../elsewhere/a.so,,", "/etc/passwd,,", "x.py,,")

    result = inspect([str(site.parents[2])])

    assert result.findings == ()
    (only,) = reasons(result)
    assert only.startswith("it lists a file outside of")


def test_links_pipes_and_circles(library: Path, site: Path, tmp_path: Path) -> None:
    put(library, tmp_path / "elsewhere/a.so", site / "own.so")
    (site / "circle").symlink_to(site)
    (site / "loop").symlink_to("loop")
    (site / "gone").symlink_to("nowhere")
    (site / "own-again.so").symlink_to("own.so")
    (site / "link.so").symlink_to(tmp_path / "elsewhere/a.so")
    os.mkfifo(site / "pipe.so")
    (site / "null").symlink_to("/dev/null")

    result = inspect([str(site)])

    assert [row[3] for row in found(result)] == ["link.so", "own.so"]
    assert result.unread == ()


def test_a_link_to_a_folder_elsewhere_is_told(
    library: Path, site: Path, tmp_path: Path
) -> None:
    put(library, tmp_path / "elsewhere/a.so")
    (site / "folder").symlink_to(tmp_path / "elsewhere")

    result = inspect([str(site)])

    assert result.findings == ()
    assert reasons(result) == [
        f"a link to a folder elsewhere: {tmp_path / 'elsewhere'}"
    ]


def test_native_code_may_have_any_name(library: Path, site: Path) -> None:
    put(library, site / "data.txt", site / "__pycache__/x.pyc")

    names = {row[3] for row in found(inspect([str(site)]))}
    assert names == {"data.txt", "x.pyc"}


def test_archives_and_what_is_gone_are_told(site: Path) -> None:
    (site / "old.egg").write_bytes(b"PK\3\4" + bytes(40))

    result = inspect([str(site), f"{site}/gone"])

    assert reasons(result) == [
        "what is in archives is not inspected",
        "No such file or directory",
    ]


def test_a_pth_file_leads_to_more(library: Path, site: Path, tmp_path: Path) -> None:
    put(library, tmp_path / "project/src/a.so")
    (site / "_one.pth").write_text(f"{tmp_path}/project/src\nimport os\n# {tmp_path}\n")
    recorded(site, "one", "_one.pth,,")
    url = f'{{"url": "file://{tmp_path}/project", "dir_info": {{"editable": true}}}}'
    (site / "one-1.0.dist-info/direct_url.json").write_text(url)

    result = inspect([str(site)])

    assert found(result) == [("python", "one", "1.0", "a.so")]
    assert result.unread == ()


def test_an_editable_install_that_code_leads_to_is_told(
    site: Path, tmp_path: Path
) -> None:
    recorded(site, "one", "x.py,,")
    url = f'{{"url": "file://{tmp_path}/project", "dir_info": {{"editable": true}}}}'
    (site / "one-1.0.dist-info/direct_url.json").write_text(url)

    assert reasons(inspect([str(site)])) == [
        f"it is installed from {tmp_path}/project, which is to be named itself"
    ]


@pytest.mark.parametrize(
    "record", ["\0\0\0", '"unended,,', "," * 1000, "\udcff,,", "a" * 200_000]
)
def test_odd_records_are_no_error(library: Path, site: Path, record: str) -> None:
    put(library, site / "a.so")
    recorded(site, "odd")
    path = site / "odd-1.0.dist-info/RECORD"
    path.write_bytes(record.encode("utf-8", "surrogateescape") + b"\na.so,,\n")

    assert [row[3] for row in found(inspect([str(site)]))] == ["a.so"]


def test_a_package_of_npm_is_the_nearest_that_is_named(
    library: Path, tmp_path: Path
) -> None:
    modules = tmp_path / "node_modules"
    put(library, modules / "addon/build/Release/a.node", modules / "@s/b/bin/tool")
    (modules / "addon/package.json").write_text('{"name": "addon", "version": "2.0"}')
    (modules / "addon/build/package.json").write_text('{"type": "module"}')
    (modules / "@s/b/package.json").write_text('{"name": "@s/b", "version": "3"}')
    put(library, modules / "c/a.node")
    (modules / "c/package.json").write_text("[" * 100_000)

    assert found(inspect([str(modules)])) == [
        ("none", "", None, "a.node"),
        ("npm", "@s/b", "3", "tool"),
        ("npm", "addon", "2.0", "a.node"),
    ]


def test_libraries_elsewhere_are_inspected_for_who_needs_them(
    site: Path, tmp_path: Path
) -> None:
    other = built(tmp_path / "elsewhere/libother.so.1", CONNECTS)
    far = built(
        tmp_path / "elsewhere/libfar.so", "int f(void *); int g(void) { return f(0); }",
        "-shared", "-fPIC", str(other), f"-Wl,-rpath,{tmp_path}/elsewhere",
    )  # fmt: skip
    source = "int g(void); int h(void) { return g(); }"
    rpath = "-Wl,-rpath,$ORIGIN/../../../../../elsewhere"
    built(site / "one/a.so", source, "-shared", "-fPIC", str(far), rpath)
    recorded(site, "one", "one/a.so,,")

    (only,) = inspect([str(site)]).findings

    assert [(one.kind, one.sure) for one in only.reasons] == [("needs", True)]
    assert "imports connect" in only.reasons[0].what


# The C library's name is nobody's proof, where the file itself says where it is.
def test_a_library_elsewhere_with_a_name_of_the_systems(
    site: Path, tmp_path: Path
) -> None:
    other = built(tmp_path / "elsewhere/libz.so.1", CONNECTS, "-shared", "-fPIC",
                  "-Wl,-soname,libz.so.1")  # fmt: skip
    source = "int f(void *); int g(void) { return f(0); }"
    rpath = f"-Wl,-rpath,{tmp_path}/elsewhere"
    built(site / "a.so", source, "-shared", "-fPIC", str(other), rpath)
    built(site / "b.so", source, "-shared", "-fPIC", "-Wl,-rpath,/usr/lib")

    (only,) = inspect([str(site)]).findings

    assert Path(only.path).name == "a.so"
    assert only.reasons[0].what.startswith("needs libz.so.1")


def test_a_library_that_is_not_there_is_told(site: Path, tmp_path: Path) -> None:
    other = built(tmp_path / "libother.so", CONNECTS)
    source = "int f(void *); int g(void) { return f(0); }"
    built(site / "a.so", source, "-shared", "-fPIC", str(other))
    other.unlink()

    assert [one for one in reasons(inspect([str(site)])) if "which is not there" in one]


def test_a_large_sparse_file_and_a_broken_one(library: Path, site: Path) -> None:
    put(library, site / "sparse.so", site / "broken.so")
    os.truncate(site / "sparse.so", 1 << 32)
    os.truncate(site / "broken.so", 500)

    result = inspect([str(site)])

    assert [row[3] for row in found(result)] == ["sparse.so"]
    assert [Path(one.path).name for one in result.unread] == ["broken.so"]


def test_thousands_of_files(site: Path) -> None:
    for number in range(3000):
        (site / f"{number}.py").touch()

    assert inspect([str(site)]).looked_at == 3000


def test_an_environment_is_found_by_its_folder_or_interpreter(site: Path) -> None:
    prefix = site.parents[2]
    (prefix / "bin").mkdir()
    (prefix / "bin/python3").symlink_to("/usr/bin/python3")

    for path in (prefix, prefix / "bin/python3"):
        assert [one.folder for one in environment(str(path))] == [str(prefix)]


def test_a_virtual_environment_may_have_the_packages_of_the_system(
    site: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base/lib/python3.12/site-packages"
    base.mkdir(parents=True)
    text = f"home = {tmp_path}/base/bin\ninclude-system-site-packages = true\n"
    (site.parents[2] / "pyvenv.cfg").write_text(text)

    folders = [one.folder for one in environment(str(site.parents[2]))]

    assert folders == [str(site.parents[2]), str(base)]


@pytest.mark.parametrize("path", ["gone", "file", "."])
def test_what_is_no_environment_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()

    with pytest.raises(UsageError):
        environment(path)
