"""Smaller parts of the guard: names, children, entries, and what must not be there."""

import ast
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import egressmon.guard
from egressmon.guard import callers, children, known
from egressmon.guard.decisions import Decision, entry_for
from egressmon.guard.known import Known

ROOM = Path(egressmon.guard.__file__).parent
TESTING = ROOM.parent / "testing"


def test_the_name_asked_for_last_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Known()
    now = 0.0
    monkeypatch.setattr("egressmon.guard.known.time.monotonic", lambda: now)
    for name in ("a.example", "b.example", "a.example"):
        names.learn(name, "192.0.2.7")

    assert names.of("192.0.2.7") == ("a.example", "b.example")
    assert names.of("192.0.2.8") == ()
    now = known.HOLDS_S + 1
    assert names.of("192.0.2.7") == ()


def test_the_guard_is_never_the_caller_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As in a wheel: its own files, and all others on the stack, are in a library.
    monkeypatch.setattr(callers, "_PACKAGES", (os.sep,))

    def ask() -> str | None:
        return callers.caller()

    with ThreadPoolExecutor(1) as pool:  # whose stack has nobody's own program below
        found = pool.submit(ask).result()

    assert found is not None
    assert found.startswith(f"{__file__}:")


def test_names_are_bounded() -> None:
    names = Known()
    for number in range(100):
        names.learn(f"n{number}.example", "192.0.2.7")
    for number in range(5000):
        names.learn("a.example", f"10.0.{number // 256}.{number % 256}")

    assert names.of("192.0.2.7") == ()
    assert names.of("10.0.19.0") == ("a.example",)


def child(program: str, *words: str, has_line: bool = True) -> str:
    arguments = (program, [program, *words], None, None)
    found = children.decision_of("subprocess.Popen", arguments, has_line=has_line)
    assert found is not None
    return found.verdict


def test_a_python_of_this_environment_inherits_the_line(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{sys.executable}\n")

    assert child(sys.executable, "-m", "x") == "guarded child"
    assert child(sys.executable, "-I", "x", "-S") == "guarded child"
    assert child(str(script)) == "guarded child"
    assert child(sys.executable, "-S", "x") == "unguarded child"
    assert child(sys.executable, "-IS", "x") == "unguarded child"
    assert child("/bin/true") == "unguarded child"
    assert child("/nonexistent") == "unguarded child"
    assert child(sys.executable, has_line=False) == "unguarded child"


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("os.system", (b"true",)),
        ("os.exec", ("/bin/true", ["true"], None)),
        ("os.posix_spawn", (b"/bin/true", [b"true"], None)),
        ("os.spawn", (os.P_WAIT, "/bin/true", ["true"], None)),
        ("pty.spawn", (["/bin/true"],)),
        ("subprocess.Popen", (None, "true", None, None)),
        ("ctypes.dlsym", (object(), "connect")),
        ("ctypes.dlsym/handle", (1, b"sendto")),
    ],
)
def test_what_the_guard_may_not_see_is_told_of(
    event: str, arguments: tuple[object, ...]
) -> None:
    found = children.decision_of(event, arguments, has_line=True)

    assert found is not None
    assert found.verdict in {"unguarded child", "unguarded call"}


def test_other_functions_of_c_are_not() -> None:
    arguments = (object(), "strlen")

    assert children.decision_of("ctypes.dlsym", arguments, has_line=True) is None


def decided(**changes: object) -> Decision:
    values: dict[str, object] = {
        "kind": "connect", "host": "192.0.2.7", "address": "192.0.2.7", "port": 8080,
        "protocol": "tcp", "verdict": "violation", "rule": None, "reason": "",
        "caller": None, "names": (),
    }  # fmt: skip
    return Decision(**(values | changes))  # type: ignore[arg-type]


def test_the_entry_that_would_allow_it_is_in_the_language_of_policies() -> None:
    assert entry_for(decided()).splitlines()[:3] == [
        "[[allow]]", 'cidr = "192.0.2.7"', "ports = [8080]"
    ]  # fmt: skip
    named = entry_for(decided(names=("a.example",), port=443, protocol="udp"))
    assert 'host = "a.example"' in named
    assert 'protocol = "udp"' in named
    looked_up = decided(kind="lookup", host="b.example", address=None, port=None)
    assert 'host = "b.example"' in entry_for(looked_up)


# No environment variable, no parameter and no constant widens anything.
def test_the_source_reads_no_environment_variable() -> None:
    for path in ROOM.glob("*.py"):
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert not names & {"environ", "environb", "getenv", "getenvb"}, path


def test_what_users_call_takes_no_boolean() -> None:
    tree = ast.parse((ROOM / "guard.py").read_text())
    cls = next(one for one in tree.body if isinstance(one, ast.ClassDef))
    for function in (one for one in cls.body if isinstance(one, ast.FunctionDef)):
        arguments = function.args
        for one in (*arguments.args, *arguments.kwonlyargs):
            assert one.annotation is None or "bool" not in ast.unparse(one.annotation)
        defaults = (*arguments.defaults, *arguments.kw_defaults)
        assert all(ast.unparse(one) == "None" for one in defaults if one is not None)


def test_only_the_fixture_opens_loopback() -> None:
    found = {
        path.relative_to(ROOM.parent)
        for folder in (ROOM.parent,)
        for path in folder.rglob("*.py")
        if "STATE.is_local =" in path.read_text()
    }

    assert found == {Path("testing/session.py")}
    text = (TESTING / "loopback.py").read_text()
    assert text.count("_GRANTED.set(") == 1


def test_a_python_under_another_name_finds_another_environment() -> None:
    calls: tuple[tuple[str, tuple[object, ...]], ...] = (
        ("os.spawn", (0, sys.executable, ["x", "u.py"], None)),
        ("os.exec", (sys.executable, ["x", "u.py"], {})),
        ("subprocess.Popen", (sys.executable, ["x", "u.py"], None, None)),
    )
    for event, arguments in calls:
        found = children.decision_of(event, arguments, has_line=True)
        assert found is not None
        assert found.verdict == "unguarded child", event
