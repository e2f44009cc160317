"""The scripts that run other kernels: all that needs no virtual machine."""

import gzip
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import dpkg_records
import guest
import kept
import kernels
import matrix
import rewriting
import userland
import vmtest
import wheels
from architectures import ARM64, X86, target
from archive import ArchiveError
from egressmon.attribution.packages.system import SystemPackages
from egressmon.evidence.records.code import PackageRecord
from egressmon.files.beginning import Beginning
from machine import DIED, TIMED_OUT, Task, emulator_words, result_of
from report import Report, page


def test_a_version_matches_whole_numbers_only() -> None:
    releases = [
        "6.1.0-9-amd64",
        "6.12.117+deb12-amd64",
        "6.1.0-56-amd64",
        "6.18.1-amd64",
    ]

    assert kernels.matching("6.1", releases) == ["6.1.0-9-amd64", "6.1.0-56-amd64"]
    assert kernels.matching("6.12.117+deb12-amd64", releases) == [releases[1]]
    assert kernels.matching("6", releases)[-1] == "6.18.1-amd64"
    assert kernels.matching("7", releases) == []


def test_a_release_knows_its_series() -> None:
    assert kernels.series("6.1.0-56-amd64") == "6.1"
    assert kernels.series("5.10") == "5.10"


@pytest.mark.parametrize(
    ("words", "name", "version", "suite"),
    [
        ("6.1", "x86_64", "6.1", ""),
        ("amd64/6.1.0-56-amd64", "x86_64", "6.1.0-56-amd64", ""),
        ("arm64/6.12", "aarch64", "6.12", "bookworm"),
        ("arm64/6.12@trixie", "aarch64", "6.12", "trixie"),
    ],
)
def test_an_architecture_and_a_user_land_stand_beside_the_version(
    words: str, name: str, version: str, suite: str
) -> None:
    found = target(words)

    assert found.architecture.machine == name
    assert (found.version, found.suite) == (version, suite)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("riscv64/6.12", "no architecture riscv64; there are: amd64, arm64"),
        ("arm64/6.12@sarge", "no user land sarge; there are: bookworm, trixie"),
        ("6.12@trixie", "a user land is for arm64 only"),
        ("arm64/", "not a kernel such as"),
        ("arm64/6.\x1b[31m\n@trixie", r"^arm64/6\.\?\[31m\?@trixie: not a kernel"),
    ],
)
def test_what_cannot_be_booted_is_said(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArchiveError, match=says):
        target(words)

    assert vmtest.main([words, "--", "true"]) == DIED
    assert re.search(says.lstrip("^"), capsys.readouterr().err)


def test_a_kernel_in_the_cache_is_taken_for_its_own_architecture(
    tmp_path: Path,
) -> None:
    releases = ("6.12.9+deb12-amd64", "6.12.7+deb12-arm64", "6.12.8+deb13-arm64-16k")
    for release in releases:
        (tmp_path / release).mkdir()
        (tmp_path / release / "vmlinux").touch()
    pages = target("arm64-16k/6.12").architecture

    found = [kernels.get("6.12", tmp_path, one) for one in (X86, ARM64, pages)]

    assert tuple(one.release for one in found) == releases


def test_what_is_kept_stays_until_another_is_made_and_nobody_uses_it(
    tmp_path: Path,
) -> None:
    def make(folder: Path) -> None:
        (folder / "inside").write_text("x")

    code = f"""
import sys; sys.path.insert(0, {str(Path(kept.__file__).parent)!r})
import pathlib, kept
print(kept.get(pathlib.Path({str(tmp_path)!r}), "root", 1, lambda _: None), flush=True)
sys.stdin.read()
"""
    half = tmp_path / "root-half"
    half.mkdir()
    other = tmp_path / "roots-1"
    other.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as user:
        assert user.stdout is not None
        used = Path(user.stdout.readline().decode().strip())

        second = kept.get(tmp_path, "root", 2, make)

        assert used.exists()
        assert (second / "inside").read_text() == "x"
        assert kept.get(tmp_path, "root", 2, lambda _: pytest.fail("made")) == second
    third = kept.get(tmp_path, "root", 3, make)
    assert not used.exists()
    assert not half.exists()
    assert second.exists()  # this process used it
    assert third.exists()
    assert other.exists()


def test_an_arm64_image_is_booted_as_it_is() -> None:
    image = bytes(56) + b"ARM\x64" + bytes(8)

    assert kernels.bootable(image) == image
    assert kernels.bootable(gzip.compress(image)) == image
    with pytest.raises(ArchiveError, match="no ELF file"):
        kernels.bootable(bytes(100))


def test_a_lock_file_is_read_without_the_tools_that_no_guest_starts() -> None:
    text = "# a comment\nmypy==1 \\\n    --hash=1\npytest==9 \\\n    --hash=2\nuv==3\n"

    assert wheels.needed(text) == "# a comment\npytest==9 \\\n    --hash=2"


def test_a_guests_environment_is_python_as_the_guest_has_it(tmp_path: Path) -> None:
    packages = wheels.make_environment(tmp_path / "venv", "3.13", ["/src", "/more"])

    assert (tmp_path / "venv/bin/python").readlink() == Path("/usr/bin/python3.13")
    assert "home = /usr/bin\n" in (tmp_path / "venv/pyvenv.cfg").read_text()
    assert (packages / "guest.pth").read_text() == "/src\n/more\n"


def test_a_program_is_found_in_the_guests_root(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/ip").touch(mode=0o755)

    assert userland.program(tmp_path, "ip") == "/usr/sbin/ip"
    assert userland.program(tmp_path, "no-such-command") is None


def test_packages_that_were_unpacked_are_known_as_installed(tmp_path: Path) -> None:
    made: list[Path] = []
    for name, multi in (("libone4", "Multi-Arch: same\n"), ("two", "")):
        folder = tmp_path / name
        (folder / "DEBIAN").mkdir(parents=True)
        (folder / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1:2-3\nArchitecture: arm64\n{multi}"
            "Maintainer: nobody <nobody@example.org>\nDescription: one\n more: of it\n"
        )
        (folder / "usr/lib").mkdir(parents=True)
        (folder / f"usr/lib/{name}.so.4").touch()
        made.append(tmp_path / f"{name}.deb")
        words = ["dpkg-deb", "--root-owner-group", "--build"]
        subprocess.run(
            [*words, folder, made[-1]], check=True, stdout=subprocess.DEVNULL
        )
    root = tmp_path / "root"

    dpkg_records.write(made, root)

    packages = SystemPackages(Beginning())
    for name in ("libone4", "two"):
        owner = packages.owner(f"/usr/lib/{name}.so.4", str(root))
        assert owner is not None
        assert owner.package == PackageRecord("debian", name, "1:2-3")
    assert (root / "var/lib/dpkg/info/libone4:arm64.list").exists()
    done = subprocess.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f=${Package}\n"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "libone4\ntwo\n"


def test_tests_are_compiled_as_pytest_does(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_it() -> None:\n    assert 1 == 1\n")
    (tmp_path / "test_other.py").write_text("def (")

    rewriting.compile_all(sorted(tmp_path.iterdir()))

    (compiled,) = (tmp_path / "__pycache__").iterdir()
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--debug=log"]
    subprocess.run(
        [*words, "-p", "no:cacheprovider", "test_one.py"], cwd=tmp_path, check=True
    )
    assert (
        f"found cached rewritten pyc for {tmp_path}/test_one.py"
        in (tmp_path / "log").read_text()
    )
    assert compiled.name.startswith("test_one.")


def test_a_guest_may_write_over_what_is_shared_with_it() -> None:
    text = guest.main_script(
        command=["true"],
        environment={},
        folder="/",
        host="lab",
        writable=["/out put"],
        shared=["/src", "/src/.venv"],
    )

    lines = text.splitlines()
    mounts = [one for one in lines if one.startswith(("mount", "mkdir"))]
    assert [one.split()[-1] for one in mounts if "-t overlay" in one] == [
        "/src",
        "/src/.venv",
    ]
    assert "mkdir -p '/out put'; " in text
    # A folder that the guest writes may lie in what is shared.
    assert (
        text.index("shared1 /src/.venv")
        < text.index("writable0")
        < text.index("env -i")
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["6.1"], "no command is given"),
        (["6.1", "--"], "no command is given"),
        (["--", "true"], "KERNEL"),
        (["6.1", "--", "no-such-command"], "no-such-command: not found"),
        (["--writable", "/nowhere", "6.1", "--", "true"], "no such folder"),
        (["--cpus", "many", "6.1", "--", "true"], "--cpus"),
        (["--timeout", "nan", "6.1", "--", "true"], "--timeout"),
        (["--timeout", "0", "6.1", "--", "true"], "--timeout"),
    ],
)
def test_bad_usage_is_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        vmtest.main(arguments)

    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_no_machine_at_a_time_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        matrix.parser().parse_args(["--jobs", "0"])

    assert caught.value.code == 2
    assert "--jobs" in capsys.readouterr().err


def test_what_is_ended_by_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(vmtest.__file__).parent)!r})
import tempfile, time, vmtest
vmtest.end_as_asked()
with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):
    print(flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert list(tmp_path.iterdir())

        process.terminate()

    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_signal_ends_the_machines_of_other_threads(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(vmtest.__file__).parent)!r})
import concurrent.futures, pathlib, tempfile, kernels, machine, vmtest
tempfile.tempdir = {str(tmp_path)!r}
class Emulator(machine.subprocess.Popen):
    def __init__(self, words, **how):
        super().__init__(["sleep", "600"], **how)
        print("up", flush=True)
machine.subprocess.Popen = Emulator
machine._first_file_system = lambda *_: pathlib.Path("none")
vmtest.end_as_asked()
kernel = kernels.Kernel(pathlib.Path("6.1.0-1-amd64"))
out = open("/dev/null", "wb")
with concurrent.futures.ThreadPoolExecutor(1) as pool:
    tasks = [machine.Task(["true"])] * 2
    found = [pool.submit(machine.run, kernel, one, out, out) for one in tasks]
    print(found[0].result())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"

        process.terminate()

    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_folders_name_adds_no_option_of_the_emulators(tmp_path: Path) -> None:
    task = Task(["true"], writable=["/out,readonly=on"])
    kernel = kernels.Kernel(tmp_path, ARM64)

    words = emulator_words(kernel, task, Path("/tmp/a,b"), tmp_path)  # noqa: S108

    assert "file:/tmp/a,,b/console" in words
    (share,) = [one for one in words if "id=writable0" in one]
    assert ",path=/out,,readonly=on,security_model=none," in share


def test_what_a_guest_makes_of_its_status_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0")
    control = tmp_path / "control"
    control.mkdir()
    # No emulator came to writing anything; then a link, a pipe and a riddle.
    assert result_of(control, 0, 1, late=False).status == DIED
    (control / "status").symlink_to(secret)
    (control / "console").symlink_to(secret)
    found = result_of(control, 0, 1, late=False)
    assert (found.status, found.console) == (DIED, "")
    (control / "status").unlink()
    os.mkfifo(control / "status")
    assert result_of(control, 0, 1, late=True).status == TIMED_OUT
    (control / "status").unlink()
    (control / "status").write_text("fine\n")
    assert result_of(control, 0, 1, late=False).died


XML = """<testsuites><testsuite>
<testcase classname="tests.kernel.test_life" name="test_a"/>
<testcase classname="tests.kernel.test_life" name="test_b"><failure/></testcase>
<testcase classname="tests.kernel.test_life" name="test_c"><skipped/></testcase>
<testcase classname="tests.kernel.test_local" name="test_d"><error/></testcase>
<testcase classname="tests.kernel.test_blind_spots" name="test_e"><properties>
<property name="blind_spots" value="x, y"/><property name="engine" value="libbpf 1"/>
</properties></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def report(tmp_path: Path) -> Report:
    (tmp_path / "tests.xml").write_text(XML)
    made = Report("6.1.0-56-amd64", seconds=90, status=1)
    made.read(tmp_path / "tests.xml")
    return made


def test_a_report_counts_by_group_and_names_what_failed(report: Report) -> None:
    assert report.groups["test_life"] == Counter(passed=1, failed=1, skipped=1)
    assert report.failures == ["test_life::test_b", "test_local::test_d"]
    assert report.blind_spots == "x, y"
    assert not report.fine


OUTPUT = """collected 5 items
tests/kernel/test_life.py::test_a PASSED                                 [ 20%]
tests/kernel/attribution/test_native.py::test_b[-static -s] FAILED       [ 40%]
tests/kernel/test_life.py::test_c SKIPPED (no headers [of it])           [ 60%]
tests/kernel/test_life.py::test_d ERROR                                  [ 80%]
tests/kernel/test_life.py::test_e """


# Its results are written at its end: what the time was over for has none.
def test_a_run_that_was_cut_off_tells_what_it_came_to(tmp_path: Path) -> None:
    (tmp_path / "output").write_text(OUTPUT)
    made = Report("6.1.0-56-arm64@bookworm", status=124)

    made.read_output(tmp_path / "output")

    assert made.groups["test_life"] == Counter(passed=1, skipped=1, failed=1)
    assert made.failures == ["test_native::test_b[-static -s]", "test_life::test_d"]
    assert not made.fine


def test_a_kernel_without_tests_is_not_fine() -> None:
    # No file is left if the machine died, or if no test was selected.
    assert not Report("6.1.0", status=0).fine
    assert not Report("6.1.0", status=125).fine


def test_the_page_shows_each_kernel_and_each_failure(report: Report) -> None:
    report.selection = "-m smoke"
    report.commit = "0123456"

    text = page([report])

    assert "1 passed, 1 failed, 1 skipped" in text
    assert "| x, y |" in text
    assert "| 0123456 | `-m smoke` | not fine (1) |" in text
    assert "* 6.1.0-56-amd64: `test_life::test_b`" in text
    assert "Nothing failed" not in text


def test_no_name_breaks_the_page(report: Report) -> None:
    report.selection = "-k 'a|b'"
    report.failures = ["test_x::test_y[`\n| a |\n# b]"]

    lines = page([report]).splitlines()

    (run,) = [one for one in lines if "not fine" in one]
    assert run.endswith("| `-k 'a\\|b'` | not fine (1) |")
    (failed,) = [one for one in lines if "test_y" in one]
    assert failed == "* 6.1.0-56-amd64: `test_x::test_y['\ufffd| a |\ufffd# b]`"


def test_a_page_without_failures_says_so() -> None:
    report = Report("6.18.1", native=True, groups={"test_life": Counter(passed=3)})

    text = page([report])

    assert "Nothing failed." in text
    assert "6.18.1 (a machine's own)" in text
    assert "| fine |" in text


def test_reports_are_kept_for_the_page_a_kernel_at_a_time(
    report: Report, tmp_path: Path
) -> None:
    older = Report("5.10.0-46-amd64", groups={"test_life": Counter(passed=1)})
    stale = Report("6.1.0-56-amd64", groups={"test_life": Counter(passed=9)})

    other = Report("5.10.0-32-arm64@bookworm")

    for one in (other, stale, report, older):
        one.save(tmp_path / "reports")

    assert Report.saved(tmp_path / "reports") == [older, report, other]
