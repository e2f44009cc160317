"""`egressmon inspect` as a process: what it finds in real environments, its forms."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.test_cli import run
from support.native import built
from support.watching import EGRESSMON
from support.wheels import environment_with

ROOT = Path(__file__).parents[2]
CONNECTS = "int connect(int, void *, int); int f(void *a) { return connect(1, a, 16); }"
HOSTILE = "evil\x1b[31m\u202e##vso[task]\n::error::"

# What native code is in which wheel (scripts/requirements/inspected.txt), and whether
# it could surely open connections: by each library that is in the wheel.
EXPECTED = {
    "grpcio": {"cygrpc": ("yes", ["imports connect, getaddrinfo", "holds gRPC"])},
    "psycopg-binary": {
        "libpq": ("yes", ["imports connect, getaddrinfo", "is named as libpq"]),
        "libcrypto": ("yes", ["imports connect", "holds OpenSSL 3."]),
        "libssl": ("maybe", ["is named as libssl"]),
        "libldap": ("yes", ["imports connect", "defines functions of OpenLDAP"]),
        "libkrb5": ("yes", ["imports connect"]),
        "libkrb5support": ("yes", ["imports getaddrinfo"]),
        "libgssapi_krb5": ("maybe", ["is named as libgssapi_krb5"]),
        "libsasl2": ("yes", ["imports connect"]),
        "libk5crypto": ("maybe", ["imports syscall"]),
    },
    "pycurl": {
        "libcurl": ("yes", ["imports connect, getaddrinfo", "holds libcurl "]),
        "libcrypto": ("yes", ["imports connect", "holds OpenSSL 3."]),
        "libssl": ("maybe", ["defines functions of OpenSSL"]),
        "libnghttp2": ("maybe", ["defines functions of nghttp2"]),
        "libnghttp3": ("maybe", ["is named as libnghttp3"]),
        "libngtcp2": ("maybe", ["is named as libngtcp2"]),
        "libssh2": ("yes", ["imports connect"]),
        "libkrb5": ("yes", ["imports connect"]),
        "libkrb5support": ("yes", ["imports getaddrinfo"]),
        "libgssapi_krb5": ("maybe", ["is named as libgssapi_krb5"]),
    },
    "pyzmq": {"libzmq": ("yes", ["imports connect, getaddrinfo", "of libzmq"])},
    "uvloop": {"loop": ("yes", ["imports connect", "io_uring_setup", "holds libuv"])},
}
IMPORTED = {
    "grpcio": {"grpc"},
    "psycopg-binary": {"psycopg_binary"},
    "pycurl": {"curl", "pycurl"},
    "pyzmq": {"zmq"},
    "uvloop": {"uvloop"},
}


@pytest.fixture(scope="module")
def wheels() -> Path:
    return environment_with("inspected")


def asked(*words: str) -> dict[str, Any]:
    done = run("inspect", "--format", "json", *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_wheels_of_well_known_clients(wheels: Path) -> None:
    found = asked("--python", str(wheels))

    assert found["complete"]
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for one in found["findings"]:
        assert one["manager"] == "python"
        name = Path(one["file"]).name.partition("-")[0].partition(".")[0]
        rows.setdefault(one["package"], {})[name] = one
        assert set(one["imports"]) == IMPORTED[one["package"]]
    # So aiohttp, frozenlist, multidict, propcache, yarl: parsers, and no connections.
    assert rows.keys() == EXPECTED.keys()
    for package, files in EXPECTED.items():
        assert rows[package].keys() == files.keys(), package
        for name, (sure, texts) in files.items():
            row = rows[package][name]
            why = "; ".join(one["what"] for one in row["why"])
            assert ("yes" if row["sure"] else "maybe") == sure, (package, name, why)
            for text in texts:
                assert text in why, (package, name, why)


# Rust's library calls syscall() for randomness and waiting: none of these is listed
# (blake3, orjson, pydantic_core, rpds, …).
def test_the_environment_that_the_checks_run_in() -> None:
    found = asked("--python", sys.prefix)

    assert found["complete"]
    assert {one["package"]: one["sure"] for one in found["findings"]} == {
        "cryptography": True,  # with an OpenSSL of its own
        "ruff": False,
        "uv": True,
    }


def test_what_the_policy_does_not_list_is_a_finding(
    wheels: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "egress.toml"
    names = ["grpcio", "psycopg_binary", "pycurl", "pyzmq", "uvloop"]
    entries = [
        f'[[native.allow]]\npackage = "{name}"\nreason = "reviewed"\n' for name in names
    ]
    policy.write_text("version = 1\n" + "".join(entries))
    words = ("inspect", "--python", str(wheels), "--policy", str(policy))

    assert run("policy", "check", "--strict", str(policy)).returncode == 0
    assert run(*words).returncode == 0
    policy.write_text("version = 1\n" + "".join(entries[1:]).replace("uvloop", "uvlop"))
    done = run(*words)
    assert done.returncode == 1
    assert done.stderr == "egressmon: inspect: allowed, but not found: uvlop\n"
    assert "not in native.allow: 2 files\n" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[native]\nallow = ["grpcio"]\n', "native.allow[0]: not a table"),
        ("[native]\nalow = []\n", "native.alow: unknown key"),
        ('[[native.allow]]\npackage = "a"\n', "native.allow[0].reason: missing"),
        ('[[native.allow]]\nreason = "a"\n', "package and file are both missing"),
    ],
)
def test_a_wrong_policy_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "egress.toml").write_text(f"version = 1\n{text}")

    done = run("inspect", "--policy", "egress.toml", ".", cwd=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr


def test_import_linter_takes_the_contract(wheels: Path, tmp_path: Path) -> None:
    words = ("inspect", "--format", "import-linter", "--root-package", "ours")
    written = run(*words, "--python", str(wheels))
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/__init__.py").write_text("import json\n")
    (tmp_path / "contract.toml").write_text(written.stdout)

    assert _linted(tmp_path) == 0
    (tmp_path / "ours/calls.py").write_text("from grpc import aio\n")
    assert _linted(tmp_path) == 1


def _linted(folder: Path) -> int:
    program = Path(sys.executable).with_name("lint-imports")
    words = [str(program), "--no-cache", "--config", "contract.toml"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        words, cwd=folder, env=environment, check=False, capture_output=True
    ).returncode


def test_a_contract_without_a_root_package_is_refused(tmp_path: Path) -> None:
    done = run("inspect", "--format", "import-linter", ".", cwd=tmp_path)

    assert done.returncode == 2
    assert "--root-package" in done.stderr


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    site = tmp_path / "lib/python3.11/site-packages"
    folder = site / "x-1.dist-info"
    folder.mkdir(parents=True)
    name = HOSTILE.replace("\n", "").replace(" ", "")
    (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1\x1b]0;x\x07\n\n")
    top = 'a"]\nforbidden = ["os'
    built(site / "library.so", CONNECTS)
    shutil.copy(site / "library.so", site / HOSTILE.replace("/", ""))
    (site / top).mkdir()
    shutil.copy(site / "library.so", site / top / "a.so")
    rows = [["library.so"], [HOSTILE], [f"{top}/a.so"]]
    quoted = ("".join(['"', row[0].replace('"', '""'), '",,\n']) for row in rows)
    (folder / "RECORD").write_text("".join(quoted))
    return tmp_path


@pytest.mark.parametrize("form", ["table", "json", "import-linter"])
def test_hostile_names_are_escaped_in_each_form(hostile: Path, form: str) -> None:
    words = ("inspect", "--format", form, "--root-package", "ours", str(hostile))
    done = run(*words)

    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert not [one for one in text if not one.isprintable() and one != "\n"]
    assert "##vso[" not in text
    assert not [one for one in text.splitlines() if one.lstrip().startswith("::")]
    if form == "json":
        assert len(json.loads(text)["findings"]) == 3
    if form == "import-linter":
        assert '"os"' not in text


@pytest.mark.parametrize("form", ["table", "json", "import-linter"])
def test_what_could_not_be_inspected_is_never_clean(tmp_path: Path, form: str) -> None:
    (tmp_path / "broken.so").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(60))
    words = ("inspect", "--format", form, "--root-package", "ours", ".")

    done = run(*words, cwd=tmp_path)

    assert done.returncode == 2
    assert "broken.so" in done.stdout


def test_a_folder_of_node_modules(tmp_path: Path) -> None:
    package = tmp_path / "node_modules/@scope/addon"
    built(package / "build/Release/addon.node", CONNECTS)
    (package / "package.json").write_text('{"name": "@scope/addon", "version": "1.0"}')

    (one,) = asked(str(tmp_path / "node_modules"))["findings"]

    assert (one["manager"], one["package"], one["version"]) == (
        "npm",
        "@scope/addon",
        "1.0",
    )
    assert one["why"] == [{"kind": "imports", "what": "imports connect", "sure": True}]


def test_nothing_of_what_is_inspected_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    interpreter = tmp_path / "venv/bin/python3"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(f"#!/bin/sh\ntouch {ran}\n")
    interpreter.chmod(0o755)
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    site = tmp_path / "venv/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (site / "x.pth").write_text(f"import os; os.mkdir({str(ran)!r})\n")

    done = run("inspect", "--python", str(interpreter))

    assert done.returncode == 0, done.stderr
    assert not ran.exists()


def test_the_active_environment_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\n")
    environment = {**os.environ, "VIRTUAL_ENV": str(tmp_path)}
    words = [*EGRESSMON, "inspect", "--format", "json"]

    done = subprocess.run(
        words, env=environment, check=False, capture_output=True, text=True
    )

    assert json.loads(done.stdout)["targets"] == [str(tmp_path)]
