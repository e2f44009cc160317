"""Hostile text, numbers and files: all is recorded, bounded, and nothing ends it."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from egressmon.evidence.gate import MAX_RECORD
from egressmon.faults import Faults
from egressmon.files.beginning import Beginning
from egressmon.probes.loaders.loading import load
from egressmon.sensor.scope import Scope, make_scope
from egressmon.sensor.sensor import Sensor
from support.lab import OTHER4
from support.watching import (
    EGRESSMON,
    ENGINE,
    LIMIT_S,
    WATCH,
    Json,
    Watched,
    frames_of,
    read_evidence,
    watch,
)

Watch = Callable[..., Watched]
PYTHON = sys.executable

LIBRARY = """
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

void go(void)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(9)};
	int made = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, "127.0.0.1", &peer.sin_addr);
	connect(made, (struct sockaddr *)&peer, sizeof(peer));
	close(made);
}
"""

# Four connections by the poisoned caller, then twenty like any other's.
CALLER = f"""
import ctypes, socket, sys
if sys.argv[1] == "lines":
    # A line table of our own (CPython's InternalDocs/code_objects.md): 180 bits.
    code = compile("import socket; socket.socket().connect_ex(('127.0.0.1', 9))",
                   "/srv/poison.py", "exec")
    far = bytes([0x40 | 63] * 30 + [1]) + bytes(3)
    entry = bytes([0x80 | 14 << 3 | 7]) + far
    code = code.replace(co_linetable=entry * 40)
    go = lambda: exec(code)
else:
    go = ctypes.CDLL(sys.argv[1]).go
for _ in range(4):
    go()
for _ in range(20):
    socket.create_connection(("{OTHER4}", 80), 5).close()
"""


def library(folder: Path) -> Path:
    """Compile LIBRARY into folder."""
    folder.mkdir(parents=True)
    target = folder / "m.so"
    words = ["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(target), "-"]
    subprocess.run(words, input=LIBRARY.encode(), check=True)
    return target


def poisoned_npm(folder: Path) -> Path:
    """A library in a Node package whose name is a lone surrogate."""
    made = library(folder / "node_modules/x")
    made.with_name("package.json").write_text(r'{"name": "\ud800", "version": "1"}')
    return made


def poisoned_dist_info(folder: Path) -> Path:
    """A library of a distribution whose folder's name is no UTF-8."""
    made = library(folder / "site-packages")
    record = os.fsencode(made.parent) + b"/ev\xffil-1.0.dist-info/RECORD"
    os.mkdir(os.path.dirname(record))  # noqa: PTH102, PTH120 -- bytes
    with open(record, "w", encoding="ascii") as file:  # noqa: PTH123 -- bytes
        file.write("m.so,,\n")
    return made


@pytest.mark.parametrize("poison", ["npm", "dist-info", "lines"])
def test_what_a_poisoned_caller_does_and_all_after_it_is_recorded(
    watched: Watch, tmp_path: Path, poison: str
) -> None:
    if poison == "npm":
        target = str(poisoned_npm(tmp_path))
    elif poison == "dist-info":
        target = str(poisoned_dist_info(tmp_path))
    else:
        target = "lines"

    run = watched(PYTHON, "-c", CALLER, target)

    reached = Counter(one["dst"]["ip"] for one in run.of("connection"))
    assert reached == {"127.0.0.1": 4, OTHER4: 20}
    assert run.end["complete"] is True
    assert run.of("unreadable") == []
    first = run.of("connection")[0]
    owner = first["module"]["caller"]["package"]
    if poison == "npm":
        assert owner == {"kind": "npm", "name": r"\ud800", "version": "1"}
    elif poison == "dist-info":
        assert owner["name"] == r"ev\xffil"
    else:
        assert (first["code"]["file"], first["code"]["line"]) == (
            "/srv/poison.py",
            None,
        )


DEEP = """
import socket, sys
sys.setrecursionlimit(5000)
def call():
    for _ in range(40):
        socket.socket().connect_ex(("127.0.0.1", 9))
def make(number):
    space = {"call": call}
    exec("def f(n, all):\\n  return all[n](n - 1, all) if n else call()", space)
    made = space["f"]
    made.__code__ = made.__code__.replace(
        co_filename="\\x9b" * 490 + str(number), co_name="n" * 500)
    return made
every = [make(number) for number in range(1000)]
every[999](999, every)
"""


def test_a_thousand_deep_frames_with_long_names_cost_little(
    watched: Watch, tmp_path: Path
) -> None:
    run = watched(PYTHON, "-c", DEEP)

    lines = (tmp_path / "evidence.jsonl").read_bytes().splitlines()
    sizes: dict[str, list[int]] = {}
    for line in lines:
        sizes.setdefault(json.loads(line)["type"], []).append(len(line))
    assert len(sizes["connection"]) == 40
    assert max(sizes["connection"]) < 8 << 10
    assert len(sizes["stack"]) <= 2
    assert max(sizes["stack"]) <= MAX_RECORD
    assert sum(map(len, lines)) < 40 * (8 << 10) + 2 * MAX_RECORD
    (stack, *_) = run.of("stack")
    assert len(stack["frames"]) + stack["left_out"] >= 1000
    assert run.of("connection")[0]["code"]["function"] == "call"


def test_marks_that_hide_or_reorder_reach_neither_file_nor_terminal(
    watched: Watch, tmp_path: Path
) -> None:
    evil = tmp_path / "\x9b31m\u202egpj.exe\u2066\u200f\u061c\u2028"
    evil.write_bytes(Path("/usr/bin/curl").read_bytes())
    evil.chmod(0o755)

    run = watched(str(evil), "-sS", f"http://{OTHER4}/", "-A", r"\x1b" "\u2029\\")

    content = (tmp_path / "evidence.jsonl").read_text("utf-8")
    assert all(line.isprintable() for line in content.splitlines())
    (connection,) = run.of("connection")
    name = r"\u009b31m\u202egpj.exe\u2066\u200f\u061c\u2028"
    assert connection["process"]["exe"] == f"{tmp_path}/{name}"
    assert connection["process"]["argv"][-1] == r"\\x1b\u2029\\"
    assert run.stderr.replace("\n", "").isprintable()


# Host name, working directory, policy, environment and arguments in other bytes.
HOST = """
import os, socket, sys
socket.sethostname(b"h\\xffst")
os.chdir(sys.argv[1])
os.environb[b"PYTEST_CURRENT_TEST"] = b"t\\xff.py::t (call)"
os.execv(sys.argv[2], [os.fsencode(word) for word in sys.argv[2:]])
"""


def test_a_place_that_is_no_utf_8_is_recorded(watched: Watch, tmp_path: Path) -> None:
    place = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(place)  # noqa: PTH102 -- bytes
    with open(place + b"/egress.toml", "w", encoding="ascii") as file:  # noqa: PTH123 -- bytes
        file.write('version = 1\nenforce = "report"\n')
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"

    run = watched(
        *(PYTHON, "-c", code, os.fsdecode(b"\xfe")),
        through=("unshare", "--uts", PYTHON, "-c", HOST, os.fsdecode(place)),
    )

    assert run.status == 0, run.stderr
    (start,) = run.of("run.start")
    shown = rf"{tmp_path}/caf\xe9"
    assert (start["host"], start["cwd"]) == (r"h\xffst", shown)
    assert start["policy"] == rf"{shown}/egress.toml"
    assert start["command"][-1] == r"\xfe"
    (connection,) = run.of("connection")
    assert connection["process"]["argv"][-1] == r"\xfe"
    assert connection["code"]["test"] == r"t\xff.py::t (call)"


VIOLATION = 'version = 1\nenforce = "fail"\n'
# What the command does to the file that it is named, before it ends.
CHANGES = {
    "replaced": "os.unlink(path); open(path, 'w').write('{}')",
    "removed": "os.unlink(path)",
    "moved": "os.rename(path, path + '.old')",
    "truncated": "os.truncate(path, 0)",
    "appended": "open(path, 'a').write('{}\\n')",
    "rewritten": "file = open(path, 'r+b'); file.seek(30); file.write(b'x')",
}


def tampered(folder: Path, change: str, policy: str | None = None) -> tuple[int, str]:
    """Run a command that changes its evidence; return the status and what was said."""
    path = folder / "e.jsonl"
    reach = "import socket; socket.socket().connect_ex(('192.0.2.9', 9))\n" * bool(
        policy
    )
    code = f"import os\npath = {str(path)!r}\n{reach}{change}\n"
    words = [*WATCH, "--evidence", str(path)]
    if policy is not None:
        (folder / "p.toml").write_text(policy)
        words += ["--policy", str(folder / "p.toml")]
    done = subprocess.run(
        [*words, "--", PYTHON, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=folder,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("change", CHANGES)
def test_evidence_that_the_command_changes_is_incomplete(
    tmp_path: Path, change: str
) -> None:
    status, said = tampered(tmp_path, CHANGES[change])

    assert status == 121
    assert "egressmon: incomplete" in said
    assert "the evidence file was changed by somebody else" in said
    if change in {"truncated", "appended", "rewritten"}:
        last = json.loads((tmp_path / "e.jsonl").read_bytes().splitlines()[-1])
        assert (last["type"], last["evidence"]) == ("run.end", "changed")
        assert last["verdict"] == "incomplete"


def test_a_violation_stays_one_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    status, said = tampered(tmp_path, CHANGES["replaced"], VIOLATION)

    assert status == 120
    assert "the evidence file was changed by somebody else" in said


def test_the_summary_names_records_and_head_of_an_untouched_file(
    tmp_path: Path,
) -> None:
    status, said = tampered(tmp_path, "pass")

    records = read_evidence(tmp_path / "e.jsonl")
    assert (status, records[-1]["evidence"]) == (0, "whole")
    assert f"({len(records)} records, head blake3:" in said
    assert (tmp_path / "e.jsonl").stat().st_mode & 0o777 == 0o640


def test_evidence_in_a_pipe_is_as_it_was(tmp_path: Path) -> None:
    words = [*WATCH, "--evidence", "-", "--", "true"]

    done = subprocess.run(words, check=False, capture_output=True, cwd=tmp_path)

    (tmp_path / "e.jsonl").write_bytes(done.stdout)
    records = read_evidence(tmp_path / "e.jsonl")
    assert done.returncode == 0
    assert records[-1]["evidence"] == "unchecked"


def test_a_full_file_is_said_and_the_counts_are_those_of_its_records(
    watched: Watch,
) -> None:
    code = (
        "import socket\n"
        "for _ in range(200): socket.socket().connect_ex(('192.0.2.9', 9))\n"
    )

    run = watched(
        *(PYTHON, "-c", code),
        policy='version = 1\n[[allow]]\ncidr = "192.0.2.0/24"\nports = [9]\n',
        options=("--evidence-limit", "60kB"),
    )

    assert run.status == 121, run.stderr
    made = Counter(one["verdict"] for one in run.of("connection"))
    assert 0 < made.total() < 200
    assert run.end["connections"] == made
    assert run.end["losses"]["left_out"] >= 200 - made.total()
    assert run.end["verdict"] == "incomplete"
    assert "the file reached its limit" in run.stderr
    missing = 200 - made.total()
    assert f"(200 connections: 200 allowed ({missing} of them not in the" in run.stderr


def test_a_violation_that_finds_no_room_is_one_all_the_same(watched: Watch) -> None:
    code = (
        "import socket\n"
        "for _ in range(200): socket.socket().connect_ex(('127.0.0.1', 9))\n"
        "socket.socket().connect_ex(('192.0.2.9', 666))\n"
    )

    run = watched(
        *(PYTHON, "-c", code),
        policy=VIOLATION,
        options=("--evidence-limit", "60kB"),
    )

    assert run.of("connection", verdict="violation") == []
    assert "violation" not in run.end["connections"]
    assert (run.end["verdict"], run.status) == ("violations", 120)
    assert "192.0.2.9:666/tcp" in run.stderr


# A step of the agent's that fails is put there for the test; the kernel is real.
FAULTY = """
import importlib, sys
module, name, method = sys.argv.pop(1).split(":")
kind = getattr(importlib.import_module(f"egressmon.{module}"), name)
whole, calls = getattr(kind, method), [0]
def fails(*given, **named):
    calls[0] += 1
    raise RuntimeError(f"put here for a test")
setattr(kind, method, fails)
from egressmon.cli.main import main
sys.exit(main())
"""
STEPS = [
    "attribution.stage:Attributor:on_mappings",
    "attribution.stage:Attributor:attribute",
    "attribution.stage:Attributor:wind_up",
    "runs.follow:Follower:linger",
    "runs.follow:Follower:outlived",
    "runs.follow:Follower:wait_for_exits",
    "runs.follow:Follower:until_command_ends",
    "sensor.intake:Intake:_read_ahead",
    "sensor.intake:Intake:start",
    "pipeline:Pipeline:finish",
    "sensor.sensor:Sensor:new_losses",
]


def faulty(folder: Path, step: str, *command: str) -> tuple[int, list[Json]]:
    """Watch command with an agent one of whose steps fails each time."""
    path = folder / "e.jsonl"
    words = [PYTHON, "-c", FAULTY, step, "watch", "--engine", ENGINE, "--evidence"]
    done = subprocess.run(
        [*words, str(path), "--", *command],
        check=False,
        capture_output=True,
        timeout=LIMIT_S,
        cwd=folder,
    )
    return done.returncode, read_evidence(path)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_is_a_doubt_and_the_next_ones_run(
    tmp_path: Path, step: str
) -> None:
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    # Stacks come in bursts: with these, the thread that reads ahead has work.
    many = f"{code}\nfor _ in range(3000): " + code.partition("; ")[2]

    status, records = faulty(
        tmp_path, step, PYTHON, "-c", many if "ahead" in step else code
    )

    end = records[-1]
    kinds = Counter(one["type"] for one in records)
    assert kinds["connection"] >= 1
    last = [one for one in records if one["type"] == "canary" and one["when"] == "end"]
    assert len(last) == 8
    assert all(one["seen"] for one in last)
    assert (end["type"], end["verdict"], status) == ("run.end", "incomplete", 121)
    doubts = [one for one in end["incomplete_reasons"] if "put here" in one]
    assert doubts
    assert all("failed" in one for one in doubts)


@pytest.mark.parametrize(
    ("step", "event"),
    [
        ("verdicts.queries:Queries:records", "dns"),
        ("attribution.processes:Processes:exited", "exit"),
        ("attribution.stage:Attributor:on_stack", "stack"),
    ],
)
def test_an_event_that_fails_is_recorded_and_the_next_ones_are_read(
    tmp_path: Path, step: str, event: str
) -> None:
    code = (
        "import socket, subprocess\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x' * 20, ('127.0.0.1', 53))\n"
        "subprocess.run(['/bin/true'])\n"
        "for _ in range(20): socket.socket().connect_ex(('127.0.0.1', 9))\n"
    )

    status, records = faulty(tmp_path, step, PYTHON, "-c", code)

    made = [one for one in records if one["type"] == "unreadable"]
    assert event in {one["event"] for one in made}
    assert {one["error"] for one in made} == {"RuntimeError"}
    ports = Counter(
        one["dst"]["port"] for one in records if one["type"] == "connection"
    )
    assert ports[9] == 20
    end = records[-1]
    assert end["losses"]["unreadable"] >= len(made) > 0
    assert (end["complete"], status) == (False, 121)


def descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def test_a_sensor_that_cannot_attach_leaves_nothing_open(tmp_path: Path) -> None:
    scope = make_scope()
    engine = load("auto")
    nowhere = Scope(scope.path, scope.fd, root=tmp_path / "nowhere")
    beginning = Beginning()
    before = descriptors()
    try:
        with (
            pytest.raises(FileNotFoundError),
            closing(Sensor(engine, nowhere, Faults(), callers=True)) as sensor,
        ):
            sensor.attach()

        assert descriptors() == before
    finally:
        beginning.close()
        engine.close()
        scope.remove()


RECIPE = Path(__file__).parents[3] / "docs/evidence.md"


def test_the_recipe_of_the_docs_says_who_connected(
    watched: Watch, tmp_path: Path
) -> None:
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    recipe = RECIPE.read_text().partition("```sh\n")[2].partition("```")[0]

    run = watched(PYTHON, "-c", code)
    done = subprocess.run(
        ["sh", "-c", recipe], cwd=tmp_path, check=True, capture_output=True
    )

    (made,) = run.of("connection")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        ["127.0.0.1", 9, made["process"]["exe"], made["module"]["caller"]["path"]]
    ]


def test_report_puts_all_back_that_is_written_once(
    watched: Watch, tmp_path: Path
) -> None:
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"

    run = watched(PYTHON, "-c", f"{code}\ndef f():\n  {code}\nf()")
    done = subprocess.run(
        [*EGRESSMON, "report", "evidence.jsonl"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )

    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(run.records)
    shown = [one for one in told if one["type"] == "connection"]
    for one, made in zip(shown, run.of("connection"), strict=True):
        one["code"]["stack"] = frames_of(one["code"]["stack"])
        for name in ("process", "module"):
            one[name].pop("digest")
            made[name].pop("digest", None)
        assert one == made


def test_a_watch_of_nothing_hostile_is_clean(tmp_path: Path) -> None:
    run = watch(tmp_path, "true")

    assert run.end["verdict"] == "clean"
    assert run.end["losses"]["unreadable"] == 0
