"""`pytest --egress-cassettes`: who asks for the network fails, and is named."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.recording import Project, Service, service

REFRESH = "egressmon cassettes refresh --i-understand-this-spends-tokens -- pytest"
# 192.0.2.0/24 is for documentation: nobody has it, and the guard refuses it before.
FAR = '("192.0.2.1", 443)'


@pytest.fixture
def running() -> Iterator[Service]:
    with service() as running:
        yield running


class Maker:
    def __init__(self, root: Path, running: Service) -> None:
        self._root, self._running = root, running

    def __call__(self, tests: str, settings: str = "") -> Project:
        made = Project(self._root, self._running.address, tests)
        made.settings(settings)
        return made


@pytest.fixture
def new(tmp_path: Path, running: Service) -> Maker:
    return Maker(tmp_path, running)


ASKING = {
    f"socket.create_connection({FAR})": "192.0.2.1:443",
    f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', {FAR})": "192.0.2.1:443",
    f"socket.socket().connect_ex({FAR})": "192.0.2.1:443",
    "socket.create_connection(('2001:db8::1', 80))": "[2001:db8::1]:80",
    "socket.getaddrinfo('api.example.com', 443)": "look-up of api.example.com",
    "socket.gethostbyname('api.example.com')": "look-up of api.example.com",
    "socket.gethostbyaddr('192.0.2.1')": "look-up of 192.0.2.1",
    "web.urlopen('http://api.example.com/')": "look-up of api.example.com",
    # A resolver here asks others.
    "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.53', 53))": (
        "127.0.0.53:53"
    ),
}


def test_who_asks_for_the_network_fails_and_is_named(new: Maker) -> None:
    tests = [
        f"def test_{number}():\n    try:\n        {body}\n    except Exception: pass\n"
        for number, body in enumerate(ASKING)
    ]
    project = new("import socket\n" + "".join(tests) + "def test_other(): pass\n")

    done = project.pytest("--egress-cassettes")

    assert done.returncode == 1, done.stdout
    for number, where in enumerate(ASKING.values()):
        test = f"test_it.py::test_{number}"
        assert f"egressmon: {test} asked for the network: {where}" in done.stdout
        assert f"{REFRESH} {test}" in done.stdout
    assert f"{len(ASKING)} failed, 1 passed" in done.stdout


@pytest.mark.parametrize(
    "excuse", ["pytest.skip('no network')", "pytest.xfail('no network')"]
)
def test_no_excuse_helps(new: Maker, excuse: str) -> None:
    project = new(
        "import socket\n"
        f"def test_it():\n    try: socket.create_connection({FAR})\n"
        f"    except Exception: {excuse}\n"
    )

    done = project.pytest("--egress-cassettes")

    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout


def test_what_is_asked_outside_of_tests_fails_the_run(new: Maker) -> None:
    project = new(
        "import socket\n"
        f"try: socket.create_connection({FAR})\nexcept Exception: pass\n"
        "def test_it(): pass\n"
    )

    done = project.pytest("--egress-cassettes")

    assert done.returncode == 1, done.stdout
    said = "egressmon: outside of tests asked for the network: 192.0.2.1:443"
    assert said in done.stdout


def test_workers_of_xdist_are_guarded_too(new: Maker) -> None:
    project = new(
        "import socket\n"
        f"try: socket.create_connection({FAR})\nexcept Exception: pass\n"
        "def test_it():\n    socket.create_connection(('192.0.2.2', 80))\n"
    )

    done = project.pytest("--egress-cassettes", "-n", "1")

    assert done.returncode == 1
    assert "test_it.py::test_it asked for the network: 192.0.2.2:80" in done.stdout
    assert "outside of tests asked for the network: 192.0.2.1:443" in done.stdout


def test_this_machine_may_be_reached_unless_the_project_says_no(new: Maker) -> None:
    tests = "def test_it():\n    assert ask('/json')\n"

    assert new(tests).pytest("--egress-cassettes").returncode == 0
    done = new(tests, "allow_loopback = false").pytest("--egress-cassettes")

    assert done.returncode == 1
    assert "asked for the network: 127.0.0.1:" in done.stdout


@pytest.mark.parametrize("swallow", [False, True])
def test_a_miss_names_the_request_and_the_remedy(new: Maker, swallow: bool) -> None:  # noqa: FBT001
    body = "    ask('/gone?password=abcdef12')\n"
    if swallow:
        body = f"    try:\n    {body}    except Exception: pass\n"
    project = new(f"@pytest.mark.vcr\ndef test_it():\n{body}")

    done = project.pytest("--egress-cassettes")

    assert done.returncode == 1, done.stdout
    assert "asked for what its cassette does not have: GET http://127.0." in done.stdout
    assert "/gone?password=*** (cassette " in done.stdout
    assert f"{REFRESH} test_it.py::test_it" in done.stdout


def test_without_the_option_nothing_is_changed(new: Maker) -> None:
    project = new(
        "import sys\ndef test_it():\n"
        "    ours = [one for one in sys.modules if one.startswith('egressmon')]\n"
        "    assert not ours, ours\n"
    )
    (project.root / "conftest.py").write_text("")

    assert project.pytest().returncode == 0


@pytest.mark.parametrize("ci", ["true", "1", "yes"])
def test_no_live_run_on_a_ci_system(new: Maker, running: Service, ci: str) -> None:
    project = new(
        "@pytest.mark.vcr\ndef test_it(): ask('/json')\n", 'live_variables = ["LIVE"]'
    )
    project.variables |= {"CI": ci, "LIVE": "1"}

    live = project.pytest("--egress-cassettes")
    del project.variables["LIVE"]
    recording = project.pytest("--egress-cassettes", "--record-mode=all")
    refreshed = project.refresh()

    assert live.returncode == recording.returncode == 4
    assert "CI is set and LIVE is set" in live.stderr
    assert "CI is set and --record-mode is all" in recording.stderr
    assert refreshed.returncode == 2
    assert "CI is set" in refreshed.stderr
    assert running.asked == []


def test_a_live_run_elsewhere_says_so(new: Maker, running: Service) -> None:
    project = new("def test_it(): ask('/json')\n", 'live_variables = ["LIVE"]')
    project.settings('live_variables = ["LIVE"]\nallow_loopback = false')

    project.variables["LIVE"] = "0"
    assert project.pytest("--egress-cassettes").returncode == 1
    project.variables["LIVE"] = "1"
    done = project.pytest("--egress-cassettes", "-v")

    assert done.returncode == 0
    assert "live (LIVE is set): the network is not refused" in done.stdout
    assert running.asked == ["/json"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("live_variable = []", "unknown key 'live_variable'"),
        ('live_variables = "LIVE"', "live_variables must be a list of words"),
        ("allow_loopback = 1", "allow_loopback must be true or false"),
        ("][", "pyproject.toml"),
    ],
)
def test_wrong_settings_stop_the_run(new: Maker, settings: str, said: str) -> None:
    project = new("def test_it(): pass\n", settings)

    done = project.pytest("--egress-cassettes")

    assert done.returncode == 4
    assert said in done.stderr + done.stdout


def test_json_cassettes_and_vendors_are_played_too(new: Maker) -> None:
    project = new(
        "@pytest.fixture(scope='module')\n"
        "def vcr_cassette_dir(request):\n"
        "    return str(request.path.parent / 'cassettes' / 'acme')\n"
        "@pytest.mark.vcr(serializer='json')\ndef test_it():\n"
        "    assert ask('/gzip')\n"
    )

    recorded = project.pytest("--egress-cassettes", "--record-mode=rewrite")
    played = project.pytest("--egress-cassettes", "--record-mode=none")

    assert recorded.returncode == played.returncode == 0, recorded.stdout
    (path,) = project.cassettes.glob("acme/*.json")
    assert json.loads(path.read_text())["interactions"]


def test_a_token_in_a_host_name_is_masked_in_the_error_too(new: Maker) -> None:
    token = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
    project = new(
        f"import socket\nHOST = 'ghp_' + '{token[4:]}' + '.example.org'\n"
        "def test_it(): socket.getaddrinfo(HOST, 443)\n"
    )

    done = project.pytest("--egress-cassettes", "--tb=line", "-rA")

    assert "asked for the network: look-up of ***.example.org" in done.stdout
    assert "NetworkReachedError: look-up of ***" in done.stdout
    assert token.lower() not in (done.stdout + done.stderr).lower()
