"""Whatever the stages of a run write, `verify` finds nothing wrong with it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon import files
from egressmon.probes.wire import CONSTANTS
from egressmon.verifying.rejudging.policies import Policies
from egressmon.verifying.walking.evidence_file import EvidenceFile
from support.events import executed, flow
from support.recorded import POLICY, exited, fork, look_up, record
from support.replaying import ProcessesGone

_NAMES = ("api.example.org", "cdn.example.net", "evil.example.com", "x.test")
_ADDRESSES = ("203.0.113.9", "203.0.113.10", "2001:db8::9", "127.0.0.1")
_PIDS = st.sampled_from((100, 100, 101))
_RECEIVERS = ("REMOTE", "REMOTE", "SCOPE", "OUTSIDE", "SHARED", "ASK")


def _one(*fields: object, **more: object) -> list[bytes]:
    return [flow(*fields, **more)]  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def _fork(pid: int) -> list[bytes]:
    return [fork(pid)]


def _exit(pid: int) -> list[bytes]:
    return [exited(pid)]


def _exec(pid: int, word: bytes) -> list[bytes]:
    return [executed(pid, word, b"--token", b"hunter2")]


_events = st.one_of(
    st.builds(
        _one,
        st.sampled_from(_ADDRESSES),
        st.sampled_from((443, 80, 53)),
        st.sampled_from(("KIND_CONNECT", "KIND_SENDMSG", "KIND_ACCEPT")),
        tgid=_PIDS,
        tid=st.sampled_from((100, 101, 102)),
        comm=st.sampled_from((b"client", b"\xff\\x")),
        receiver=st.sampled_from(
            tuple(CONSTANTS[f"RECEIVER_{name}"] for name in _RECEIVERS)
        ),
        sent_port=st.sampled_from((0, 0, 443)),
    ),
    st.builds(
        look_up,
        st.sampled_from(_NAMES),
        st.sampled_from(_ADDRESSES[:2]),
        st.sampled_from((None, None, *_NAMES)),
    ),
    st.builds(_fork, _PIDS),
    st.builds(_exit, _PIDS),
    st.builds(
        _exec,
        _PIDS,
        st.sampled_from((b"client", b"other\n", b"\xff")),
    ),
    st.just([b"\0" * 40]),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(_events, max_size=12))
def test_what_is_written_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[list[bytes]]
) -> None:
    monkeypatch.setattr(files, "_opener", ProcessesGone())
    events = [data for step in steps for data in step]
    path, policy = tmp_path / "evidence.jsonl", tmp_path / "policy.toml"
    policy.write_text(POLICY)
    record(path, [fork(), executed(100, b"client"), *events, exited()])

    file = EvidenceFile(str(path), Policies([str(policy)]))
    file.verify()

    assert file.findings.found == []
    assert file.verified.unjudged is None
