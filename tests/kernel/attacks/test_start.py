"""Nothing of the watched project, and nothing that others can write, runs as root."""

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path

import pytest

from egressmon.installation.install import BOOTSTRAP
from egressmon.startup.ownership import obstacle
from support.users import NOBODY, PATH, User, user
from support.watching import EGRESSMON, read_evidence

pytestmark = pytest.mark.userspace

ROOT = Path(__file__).parents[3]
LAUNCHER = str(Path(sys.executable).with_name("egressmon"))
SCRIPT = str(ROOT / "scripts/egressmon")
NOTES = (
    "import os\n"
    "with open({proof!r}, 'a') as file:\n"
    "    print(__name__, os.getuid(), os.geteuid(), file=file)\n"
)
STARTS = (b"PYTHONHOME", b"PYTHONPLATLIBDIR")


# Top-level names of all that a run imports, and what Python itself looks for.
@cache
def imported() -> frozenset[str]:
    words = [sys.executable, "-I", "-X", "importtime", "-m", "egressmon", "watch"]
    done = subprocess.run(
        [*words, "--evidence", "/dev/null", "--", "true"],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    )
    found = set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE))
    names = {name.split(".")[0] for name in found}
    assert {"argparse", "orjson", "egressmon", "secrets", "queue"} <= names
    return frozenset(names | {"sitecustomize", "usercustomize", "runpy", "pkgutil"})


# Modules of every name that is imported, which say who ran them.
def plant(folder: Path, proof: Path) -> None:
    for name in imported():
        (folder / f"{name}.py").write_text(NOTES.format(proof=str(proof)))
    package = folder / "egressmon"
    package.mkdir()
    for name in ("__init__", "__main__", "cli", "start"):
        (package / f"{name}.py").write_text(NOTES.format(proof=str(proof)))


def watch(
    entry: Sequence[str], folder: Path, *command: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*entry, "watch", "--evidence", str(folder / "e.jsonl"), "--", *command],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": PATH, **environment},
    )


@pytest.mark.parametrize("entry", [(LAUNCHER,), (SCRIPT,), EGRESSMON], ids=len)
def test_no_module_of_the_folder_or_the_environment_runs_as_root(
    tmp_path: Path, entry: tuple[str, ...]
) -> None:
    proof = tmp_path / "proof"
    plant(tmp_path, proof)
    if entry == (SCRIPT,):  # what sets it up is root, too
        (ROOT / ".venv/egressmon-run.stamp").unlink(missing_ok=True)
    before = {one.name for one in tmp_path.iterdir()}

    done = watch(
        entry, tmp_path, "true", PYTHONPATH=str(tmp_path), PYTHONSTARTUP="argparse.py"
    )

    assert not proof.exists(), proof.read_text()
    assert done.returncode == 0, done.stderr
    assert read_evidence(tmp_path / "e.jsonl")[-1]["verdict"] == "clean"
    assert {one.name for one in tmp_path.iterdir()} - before == {"e.jsonl"}


def test_python_m_as_root_is_refused(tmp_path: Path) -> None:
    done = watch([sys.executable, "-m", "egressmon"], tmp_path, "touch", "ran")

    assert done.returncode == 125
    assert "error: root's Python is not isolated" in done.stderr
    assert "hint: run `egressmon`" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("entry", [(LAUNCHER,), (SCRIPT,), EGRESSMON], ids=len)
def test_python_variables_are_the_commands_alone(
    tmp_path: Path, entry: tuple[str, ...]
) -> None:
    variables = {
        "PYTHONPATH": "/some/where:",
        "PYTHONHOME": "/no/where",
        "PYTHONPLATLIBDIR": "nolib",
        "PYTHONSTARTUP": "x.py",
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONPROFILEIMPORTTIME": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONUSERBASE": str(tmp_path),
        "PYTHONPYCACHEPREFIX": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "0",
        "PWD": "/not/here",
        "SHLVL": "7",
        "ODD": "a\nb=c",
    }

    done = watch(entry, tmp_path, "/usr/bin/env", "-0", **variables)

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("egressmon: clean")
    got = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert got == {"PATH": PATH, **variables}


# What Python 3.11 reads even when isolated: a pyvenv.cfg beside the path in it says
# which site-packages there are, and a line of a .pth file in there runs.
def own_python(folder: Path, proof: Path) -> dict[str, str]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "other" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (folder / "other/bin").mkdir()
    (folder / "other/pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix, 'bin')}\n")
    line = f"import os; open({str(proof)!r}, 'a').write(f'{{os.geteuid()}} ')\n"
    (site / "zz.pth").write_text(line)
    python = str(folder / "other/bin/python")
    return {"PYTHONEXECUTABLE": python, "__PYVENV_LAUNCHER__": python}


@pytest.mark.parametrize("entry", [(LAUNCHER,), (SCRIPT,)], ids=["launcher", "script"])
def test_no_other_python_is_taken_from_the_environment(
    tmp_path: Path, entry: tuple[str, ...]
) -> None:
    proof = tmp_path / "proof"
    variables = own_python(tmp_path, proof)
    check = [sys.executable, "-I", "-c", ""]
    subprocess.run(check, check=True, env=variables)
    if sys.version_info < (3, 12):
        assert proof.exists()  # it would be taken
        proof.unlink()

    done = watch(entry, tmp_path, "/usr/bin/env", "-0", **variables)

    assert not proof.exists()
    assert done.returncode == 0, done.stderr
    got = dict(one.split("=", 1) for one in done.stdout.split("\0") if one)
    assert got == {"PATH": PATH, **variables}


def test_a_library_path_beside_another_python_changes_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    variables = {**own_python(tmp_path, proof), "LD_LIBRARY_PATH": str(tmp_path)}

    done = watch([LAUNCHER], tmp_path, "/usr/bin/env", "-0", **variables)

    assert not proof.exists()
    assert done.returncode == 0, done.stderr
    got = dict(one.split("=", 1) for one in done.stdout.split("\0") if one)
    assert got == {"PATH": PATH, **variables}


@pytest.mark.parametrize("name", ["PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"])
def test_root_is_told_of_another_python(tmp_path: Path, name: str) -> None:
    done = watch(EGRESSMON, tmp_path, "touch", "ran", **{name: sys.executable})

    assert done.returncode == 125
    assert f"{name} is set, which Python reads even when isolated" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("entry", [(LAUNCHER,), EGRESSMON], ids=["launcher", "python"])
def test_an_empty_environment_stays_empty(
    tmp_path: Path, entry: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [*entry, "watch", "--quiet", "--evidence", "e", "--", "/usr/bin/env"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_the_command_gets_no_locale_that_the_caller_did_not_set(
    tmp_path: Path,
) -> None:
    done = watch([LAUNCHER], tmp_path, "/usr/bin/env")

    assert done.stdout == f"PATH={PATH}\n"


# What the loader reads before any first line is set for the command alone, too.
def test_a_library_path_is_the_commands_alone(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    source = tmp_path / "evil.c"
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void ran(void)\n"
        f'{{ FILE *file = fopen("{proof}", "w"); if (file) fclose(file); }}\n'
    )
    for name in ("libbpf.so.1", "libbpf.so.0"):
        words = ["gcc", "-shared", "-fPIC", "-o", str(tmp_path / name), str(source)]
        subprocess.run(words, check=True)
    show = 'echo "$LD_LIBRARY_PATH"'

    done = watch([LAUNCHER], tmp_path, "sh", "-c", show, LD_LIBRARY_PATH=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}\n"
    assert not proof.exists()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def built(wheel: Path) -> Generator[Path]:
    """A virtual environment with the wheel, that is root's."""
    folder = Path(tempfile.mkdtemp(prefix="egressmon-venv-"))
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [f"{folder}/bin/python", "-m", "pip", "-q", "install", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def venv(built: Path) -> Generator[Path]:
    """As `built`, with owners and modes put back afterwards."""
    yield built
    subprocess.run(["chown", "-R", "0:0", built], check=True)
    subprocess.run(["chmod", "-R", "go-w", built], check=True)


def packages(venv: Path) -> Path:
    (folder,) = venv.glob("lib/python3*/site-packages")
    return folder


def test_a_virtual_environment_of_roots_runs(venv: Path, tmp_path: Path) -> None:
    done = watch([str(venv / "bin/egressmon")], tmp_path, "true")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("what", "mode", "says"),
    [
        (".", None, f"belongs to uid {NOBODY}"),
        ("pyvenv.cfg", None, f"belongs to uid {NOBODY}"),
        ("lib", 0o775, "can be written by gid 0"),
        ("lib/*/site-packages", 0o775, "can be written by gid 0"),
        ("lib/*/site-packages", 0o757, "can be written by everybody"),
        ("lib/*/site-packages/egressmon/cli/main.py", None, f"belongs to uid {NOBODY}"),
        (
            "lib/*/site-packages/egressmon/probes/programs/*/*.o",
            0o664,
            "can be written by gid 0",
        ),
        ("lib/*/site-packages/orjson/__init__.py", None, f"belongs to uid {NOBODY}"),
        ("lib/*/site-packages/orjson", 0o777, "can be written by everybody"),
        ("bin", None, f"belongs to uid {NOBODY}"),
    ],
)
def test_root_refuses_code_that_another_can_write(
    venv: Path, tmp_path: Path, what: str, mode: int | None, says: str
) -> None:
    for path in [venv] if what == "." else [*venv.glob(what)]:
        if mode is None:
            os.chown(path, NOBODY, NOBODY)
        else:
            path.chmod(mode)

    done = watch([str(venv / "bin/egressmon")], tmp_path, "touch", "ran")

    assert done.returncode == 125, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: root would run code that others can change: ")
    assert says in lines[0]
    assert "`egressmon install`" in lines[1]
    assert not (tmp_path / "ran").exists()


def test_a_link_of_another_in_the_path_is_refused(venv: Path, tmp_path: Path) -> None:
    link = tmp_path / "venv"
    link.symlink_to(venv)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    (packages(venv) / "more.pth").write_text(f"{link}/lib\n")

    done = watch([str(venv / "bin/egressmon")], tmp_path, "true")
    (packages(venv) / "more.pth").unlink()

    assert done.returncode == 125
    assert f"{link} belongs to uid {NOBODY}" in done.stderr


def test_a_sticky_folder_of_all_is_fine_if_what_is_in_it_is_roots(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    file = folder / "file"
    file.touch(0o644)

    folder.chmod(0o777)
    assert obstacle(str(file)) == f"{folder} can be written by everybody"
    folder.chmod(0o1777)
    assert obstacle(str(file)) == ""
    os.chown(file, NOBODY, NOBODY)
    assert obstacle(str(file)) == f"{file} belongs to uid {NOBODY}"
    os.chown(folder, NOBODY, NOBODY)
    assert obstacle(str(folder / "not there")) == f"{folder} belongs to uid {NOBODY}"


# acl_xattr(5): version 2, then tag, rights and id of each entry.
def test_rights_of_an_acl_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o644)
    whoever, everything = 0xFFFFFFFF, 7
    entries = [(1, 6, whoever), (2, everything, NOBODY), (4, 4, whoever)]
    entries += [(16, everything, whoever), (32, 4, whoever)]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)

    os.setxattr(file, "system.posix_acl_access", struct.pack("<I", 2) + packed)

    assert obstacle(str(file)) == f"{file} can be written by gid 0"


@pytest.fixture(scope="module")
def someone() -> Generator[User]:
    with user() as one:
        yield one


# A user's own environment with a line in it that the watched command planted.
@pytest.fixture
def planted(someone: User, wheel: Path) -> Path:
    folder = someone.home / "venv"
    if not folder.exists():
        shutil.copy(wheel, someone.folder)
        ours = someone.folder / wheel.name
        for words in (
            ["/usr/bin/python3", "-m", "venv", str(folder)],
            [f"{folder}/bin/python", "-m", "pip", "-q", "install", str(ours)],
        ):
            done = someone.run(*words)
            assert done.returncode == 0, done.stderr
        proof = f"{someone.home}/proof"
        line = f"import os; os.getuid() or open({proof!r}, 'w').close()\n"
        (packages(folder) / "zz.pth").write_text(line)
        someone.own(folder)
    return folder


def test_what_a_command_planted_never_runs_as_root(
    someone: User, planted: Path
) -> None:
    done = someone.run(str(planted / "bin/egressmon"), "watch", "--", "touch", "ran")

    assert done.returncode == 125
    assert "root would run code that others can change" in done.stderr
    assert f"belongs to uid {NOBODY}" in done.stderr
    assert "`egressmon install`" in done.stderr
    assert not (someone.home / "ran").exists()
    assert not (someone.home / "proof").exists()


def test_what_is_called_sudo_on_the_path_is_not_asked(
    someone: User, planted: Path
) -> None:
    folder = someone.home / "fake"
    folder.mkdir()
    (folder / "sudo").write_text("#!/bin/sh\ntouch asked\n")
    (folder / "sudo").chmod(0o755)

    install(someone, planted)
    done = someone.run(
        *(str(planted / "bin/egressmon"), "watch", "--", "id", "-u"),
        environment={"PATH": f"{folder}:{PATH}"},
    )

    assert done.stdout == f"{NOBODY}\n", done.stderr
    assert not (someone.home / "asked").exists()


def install(someone: User, planted: Path) -> str:
    done = someone.run(str(planted / "bin/egressmon"), "install")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "/opt/egressmon/bin/egressmon\n"
    return done.stderr


# Afterwards the user's own `egressmon` hands over to what root owns.
def test_install_makes_one_that_only_root_can_write(
    someone: User, planted: Path
) -> None:
    said = install(someone, planted)
    again = install(someone, planted)

    done = someone.run(str(planted / "bin/egressmon"), "watch", "--", "id", "-u")

    assert done.stdout == f"{NOBODY}\n", done.stderr
    assert not (someone.home / "proof").exists()
    assert said == "" or "sha256 " in said  # another test may have been first
    assert again == ""
    assert len([*someone.opt.glob("*/installed.json")]) == 1
    itself = someone.run("/opt/egressmon/bin/egressmon", "install")
    assert itself.stdout == "/opt/egressmon/bin/egressmon\n", itself.stderr
    assert len([*someone.opt.glob("*/installed.json")]) == 1
    writable = ["!", "-uid", "0", "-o", "!", "-type", "l", "-perm", "/022"]
    written = subprocess.run(
        ["find", someone.opt, *writable, "-print", "-quit"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert written.stdout == ""


def test_nothing_of_the_folder_runs_through_sudo(someone: User, planted: Path) -> None:
    install(someone, planted)
    folder = someone.home / "project"
    folder.mkdir()
    plant(folder, someone.home / "proof")
    someone.own(folder)

    done = someone.run(
        *("/opt/egressmon/bin/egressmon", "watch", "--evidence", "e.jsonl"),
        *("--", "/usr/bin/env"),
        cwd=folder,
        environment={"PYTHONPATH": str(folder), "PYTHONINSPECT": "1"},
    )

    assert not (someone.home / "proof").exists()
    assert done.returncode == 0, done.stderr
    assert f"PYTHONPATH={folder}\n" in done.stdout
    assert "LC_CTYPE" not in done.stdout
    assert read_evidence(folder / "e.jsonl")[-1]["verdict"] == "clean"
    strange = [one for one in folder.rglob("*") if one.stat().st_uid != NOBODY]
    assert strange == []


# Where sudo resets nothing, what it starts must not find another Python either.
@pytest.mark.parametrize("called", [(), ("sudo", "-n")], ids=["itself", "sudo"])
def test_no_other_python_goes_through_sudo(
    someone: User, planted: Path, called: tuple[str, ...]
) -> None:
    install(someone, planted)
    folder = Path(tempfile.mkdtemp(dir=someone.home))
    proof = folder / "proof"
    variables = own_python(folder, proof)
    someone.own(folder)
    sudoers = someone.folder / "sudoers"
    before = sudoers.read_text()
    sudoers.chmod(0o640)
    sudoers.write_text(f"Defaults !env_reset\n{before}")
    sudoers.chmod(0o440)

    words = [*called, "/opt/egressmon/bin/egressmon", "watch", "--quiet"]
    done = someone.run(*words, "--", "/usr/bin/env", environment=variables)
    sudoers.write_text(before)

    ran = proof.read_text().split() if proof.exists() else []
    assert "0" not in ran
    assert done.returncode == 0, done.stderr
    assert f"PYTHONEXECUTABLE={variables['PYTHONEXECUTABLE']}\n" in done.stdout


def test_python_m_of_a_user_isolates_itself(someone: User, planted: Path) -> None:
    install(someone, planted)
    python = str(planted / "bin/python")

    done = someone.run(python, "-m", "egressmon", "watch", "--", "id", "-u")

    assert done.stdout == f"{NOBODY}\n", done.stderr


def as_root(someone: User, wheel: Path, sha256: str, offered: Path) -> str:
    words = ["/usr/bin/python3", "-I", "-S", "-c", BOOTSTRAP, str(wheel), sha256]
    done = someone.run("sudo", "-n", *words, str(offered))
    assert done.returncode != 0
    return done.stderr


def test_a_wheel_exchanged_on_the_way_to_root_is_refused(
    someone: User, wheel: Path, tmp_path: Path
) -> None:
    before = sorted(someone.opt.iterdir())

    said = as_root(someone, wheel, "0" * 64, tmp_path)

    assert said == "error: the wheel is not the one that was to be installed\n"
    assert sorted(someone.opt.iterdir()) == before


def test_a_dependency_that_the_lock_file_does_not_name_is_refused(
    someone: User, wheel: Path
) -> None:
    data = wheel.read_bytes() + b"\0"  # another digest, and so another installation
    other = someone.home / wheel.name
    other.write_bytes(data)
    offered = someone.home / "offered"
    offered.mkdir()
    (offered / "rich-99-py3-none-any.whl").write_bytes(b"not rich")
    before = sorted(one for one in someone.opt.iterdir() if one.name != "lock")

    said = as_root(someone, other, hashlib.sha256(data).hexdigest(), offered)

    assert "rich-99-py3-none-any.whl is not what the lock file names" in said
    after = sorted(one for one in someone.opt.iterdir() if one.name != "lock")
    assert after == before


# The two commands of the README, and what a command can do about the next run.
def test_a_checkout_is_installed_once_and_not_again_unasked() -> None:
    with user() as someone:
        checkout = someone.home / "egressmon"
        left_out = (".venv", ".git", ".egressmon", "__pycache__", "*.bpf.o", ".*_cache")
        shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(*left_out))
        someone.own(checkout)
        run = str(checkout / "scripts/egressmon")

        first = someone.run(run, "watch", "--", "id", "-u")

        assert first.stdout == f"{NOBODY}\n", first.stderr
        assert "egressmon: installing for root, in /opt/egressmon" in first.stderr
        (made,) = someone.opt.glob("*/installed.json")

        changed = checkout / "monitor/egressmon/cli/main.py"
        changed.write_text(changed.read_text() + "# changed\n")
        second = someone.run(run, "watch", "--", "touch", "ran")

        assert second.returncode == 125
        assert "error: this checkout is not what is installed for root" in second.stderr
        assert "`./scripts/egressmon install`" in second.stderr
        assert [*someone.opt.glob("*/installed.json")] == [made]
        assert not (someone.home / "ran").exists()

        asked = someone.run(run, "install")

        assert asked.returncode == 0, asked.stderr
        assert len([*someone.opt.glob("*/installed.json")]) == 2
        last = someone.run(run, "watch", "--quiet", "--", "id", "-u")
        assert last.stdout == f"{NOBODY}\n", last.stderr
        left = [one for one in checkout.rglob("*") if one.lstat().st_uid != NOBODY]
        assert left == []


# A checkout of another's: root neither sets it up nor runs it.
def test_root_sets_nothing_up_in_anothers_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "egressmon"
    for name in ("scripts", "monitor", "pyproject.toml", "probes"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        checkout.mkdir(exist_ok=True)
        copy(source, checkout / name)
    subprocess.run(["chown", "-R", str(NOBODY), checkout], check=True)

    done = watch([str(checkout / "scripts/egressmon")], tmp_path, "touch", "ran")

    assert done.returncode == 125
    assert "root would run code that others can change" in done.stderr
    assert not (checkout / ".venv").exists()
    assert not (tmp_path / "ran").exists()
