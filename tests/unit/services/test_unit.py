"""The unit's text: complete, and known again by a later version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.errors import UsageError
from egressmon.services.unit import NAME, is_ours, text_of

LAUNCHER = "/opt/egressmon/bin/egressmon"


def settings(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if "=" in line and line[0] != "#"]
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines]


def test_it_starts_the_launcher_with_the_policy() -> None:
    found = dict(settings(text_of(LAUNCHER, "/etc/egressmon/egress.toml")))

    assert found["ExecStart"] == (
        f"{LAUNCHER} sidecar --all --policy /etc/egressmon/egress.toml "
        "--evidence /var/lib/egressmon-sidecar --token-file /run/egressmon/token"
    )


def test_without_a_policy_none_is_named() -> None:
    text = text_of(LAUNCHER, None)

    assert f"{LAUNCHER} sidecar --all --evidence" in text
    assert "--policy" not in text
    assert "@LAUNCHER@" not in text
    assert "@POLICY@" not in text


def test_it_may_do_what_was_measured_to_be_needed_and_no_more() -> None:
    found = settings(text_of(LAUNCHER, None))

    allowed = {
        word
        for name, value in found
        if name == "CapabilityBoundingSet"
        for word in value.split()
    }
    assert allowed == {
        f"CAP_{name}"
        for name in (
            *("BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_OVERRIDE"),
            *("SETUID", "SETGID", "SETPCAP", "KILL"),
        )
    }
    assert ("ProtectControlGroups", "no") in found
    assert ("SystemCallFilter", "@system-service bpf perf_event_open") in found


def test_what_was_written_is_known_again_and_what_was_changed_is_not() -> None:
    text = text_of(LAUNCHER, None)

    assert is_ours(text)
    assert not is_ours(text.replace("RestartSec=1", "RestartSec=2"))
    assert not is_ours(text + "\n")
    assert not is_ours(text.partition("\n")[2])
    assert not is_ours("")


@given(st.text(max_size=300))
def test_no_other_text_is_taken_for_a_unit_of_ours(text: str) -> None:
    assert not is_ours(text)


@pytest.mark.parametrize(
    "path",
    [
        "egress.toml",
        "/a b",
        "/a\nExecStart=/bin/sh",
        "/a%h",
        "/a$HOME",
        "/a'",
        '/a"',
        "/a\\x20b",
        "/a;b",
        "/é",
        "",
    ],
)
def test_a_path_that_systemd_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="cannot name the path"):
        text_of(LAUNCHER, path)


@pytest.mark.parametrize(
    "path",
    ["/tmp/egress.toml", "/var/tmp/x/egressmon"],  # noqa: S108 -- to be refused
)
def test_a_path_that_the_service_does_not_see_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="does not see"):
        text_of(LAUNCHER, path)
    with pytest.raises(UsageError, match="does not see"):
        text_of(path, None)


def test_the_name_is_that_of_the_template() -> None:
    assert NAME == "egressmon-sidecar.service"
