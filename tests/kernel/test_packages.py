"""The Debian package runs on a clean Debian, and goes again without a rest."""

import json
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from support.roots import Root, root

pytestmark = [pytest.mark.userspace, pytest.mark.packages]

SCRIPTS = Path(__file__).parents[2] / "scripts"
HOME = "/usr/lib/egressmon"
LAUNCHER = f"{HOME}/bin/egressmon"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    words = [str(SCRIPTS / "build-deb"), "--python", "3.11", str(folder)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


# What the package depends on, and nothing else: no compiler, no pip, no sudo.
@pytest.fixture(scope="module")
def clean() -> Generator[Root]:
    with root("bookworm", ["python3.11", "libbpf1"]) as one:
        yield one


@pytest.fixture(scope="module")
def installed(package: Path, clean: Root) -> Root:
    done = clean.run("dpkg", "-i", clean.add(package))
    assert done.returncode == 0, done.stdout + done.stderr
    return clean


def test_the_package_is_as_debian_wants_it(package: Path) -> None:
    listed = subprocess.run(
        ["dpkg-deb", "--contents", str(package)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()

    for line in listed:
        mode, owner, *_ = line.split()
        assert owner == "root/root", line
        assert mode[0] == "l" or mode[5] == mode[8] == "-", line  # root alone writes
        assert not {*"sStT"} & {*mode}, line
    paths = [line.split()[5] for line in listed]
    assert not [path for path in paths if "/usr/local" in path or "__pycache__" in path]
    assert {"./usr/share/doc/egressmon/copyright", "./usr/bin/egressmon"} <= {*paths}


def test_the_same_checkout_gives_the_same_package(
    package: Path, tmp_path: Path
) -> None:
    words = [str(SCRIPTS / "build-deb"), "--python", "3.11", str(tmp_path)]
    subprocess.run(words, check=True, stdout=subprocess.PIPE)

    assert (tmp_path / package.name).read_bytes() == package.read_bytes()


def test_another_machines_package_has_its_own_libraries(tmp_path: Path) -> None:
    words = [str(SCRIPTS / "build-deb"), "--machine", "aarch64", str(tmp_path)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)

    package = done.stdout.strip()
    assert "_arm64-" in package
    content = subprocess.run(
        ["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True
    ).stdout
    assert "aarch64-linux-gnu.so" in content
    assert "x86_64-linux-gnu.so" not in content


@pytest.mark.parametrize(
    "words", [["--machine", "vax"], ["--python", "2"], ["--what"], ["--python"]]
)
def test_bad_usage_is_told(words: list[str]) -> None:
    done = subprocess.run(
        [str(SCRIPTS / "build-deb"), *words],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr


def test_doctor_finds_all_it_needs(installed: Root) -> None:
    done = installed.run("egressmon", "doctor")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout


def test_a_command_is_watched(installed: Root) -> None:
    done = installed.run(
        "egressmon", "watch", "--evidence", "/root/e.jsonl", "--", "true"
    )

    assert done.returncode == 0, done.stderr
    verified = installed.run("egressmon", "verify", "/root/e.jsonl")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_sidecar_is_started_and_concluded(installed: Root) -> None:
    place = ["--runtime", "/run/egressmon-test"]
    started = installed.run(
        *("egressmon", "sidecar", "--all", "--detach", "--json"), *place
    )
    assert started.returncode == 0, started.stderr
    token = json.loads(started.stdout)["token"]

    words = (
        f"echo {token} | egressmon sidecar stop --token-stdin --json {' '.join(place)}"
    )
    stopped = installed.run("sh", "-c", words)

    answer = json.loads(stopped.stdout)
    assert answer["concluded"], answer
    evidence = json.loads(started.stdout)["evidence"]
    verified = installed.run("egressmon", "verify", evidence)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_unit_starts_what_was_installed(installed: Root) -> None:
    unit = installed.path / "usr/lib/systemd/system/egressmon-sidecar.service"

    assert f"ExecStart={LAUNCHER} sidecar --all" in unit.read_text()
    shown = installed.run("egressmon", "sidecar", "install-service", "--print")
    assert shown.stdout == unit.read_text()


def test_python_finds_the_package_alone(installed: Root) -> None:
    code = "import sys; print(sys.path, sys.prefix)"

    done = installed.run(f"{HOME}/bin/python", "-I", "-c", code)

    assert "dist-packages" not in done.stdout
    assert done.stdout.endswith(f" {HOME}\n")


# The last one, as the others need it.
def test_nothing_is_left_of_it(installed: Root) -> None:
    done = installed.run("dpkg", "-r", "egressmon")

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (installed.path / "usr/lib/egressmon").exists()
    assert installed.run("dpkg", "-P", "egressmon").returncode == 0
