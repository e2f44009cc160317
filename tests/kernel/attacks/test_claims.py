"""What a command makes up in its run is recorded as a claim, and satisfies no `by`."""

import base64
import hashlib
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from egressmon.files.bounded import open_regular
from egressmon.files.elf import Elf
from support.lab import HTTP_PORT, SERVER4
from support.watching import Watched, until_recorded

Watch = Callable[..., Watched]

UNPRIVILEGED = "54321"
AS_USER = (
    *("setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}"),
    "--clear-groups",
)
DIAL = f"""
#include <arpa/inet.h>
#include <unistd.h>
void dial(void)
{{
	struct sockaddr_in peer = {{.sin_family = AF_INET, .sin_port = htons({HTTP_PORT})}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, "{SERVER4}", &peer.sin_addr);
	connect(fd, (void *)&peer, sizeof(peer));
	close(fd);
}}
"""
MAIN = DIAL + "int main(void) { dial(); return 0; }"
POLICY = """
version = 1
enforce = "fail"
[[allow]]
cidr = "{server}"
ports = [{port}]
by = {{ {by} }}
"""


def by(text: str) -> str:
    """Return a policy that allows the lab's server by what text says."""
    return POLICY.format(server=SERVER4, port=HTTP_PORT, by=text)


def compiled(folder: Path, name: str, source: str, *options: str) -> Path:
    """Compile source as name, readable by all."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["gcc", "-O1", "-x", "c", "-o", str(target), *options, "-"],
        input=source.encode(),
        check=True,
    )
    return target


@pytest.fixture
def shared() -> Generator[Path]:
    """A folder that other users may enter: pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="egressmon-claims-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def claims(record: dict[str, Any]) -> dict[str, str]:
    """Return the reasons of record's claims by field."""
    return {one["field"]: one["reason"] for one in record["claimed"]}


def connection(run: Watched) -> dict[str, Any]:
    """Return the run's only connection."""
    (record,) = run.of("connection")
    return record


# A program that was there before the run is what it is, and nothing is claimed.
def test_what_lay_there_before_counts(watched: Watch, tmp_path: Path) -> None:
    program = compiled(tmp_path, "client", MAIN)

    run = watched(str(program), policy=by(f'exe = ["{program}"]'))

    assert run.status == 0, run.stderr
    assert connection(run)["claimed"] == []


# Whoever is gone at once, and was called by a relative path, is known by its mapping.
def test_a_program_that_is_gone_is_no_claim(watched: Watch, tmp_path: Path) -> None:
    program = compiled(tmp_path, "client", MAIN)
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do ./client; done"

    run = watched("sh", "-c", script, policy=by(f'exe = ["{program}"]'))

    assert run.status == 0, run.stderr
    assert not any(one["claimed"] for one in run.of("connection"))


def _build_id_of(path: str) -> str:
    elf = Elf(open_regular(path))
    found = elf.build_id
    elf.close()
    assert found is not None
    return f"0x{found}"


# A build id is copied with an option of the linker's.
@pytest.mark.parametrize("build_id", ["none", "sha1", "copied"])
def test_a_program_bound_over_another_is_not_that_one(
    watched: Watch, shared: Path, build_id: str
) -> None:
    if build_id == "copied":
        build_id = _build_id_of("/usr/bin/curl")
    program = compiled(shared, "client", MAIN, f"-Wl,--build-id={build_id}")
    script = f"mount --bind {program} /usr/bin/curl && exec /usr/bin/curl"

    run = watched(
        *(*AS_USER, "unshare", "-Urm", "sh", "-c", script),
        policy=by('package = ["curl"], exe = ["/usr/bin/curl"]'),
    )

    assert run.status == 120, run.stderr
    record = connection(run)
    assert record["module"]["caller"]["package"] is None
    assert claims(record)["process.exe"] == "seen from another mount namespace"
    assert "this claims to be" in record["reason"] or "only by" in record["reason"]


def test_a_library_bound_over_another_after_the_exec(
    watched: Watch, shared: Path
) -> None:
    library = compiled(shared, "dial.so", DIAL, "-shared", "-fPIC")
    (victim,) = Path("/usr/lib").glob("*-linux-gnu/libz.so.1")
    code = (
        "import ctypes; libc = ctypes.CDLL(None); "
        "libc.unshare(0x10020000); "  # CLONE_NEWUSER | CLONE_NEWNS
        f"libc.mount(b'{library}', b'{victim.resolve()}', None, 4096, None); "
        f"ctypes.CDLL('{victim}').dial()"
    )

    run = watched(
        *(*AS_USER, "/usr/bin/python3", "-c", code),
        policy=by('package = ["zlib1g"]'),
    )

    assert run.status == 120, run.stderr
    assert claims(connection(run))["module.caller"] == (
        "seen from another mount namespace"
    )
    assert connection(run)["module"]["caller"]["package"] is None


def test_a_program_made_in_the_run_is_claimed(watched: Watch, tmp_path: Path) -> None:
    program = compiled(tmp_path, "client", MAIN)
    made = tmp_path / "made"
    script = f"cp {program} {made}; exec {made}"

    run = watched("sh", "-c", script, policy=by(f'exe = ["{made}"]'))
    asked = watched(
        *("sh", "-c", script), policy=by(f'exe = ["{made}"], claimed = true')
    )

    assert run.status == 120, run.stderr
    assert claims(connection(run)) == dict.fromkeys(
        ("process.exe", "module.caller"), "changed during the run"
    )
    assert "this claims to be (changed during the run)" in connection(run)["reason"]
    assert asked.status == 0, asked.stderr
    executed = [one for one in run.of("process", event="exec") if one["claimed"]]
    assert [one["exe"] for one in executed] == [str(made)]


# mtime is the owner's to set; the kernel's own ctime is not.
def test_touching_a_files_times_back_helps_nothing(
    watched: Watch, tmp_path: Path
) -> None:
    program = compiled(tmp_path, "client", MAIN)
    other = compiled(tmp_path, "other", MAIN)
    script = f"cp {other} {program}; touch -d 2001-01-01 {program}; exec {program}"

    run = watched("sh", "-c", script, policy=by(f'exe = ["{program}"]'))

    assert run.status == 120, run.stderr
    assert claims(connection(run))["process.exe"] == "changed during the run"


def test_a_library_written_to_while_it_is_mapped(
    watched: Watch, tmp_path: Path
) -> None:
    library = compiled(tmp_path, "dial.so", DIAL, "-shared", "-fPIC")
    # What is judged after the change is judged by it: wait for the first records.
    code = f"""
import ctypes
library = ctypes.CDLL({str(library)!r})
for _ in range(3):
    library.dial()
{until_recorded(tmp_path, 3)}
with open({str(library)!r}, "r+b") as file:
    file.seek(0, 2)
    file.write(b"x")
for _ in range(3):
    library.dial()
"""

    run = watched("python3", "-c", code, policy=by('module = ["dial.so"]'))

    verdicts = [one["verdict"] for one in run.of("connection")]
    assert verdicts == ["allowed"] * 3 + ["violation"] * 3, run.stderr


def test_code_that_is_in_no_file_is_claimed(watched: Watch, tmp_path: Path) -> None:
    program = compiled(tmp_path, "client", MAIN, "-static")
    code = (
        "import os; fd = os.memfd_create('curl', 0); "
        f"os.write(fd, open('{program}', 'rb').read()); "
        "os.execve(fd, ['curl'], {})"
    )

    run = watched("python3", "-c", code, policy=by('exe = ["*curl*"]'))

    assert run.status == 120, run.stderr
    found = claims(connection(run))
    assert found["module.caller"] == "its code is in no file"
    assert found["process.exe"] in {
        "no file has that name any more",
        "the process was gone before its file could be looked at",
    }


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
def test_a_preloaded_library_makes_its_program_a_claim(
    watched: Watch, tmp_path: Path, variable: str
) -> None:
    library = compiled(
        *(tmp_path, "first.so", DIAL),
        *("-shared", "-fPIC", "-Wl,-init,dial"),
    )
    long = "x" * 100_000

    run = watched(
        *("env", f"LONG={long}", f"{variable}={library}", "/usr/bin/true"),
        policy=by('exe = ["/usr/bin/true"]'),
    )

    assert run.status == 120, run.stderr
    assert "LD_PRELOAD or LD_AUDIT was set" in claims(connection(run))["process.exe"]


def sha256(data: bytes) -> str:
    """Return the hash of data as RECORD has it."""
    found = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + found.rstrip(b"=").decode()


def _made_up_site(folder: Path, digest: str = "") -> Path:
    site = folder / "lib/python3.11/site-packages"
    library = compiled(site, "_m.so", DIAL, "-shared", "-fPIC")
    info = site / "httpx-0.27.0.dist-info"
    info.mkdir()
    digest = digest or sha256(library.read_bytes())
    (info / "RECORD").write_text(f"_m.so,{digest},\n")
    (info / "METADATA").write_text("Name: httpx\nVersion: 0.27.0\n")
    return library


def _with_interpreter(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python3").symlink_to(sys.executable)
    return folder


def _dial(library: Path) -> tuple[str, ...]:
    return ("python3", "-c", f"import ctypes; ctypes.CDLL('{library}').dial()")


def test_an_account_that_no_interpreter_has_is_claimed(
    watched: Watch, tmp_path: Path
) -> None:
    library = _made_up_site(tmp_path)

    run = watched(*_dial(library), policy=by('package = ["httpx"]'))

    assert run.status == 120, run.stderr
    record = connection(run)
    assert record["module"]["caller"]["package"]["name"] == "httpx"
    assert "no interpreter was in" in claims(record)["module.caller.package"]


def test_a_file_that_does_not_fit_its_record_is_claimed(
    watched: Watch, tmp_path: Path
) -> None:
    other = sha256(b"what was installed")
    library = _made_up_site(_with_interpreter(tmp_path / "odd"), other)
    fitting = _made_up_site(_with_interpreter(tmp_path / "fitting"))

    run = watched(*_dial(library), policy=by('package = ["httpx"]'))
    fits = watched(*_dial(fitting), policy=by('package = ["httpx"]'))

    assert run.status == 120, run.stderr
    assert claims(connection(run))["module.caller.package"] == (
        "RECORD has another hash of the file"
    )
    assert connection(run)["module"]["caller"]["verified"] is False
    assert fits.status == 0, fits.stderr
    assert connection(fits)["module"]["caller"]["verified"] is True


def _wheel(folder: Path) -> Path:
    """Return a wheel of demo-dialler, with an extension module that connects."""
    source = (
        DIAL.replace("void dial", "static void dial")
        + """
#include <Python.h>
static PyObject *go(PyObject *self, PyObject *none) { dial(); Py_RETURN_NONE; }
static PyMethodDef methods[] = {{"go", go, METH_NOARGS, ""}, {NULL}};
static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT, "_dialler", "", -1, methods};
PyMODINIT_FUNC PyInit__dialler(void) { return PyModule_Create(&module); }
"""
    )
    include = f"-I{sysconfig.get_path('include')}"
    name = f"_dialler{sysconfig.get_config_var('EXT_SUFFIX')}"
    module = compiled(folder, name, source, "-shared", "-fPIC", include)
    wheel = folder / "demo_dialler-1.0-py3-none-any.whl"
    info = "demo_dialler-1.0.dist-info"
    digest = sha256(module.read_bytes())
    script = (
        "import sys, zipfile\n"
        "with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n"
        f"    wheel.write(sys.argv[2], '{name}')\n"
        f"    wheel.writestr('{info}/METADATA', 'Metadata-Version: 2.1\\nName: "
        "demo-dialler\\nVersion: 1.0\\n')\n"
        f"    wheel.writestr('{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\n"
        "Root-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        f"    wheel.writestr('{info}/RECORD', '{name},{digest},\\n')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(wheel), str(module)], check=True)
    return wheel


def test_a_package_counts_if_it_was_installed_before_the_run(
    watched: Watch, tmp_path: Path
) -> None:
    wheel = _wheel(tmp_path / "wheel")
    base = getattr(sys, "_base_executable", sys.executable)
    for name in ("before", "during"):
        subprocess.run([base, "-m", "venv", str(tmp_path / name)], check=True)
    install = "-m pip install -q --no-index --disable-pip-version-check"
    before, during = (tmp_path / name / "bin/python" for name in ("before", "during"))
    subprocess.run([str(before), *install.split(), str(wheel)], check=True)
    dial = "import _dialler; _dialler.go()"
    policy = by('package = ["demo-dialler"]')

    old = watched(str(before), "-c", dial, policy=policy)
    script = f"{during} {install} {wheel} && exec {during} -c '{dial}'"
    new = watched("sh", "-c", script, policy=policy)

    assert old.status == 0, old.stderr
    assert connection(old)["claimed"] == []
    assert connection(old)["module"]["caller"]["verified"] is True
    assert new.status == 120, new.stderr
    found = claims(connection(new))
    assert found["module.caller"] == "changed during the run"
    assert "changed during the run" in found["module.caller.package"]


# Its own root folder needs no mount namespace, only a user namespace.
def test_a_root_folder_of_its_own(watched: Watch, shared: Path) -> None:
    root = shared / "root"
    compiled(root / "usr/bin", "curl", MAIN, "-static")

    run = watched(
        *(*AS_USER, "unshare", "-Ur", "chroot", str(root), "/usr/bin/curl"),
        policy=by('exe = ["/usr/bin/curl"]'),
    )

    assert run.status == 120, run.stderr
    assert claims(connection(run))["process.exe"].startswith("seen from")


# The kernel may know a file there by another device than stat(2) does.
def test_a_program_on_overlayfs_is_what_it_is(watched: Watch, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("lower", "upper", "work", "merged")]
    for one in folders:
        one.mkdir()
    lower, upper, work, merged = folders
    library = compiled(lower, "dial.so", DIAL, "-shared", "-fPIC")
    program = compiled(
        lower,
        "client",
        "void dial(void); int main(void) { dial(); return 0; }",
        *(f"-L{lower}", "-Wl,--no-as-needed", f"-l:{library.name}"),
        "-Wl,-rpath,$ORIGIN",
    )
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    script = f'mount -t overlay none -o {options} {merged} && exec "$@"'
    tried = ["unshare", "--mount", "sh", "-c", script, "sh", "true"]
    if subprocess.run(tried, check=False).returncode != 0:
        pytest.skip("overlayfs cannot be mounted over this folder's file system")

    run = watched(
        str(merged / program.name),
        through=("sh", "-c", script, "sh"),
        policy=by(f'exe = ["{merged}/client"], module = ["{merged}/dial.so"]'),
    )

    assert run.status == 0, run.stderr
    assert connection(run)["claimed"] == []


# By root in egressmon's own namespace; a user needs one of its own.
def test_what_is_mounted_during_the_run_is_claimed(
    watched: Watch, tmp_path: Path
) -> None:
    program = compiled(tmp_path / "before", "client", MAIN)
    (tmp_path / "there").mkdir()
    there = tmp_path / "there/client"
    script = f"mount --bind {program.parent} {there.parent} && exec {there}"

    run = watched("sh", "-c", script, policy=by(f'exe = ["{there}"]'))

    assert run.status == 120, run.stderr
    assert claims(connection(run))["process.exe"] == (
        "on a file system that was mounted during the run"
    )


# Only folders move, so nothing changes: what ran as one is then run by another's name.
# The first process is there until it was looked at, and so its program is remembered.
def test_what_moved_folders_hold_has_its_new_name(
    watched: Watch, tmp_path: Path, shared: Path
) -> None:
    one, two, three = (shared / f"d{number}" for number in (1, 2, 3))
    three.mkdir()
    waiting = DIAL + "int main(void) { char end; dial(); return read(0, &end, 1); }"
    (three / "client").hardlink_to(compiled(one, "client", waiting))
    code = (
        "import os, subprocess\n"
        f"os.chdir({str(shared)!r})\n"
        "first = subprocess.Popen('d1/client', stdin=subprocess.PIPE)\n"
        f"{until_recorded(tmp_path, 1)}"
        "first.communicate()\n"
        "os.rename('d1', 'd2'); os.rename('d3', 'd1')\n"
        "for _ in range(3): subprocess.run('d2/client', stdin=subprocess.DEVNULL)\n"
    )

    run = watched(sys.executable, "-c", code, policy=by(f'exe = ["{one}/client"]'))

    made = run.of("connection")
    assert [one["verdict"] for one in made] == ["allowed", *["violation"] * 3]
    assert {made["process"]["exe"] for made in made[1:]} == {f"{two}/client"}


# The program is linked statically: it needs nothing below its new root folder.
def test_what_runs_below_another_root_folder_is_a_claim(
    watched: Watch, tmp_path: Path
) -> None:
    program = compiled(tmp_path / "jail", "client", MAIN, "-static")
    code = (
        f"import os; os.chroot({str(tmp_path / 'jail')!r}); os.chdir('/'); "
        "os.execv('/client', ['client'])"
    )

    run = watched(sys.executable, "-c", code, policy=by(f'exe = ["{program}"]'))

    why = claims(connection(run))["process.exe"]
    assert why == "seen from a root folder of its own"
    assert run.status == 120


def test_what_the_command_mounted_it_can_unmount(
    watched: Watch, tmp_path: Path
) -> None:
    program = compiled(tmp_path / "held", "client", MAIN)
    (tmp_path / "mount").mkdir()
    code = (
        "import subprocess, sys\n"
        f"where = {str(tmp_path / 'mount')!r}\n"
        f"subprocess.run(['mount', '--bind', {str(program.parent)!r}, where])\n"
        "subprocess.run([where + '/client'])\n"
        f"{until_recorded(tmp_path, 1)}"
        "while subprocess.run(['umount', where]).returncode: time.sleep(0.1)\n"
    )

    # In a mount namespace of its own: egressmon must see what is mounted.
    command = ("timeout", "20", sys.executable, "-c", code)
    run = watched(*command, through=("unshare", "-m"))

    assert run.status == 0, run.stderr
