"""The script that runs real test suites: what it reads, and how it compares."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import matching
import outcomes
import straced
import suites
import told
from catalogue import SUITES
from matching import Truth
from measuring import busy_s
from preparing import BUILD, requirements
from straced import Connect
from told import Connection

TEST = "tests/test_a.py::test_b[1] (call)"
FRAMES = (("connect", "/a/client.py", 3), ("test_b", "/a/test_a.py", 7))


@pytest.mark.parametrize(
    ("line", "connect"),
    [
        (
            (
                "1.5 connect(7<TCP:[991]>, {sa_family=AF_INET, sin_port=htons(80),"
                ' sin_addr=inet_addr("127.0.0.1")}, 16) = 0'
            ),
            Connect(5, "127.0.0.1", 80),
        ),
        (
            (
                "1.5 connect(7<TCPv6:[991]>, {sa_family=AF_INET6, sin6_port=htons(443),"
                " sin6_flowinfo=htonl(0), inet_pton(AF_INET6,"
                ' "::ffff:127.0.0.2", &sin6_addr), sin6_scope_id=0}, 28)'
                " = -1 EINPROGRESS (Operation now in progress)"
            ),
            Connect(5, "127.0.0.2", 443),
        ),
        (
            (
                "1.5 connect(7<TCP:[127.0.0.1:5->127.0.0.1:80]>, {sa_family=AF_INET,"
                ' sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0'
            ),
            None,  # it was interrupted by a signal, and is called again
        ),
        (
            (
                "1.5 connect(7<UDP:[991]>, {sa_family=AF_INET, sin_port=htons(53),"
                ' sin_addr=inet_addr("127.0.0.1")}, 16) = 0'
            ),
            None,
        ),
        (
            (
                "1.5 connect(7<UNIX-STREAM:[1->2]>, {sa_family=AF_UNIX,"
                ' sun_path="/run/x"}, 9) = 0'
            ),
            None,
        ),
        (
            (
                "1.5 connect(7<TCP:[991]>, {sa_family=AF_INET, sin_port=htons(1),"
                ' sin_addr=inet_addr("0.0.0.0")}, 16) = -1 ECONNREFUSED (x)'
            ),
            Connect(5, "127.0.0.1", 1),
        ),
        ("1.5 +++ exited with 0 +++", None),
    ],
)
def test_only_tcp_connects_that_reach_the_kernel_count(
    line: str, connect: Connect | None
) -> None:
    assert straced.parse(line, 5) == connect


def test_strace_leaves_a_file_for_each_thread(tmp_path: Path) -> None:
    line = (
        "1.5 connect(7<TCP:[991]>, {sa_family=AF_INET, sin_port=htons(80),"
        ' sin_addr=inet_addr("127.0.0.1")}, 16) = 0\n'
    )
    (tmp_path / "trace.12").write_text(line * 2)
    (tmp_path / "trace.7").write_text("1.6 +++ exited with 0 +++\n")

    assert list(straced.read(tmp_path)) == [Connect(12, "127.0.0.1", 80)] * 2


REPORT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="test_one"/>
<testcase classname="tests.test_a" name="test_two"><failure>x</failure></testcase>
<testcase classname="tests.test_a" name="test_two"><properties/></testcase>
<testcase classname="tests.test_a" name="test_three"><skipped/></testcase>
<testcase classname="tests.test_a" name="test_four">
<failure/><error/><system-out/></testcase>
</testsuite></testsuites>"""


def test_each_test_has_its_outcome() -> None:
    found = outcomes.parse(REPORT)

    assert found["tests.test_a::test_two"] == ["failed", "passed"]
    assert outcomes.counts(found) == {"passed": 2, "failed": 2, "skipped": 1}


def test_a_test_changed_if_no_bare_run_had_its_outcome() -> None:
    bare = [{"a": ["passed"], "b": ["passed"]}, {"a": ["passed"], "b": ["failed"]}]

    assert outcomes.unsteady(bare) == ["b"]
    assert outcomes.changed(bare, [{"a": ["passed"], "b": ["failed"]}]) == []
    assert outcomes.changed(bare, [{"a": ["failed"], "b": ["failed"]}]) == ["a"]
    assert outcomes.changed(bare, [{"a": ["passed"]}]) == ["b"]
    assert outcomes.changed(bare, [*bare, {**bare[0], "c": ["passed"]}]) == ["c"]


def connection_record(**fields: object) -> str:
    code = {
        "language": "python",
        "test": TEST,
        "test_confirmed": True,
        "stack": {"digest": "d1"},
    }
    record = {
        "type": "connection",
        "op": "connect",
        "protocol": "tcp",
        "time": "2026-11-27T12:00:00.000000001Z",
        "dst": {"ip": "127.0.0.1", "port": 80},
        "process": {"pid": 4, "tid": 5},
        "verdict": "local",
        "code": code,
    }
    return json.dumps({**record, **fields})


STACK = json.dumps(
    {
        "type": "stack",
        "digest": "d1",
        "names": ["connect", "/a/client.py", "test_b", "/a/test_a.py"],
        "frames": [[0, 1, 3], [2, 3, 7]],
        "left_out": 0,
    }
)
END = json.dumps({"type": "run.end", "complete": True, "incomplete_reasons": []})
CONNECTION = Connection(
    connect=Connect(5, "127.0.0.1", 80),
    time_ns=1795780800_000000001,
    verdict="local",
    language="python",
    test=TEST,
    confirmed=True,
    frames=FRAMES,
)
TRUTH = Truth(time_ns=1795780800_000000000, tid=5, port=80, test=TEST, frames=FRAMES)


def test_evidence_is_read_with_its_stacks() -> None:
    others = [
        connection_record(op="accept"),
        connection_record(protocol="udp"),
        connection_record(process=None),
    ]

    found = told.parse([STACK, connection_record(), *others, END])

    assert found.connections == [CONNECTION]
    assert found.end["complete"]


def test_evidence_without_an_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="no end"):
        told.parse([STACK])


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        ("a\\\\b", "a\\b"),
        ("\\x1b\\u202e\\U0001f600", "\x1b\u202e\U0001f600"),
        ("\\n\\t\\\\x41", "\n\t\\x41"),
    ],
)
def test_escapes_of_the_evidence_are_undone(escaped: str, text: str) -> None:
    assert told.unescaped(escaped) == text


def test_a_connect_that_the_evidence_lacks_is_missing() -> None:
    connect = CONNECTION.connect

    assert matching.missing([connect] * 3, [CONNECTION]) == [connect] * 2
    assert matching.missing([connect], [CONNECTION, CONNECTION]) == []


@pytest.mark.parametrize(
    ("truth", "named", "kind"),
    [
        (TEST, TEST, "same"),
        (None, None, "same"),
        (TEST, "tests/test_a.py::test_b (call)", "no parameters"),
        (TEST, None, "not named"),
        (TEST, "tests/test_a.py::test_b[2] (call)", "other"),
        (TEST, "tests/test_a.py::test_b (setup)", "other"),
        (None, TEST, "other"),
    ],
)
def test_how_a_named_test_fits(truth: str | None, named: str | None, kind: str) -> None:
    assert matching.test_kind(truth, named) == kind


def test_what_is_right_is_counted_and_what_is_not_is_told() -> None:
    elsewhere = replace(CONNECTION, connect=Connect(6, "127.0.0.1", 80))
    moved = replace(CONNECTION, frames=(("connect", "/a/client.py", 4), FRAMES[1]))

    right = matching.compare([TRUTH], [CONNECTION, elsewhere])
    wrong = matching.compare([TRUTH, TRUTH], [moved, replace(CONNECTION, test=None)])

    assert (right.compared, right.stacks, right.tests["same"]) == (1, 1, 1)
    assert (right.unpaired_connections, right.differences) == (1, [])
    assert (wrong.compared, wrong.stacks) == (2, 1)
    assert [one["test_told"] for one in wrong.differences] == [TEST, None]


def test_calls_that_made_no_connection_are_passed_over() -> None:
    times = [1_000_000_000, 2_000_000_000, 3_000_000_000]
    truths = [replace(TRUTH, time_ns=time, test=str(time)) for time in times]
    made = [replace(CONNECTION, time_ns=time + 5_000) for time in (times[0], times[2])]

    pairs = list(matching.pairs(made, truths))

    assert [truth and truth.time_ns for _, truth in pairs] == [times[0], times[2]]


def test_names_that_were_cut_in_the_evidence_are_the_same() -> None:
    long = [("f" * 300, "/" + "d" * 300, 1)]

    assert matching.same_frames(long, [("f" * 255 + "…", "…" + "d" * 255, 1)])
    assert not matching.same_frames(long, [("g…", "…" + "d" * 255, 1)])
    assert not matching.same_frames(long, [])


def test_idle_processors_are_not_busy() -> None:
    ticks = "cpu  100 0 50 9999 9999 25 25 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"

    assert busy_s(ticks) == pytest.approx(2.0)  # pyright: ignore[reportUnknownMemberType]


def test_every_suite_is_pinned_with_hashes() -> None:
    for suite in SUITES.values():
        assert len(suite.sha256) == 64
        assert "--hash=sha256:" in requirements(suite).read_text()
    assert "--hash=sha256:" in BUILD.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "no suite 'nothing': there are requests"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_bad_usage_is_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        suites.main(arguments, [])

    assert caught.value.code == 2
    assert says in capsys.readouterr().err
