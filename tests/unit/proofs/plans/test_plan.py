"""A plan is read strictly: one line says what is wrong, and the hint what to write."""

from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.proofs.plans.file import LoadedPlan, load_plan, plan_of_command
from egressmon.sanitise.redaction import scan_text

EXAMPLES = Path(__file__).parents[4] / "docs/examples/plans"
TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
KEY = "akia" + "2" * 16
HOST = f"{KEY}.example.com"
PHASE = '[[phase]]\nname = "one"\nidle = "1s"\n'


def loaded(folder: Path, text: str, *overrides: str) -> LoadedPlan:
    path = folder / "plan.toml"
    path.write_text(text)
    return load_plan(str(path), list(overrides))


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/plan.toml")), ids=lambda path: path.parent.name
)
def test_the_examples_are_plans(path: Path) -> None:
    plan = load_plan(str(path), []).plan

    assert plan.runs == 3
    assert (path.parent / str(plan.policy)).exists()


def test_durations_and_defaults(tmp_path: Path) -> None:
    plan = loaded(tmp_path, "version = 1\n" + PHASE).plan

    assert (plan.runs, plan.phase[0].idle, plan.limits.stop) == (3, 1.0, 10.0)
    assert plan.agree == ["destinations", "packages", "routes", "resolvers"]


def test_nothing_expected_is_short_for_at_most_none(tmp_path: Path) -> None:
    plan = loaded(tmp_path, f'version = 1\n{PHASE}expect = "none"\n').plan

    ((name, expected),) = plan.expectations()
    assert (name, expected.destination, expected.at_most) == ("one", "any", 0)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "version = 1\nphases = 3\n" + PHASE,
            ":2: phases: unknown key",
            "phase is meant?",
        ),
        ("version = 2\n" + PHASE, ":1: version: not one of 1", "write version = 1"),
        ("version = 1\n", ":1: phase: missing", "docs/prove.md"),
        ("version = 1\nphase = []\n", ":2: phase: empty", "docs/prove.md"),
        (
            'version = 1\n[[phase]]\nname = "one"\nidel = "1s"\n',
            ":4: phase.one.idel: unknown key",
            "idle is meant?",
        ),
        (
            'version = 1\n[[phase]]\nname = "one"\nidle = 5\n',
            ":4: phase.one.idle: not a duration",
            "write 0s, 500ms",
        ),
        (
            'version = 1\n[[phase]]\nname = "one"\nidle = "soon"\n',
            ":4: phase.one.idle: 'soon' is no duration",
            "write 0s, 500ms",
        ),
        (
            'version = 1\n[[phase]]\nname = "one"\n',
            ":2: phase.one: a phase does one thing",
            "exactly one of command, request, idle",
        ),
        (
            'version = 1\n[[phase]]\nname = "stop"\nidle = "1s"\n',
            ":2: phase.stop: stop is a phase that every run has",
            "another name",
        ),
        (
            f"version = 1\n{PHASE}{PHASE}",
            ":1: two phase entries are called one",
            "a name of its own",
        ),
        (
            (
                'version = 1\n[[phase]]\nname = "a"\n'
                'wait_log = { process = "web", pattern = "x" }\n'
            ),
            ":1: phase a waits for an unknown process: web",
            "known: none",
        ),
        (
            f'version = 1\n{PHASE}[[process]]\nname = "p"\nargv = []\n',
            ":7: process.p.argv: empty",
            'write argv = ["python3", "app.py"]',
        ),
        (
            (
                f'version = 1\n{PHASE}[[process]]\nname = "p"\nargv = ["x"]\n'
                "ready = { port = 1, file = 'x' }\n"
            ),
            ":8: process.p.ready: it takes one condition",
            "exactly one of url, port, file and log",
        ),
        (
            (
                f'version = 1\n{PHASE}[[process]]\nname = "p"\nargv = ["x"]\n'
                "ready = { log = '^(a+)+$' }\n"
            ),
            ":8: process.p.ready.log: '^(a+)+$' is a regular expression",
            "write the text itself",
        ),
        (
            (
                'version = 1\n[[phase]]\nname = "a"\n'
                'request = { url = "https://example.org/" }\n'
            ),
            ":4: phase.a.request.url: 'https://example.org/' is no URL of a server",
            "write http://127.0.0.1:PORT/PATH",
        ),
        (
            (
                'version = 1\n[[phase]]\nname = "a"\n[phase.request]\n'
                'url = "http://127.0.0.1/"\nheaders = { X-Api-Key = "k" }\n'
            ),
            "phase.a.request: headers: 'X-Api-Key' holds a secret",
            'write X-Api-Key = { env = "NAME_OF_A_VARIABLE" }',
        ),
        (
            f'version = 1\n{PHASE}expect = [{{ destination = "http://x" }}]\n',
            ":5: phase.one.expect[0].destination: 'http://x' is no destination",
            "write HOST:PORT",
        ),
        (
            f'version = 1\n{PHASE}expect = [{{ destination = "x.org" }}]\n',
            ":5: phase.one.expect[0]: nothing is expected",
            "at_least or at_most",
        ),
        (
            f'version = 1\n{PHASE}[[probe]]\ndestination = "*.example.org:1"\n',
            ":6: probe[0].destination: '*.example.org:1' is not one destination",
            "write HOST:PORT",
        ),
        (
            f'version = 1\n{PHASE}expect = [{{ destination = "{HOST}:80" }}]\n',
            ".example.com' is masked in the evidence",
            "its address",
        ),
        (
            f'version = 1\n{PHASE}expect = [{{ destination = "*.{HOST}" }}]\n',
            ".example.com' is masked in the evidence",
            "its address",
        ),
        (
            f'version = 1\n{PHASE}[[probe]]\ndestination = "{HOST}:1"\n',
            ".example.com' is masked in the evidence",
            "its address",
        ),
        (
            f'version = 1\n[[phase]]\nname = "{KEY}"\nidle = "1s"\n',
            ":3: phase[0].name: '***",
            "write another name",
        ),
        (
            f'version = 1\n{PHASE}[[process]]\nname = "{KEY}"\nargv = ["x"]\n',
            ":6: process[0].name: '***",
            "write another name",
        ),
        (
            f'version = 1\n{PHASE}[[probe]]\ndestination = "192.0.2.1:1/sctp"\n',
            ":6: probe[0].destination: '192.0.2.1:1/sctp': no probe is of this",
            "write one of tcp, udp",
        ),
        ("version = 1\n[[phase\n", ":2: not TOML", "docs/prove.md"),
        (
            "runs = 0\nversion = 1\n" + PHASE,
            ":1: runs: Input should be greater",
            "runs = 3",
        ),
        (
            f'version = 1\nagree = ["hosts"]\n{PHASE}',
            ":2: agree[0]: not one of",
            'write "destinations"',
        ),
        (
            f'version = 1\n{PHASE}env = {{ K = "ghp_{"a1B2c3D4e5" * 3}F6g7H8" }}\n',
            ":5: a secret (",
            "variable of the environment",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize("kind", ["missing", "a folder", "a pipe", "too large"])
def test_what_is_no_file_is_no_plan(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "plan.toml"
    match kind:
        case "a folder":
            path.mkdir()
        case "a pipe":
            import os  # noqa: PLC0415

            os.mkfifo(path)
        case "too large":
            path.write_bytes(b"#" * (1 << 21))
        case _:
            pass

    with pytest.raises(UsageError, match=r"cannot be read|is no plan"):
        load_plan(str(path), [])


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("runs=2", "2"),
        ("phase.one.idle=5s", "5.0"),
        ('phase.one.idle="7s"', "7.0"),
        ("limits.run=1m", "60.0"),
        ("phase.0.idle=9s", "9.0"),
    ],
)
def test_a_value_is_changed_from_the_command_line(
    tmp_path: Path, override: str, found: str
) -> None:
    plan = loaded(tmp_path, "version = 1\n" + PHASE, override).plan

    values = str(plan.runs), str(plan.phase[0].idle), str(plan.limits.run)
    assert found in values


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("idle", "--set idle: no PATH=VALUE", "write --set PATH=VALUE"),
        (
            "phase.on.idle=1s",
            "--set phase.on.idle=1s: the plan has no phase.on",
            "one is",
        ),
        ("phase.one.idel=1s", "phase.one.idel: unknown key", "idle is meant?"),
        ("phase.one.idle.x=1", "phase.one.idle has no keys", "write --set"),
        ("runs=many", "runs: not a whole number", "write runs = 3"),
        ("process.web.cwd=x", "the plan has no process.web", "known: none"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    tmp_path: Path, override: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, "version = 1\n" + PHASE, override)

    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_a_command_alone_is_a_plan_of_one_phase() -> None:
    one = plan_of_command(["echo", 'a "b"'], ["runs=2"])

    assert one.plan.runs == 2
    assert one.plan.phase[0].command == ["echo", 'a "b"']
    assert 'command = ["echo", "a \\"b\\""]' in one.text


def test_a_command_with_a_secret_is_refused() -> None:
    with pytest.raises(UsageError, match="the command holds a secret"):
        plan_of_command(["x", "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"], [])


@pytest.mark.parametrize(
    ("value", "found"), [("8001", "8001"), ('"8001"', "8001"), ("1.0", "1.0"), ("", "")]
)
def test_a_text_is_set_without_quotes(tmp_path: Path, value: str, found: str) -> None:
    text = f'version = 1\n{PHASE}[[process]]\nname = "web"\nargv = ["x"]\n'
    of_env = loaded(tmp_path, text, f"process.web.env.PORT={value}").plan.process[0]
    assert of_env.env == {"PORT": found}
    of_cwd = loaded(tmp_path, text, f"process.web.cwd={value}").plan.process[0]
    assert of_cwd.cwd == found


def test_an_idle_phase_has_no_limit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="idle has no limit"):
        loaded(tmp_path, f'version = 1\n{PHASE}limit = "2s"\n')


def test_a_process_starts_after_a_phase_that_there_is(tmp_path: Path) -> None:
    process = '[[process]]\nname = "p"\nargv = ["x"]\nafter = "two"\n'

    with pytest.raises(UsageError, match="after an unknown phase: two"):
        loaded(tmp_path, f"version = 1\n{PHASE}{process}")


@pytest.mark.parametrize(
    "change",
    [
        f"phase.one.env.X={TOKEN}",
        f'phase.one.env.X="{TOKEN}"',
        "phase.one.env.API_KEY=Tr0ub4dor-and-3xyz-Q9",
        f"phase.{TOKEN}.idle=1s",
    ],
)
def test_a_secret_that_is_set_is_refused_and_not_said(
    tmp_path: Path, change: str
) -> None:
    with pytest.raises(UsageError, match="a secret") as refused:
        loaded(tmp_path, "version = 1\n" + PHASE, change)

    assert not scan_text(str(refused.value))
    assert TOKEN not in str(refused.value)


PROCESS = '[[process]]\nname = "p"\nargv = ["x"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[phase]]\nname = "a"\ncommand = ["tr\\u0000ue"]\n', "has a NUL"),
        (f'{PHASE}{PROCESS}env = {{ X = "a\\u0000" }}\n', "has a NUL"),
        (f'{PHASE}{PROCESS}cwd = "a\\u0000"\n', "has a NUL"),
        (f'{PHASE}{PROCESS}env = {{ "A=B" = "c" }}\n', "is no name of a variable"),
        (f'{PHASE}{PROCESS}env = {{ "" = "c" }}\n', "is no name of a variable"),
        ('[[phase]]\nname = "a"\nidle = "99999999h"\n', "is longer than a week"),
        (
            f'{PHASE}expect = [{{ destination = "any", at_least = 3, at_most = 1 }}]\n',
            "at least 3 and at most 1 cannot be",
        ),
        (
            (
                '[[process]]\nname = "phase-a"\nargv = ["x"]\n'
                '[[phase]]\nname = "a"\ncommand = ["x"]\n'
            ),
            "process phase-a would have the log of a phase: phase-a.log",
        ),
        (
            (
                '[[phase]]\nname = "a"\n[phase.request]\nurl = "http://127.0.0.1:1/"\n'
                'headers = { X = "a\\r\\nY: b" }\n'
            ),
            "cannot be in a header",
        ),
        (
            (
                '[[phase]]\nname = "a"\n[phase.request]\nurl = "http://127.0.0.1:1/"\n'
                'headers = { "X: a\\r\\nY" = "b" }\n'
            ),
            "is no name of a header",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, "version = 1\n" + text)

    assert message in str(caught.value)
    assert caught.value.hint
