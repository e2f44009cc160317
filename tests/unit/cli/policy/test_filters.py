"""`egressmon policy nftables` and `pf`: what they print, and what they refuse."""

from pathlib import Path

import pytest

from egressmon.cli import main as entry

TEXT = """
version = 1
enforce = "fail"
[[allow]]
host = "*.example.org"
[[allow]]
host = "api.example.net"
[dns]
resolvers = ["198.51.100.53"]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "egress.toml"
    path.write_text(TEXT)
    return str(path)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["egressmon", "policy", *words])
    return entry.main()


def test_a_printed_filter_looks_nothing_up_and_says_what_it_cannot_do(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is looked up")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    given = ("--address", "CDN.example.org.=198.51.100.7")
    status = run(monkeypatch, "nftables", file, *given, "--lifetime", "10m")
    out, errors = capsys.readouterr()

    assert status == 0
    assert "allow0_4 { 198.51.100.7 timeout 600s }" in out
    notes = [
        line for line in out.splitlines() if line.startswith(("# wider", "# narr"))
    ]
    assert len(notes) == 4
    for note in notes:
        assert f"egressmon: {note[2:]}\n" in errors


def test_pf_is_printed(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "pf", file, "--uid", "501") == 0
    out, errors = capsys.readouterr()

    assert "table <egressmon_allow1> persist { api.example.net }" in out
    assert "pf knows the user of TCP and UDP alone" in errors
    assert "# wider: scope: a set-uid program's sockets" in out
    assert "wider: scope: a set-uid program's sockets" in errors


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--address", "api.example.net"), "no NAME=ADDRESS"),
        (("--address", "api.example.net=x"), "no NAME=ADDRESS"),
        (("--address", "api.example.net=::"), "no NAME=ADDRESS"),
        (("--address", "=198.51.100.7"), "no NAME=ADDRESS"),
        (("--address", "a b=198.51.100.7"), "no NAME=ADDRESS"),
        (("--address", "other.example.com=198.51.100.7"), "no entry of the policy"),
        (("--uid", "no such user"), "no such user"),
        (("--cgroup", 'x" accept'), "no cgroup that a filter can name"),
        (("--policy-digest", 64 * "0"), "its digest is"),
    ],
)
def test_bad_options_are_refused_with_a_hint(
    file: str,
    words: tuple[str, ...],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "nftables", file, *words) == 2
    out, errors = capsys.readouterr()

    assert out == ""
    assert problem in errors
    assert "hint: " in errors


def test_a_policy_must_be_named_but_to_remove(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "nftables", "--apply") == 2
    assert "no policy is named" in capsys.readouterr().err

    monkeypatch.setattr("egressmon.filters.nft._PROGRAMS", ("/nowhere/nft",))
    assert run(monkeypatch, "nftables", "--remove") == 2
    assert "there is no nft" in capsys.readouterr().err


@pytest.mark.parametrize("lifetime", ["0s", "59s", "169h", "x"])
def test_a_lifetime_is_bounded(
    file: str, lifetime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "nftables", file, "--lifetime", lifetime) == 2
