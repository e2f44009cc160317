"""What the record of each escape says."""

import pytest

from egressmon.attribution.processes import Processes
from egressmon.attribution.processes.process import Caused, Process
from egressmon.events.decode import decode
from egressmon.events.model import Escape
from egressmon.evidence.records.traffic import EscapeRecord
from egressmon.probes.wire import CONSTANTS
from egressmon.verdicts.escapes import record
from support.events import event, executed


def escape(what: str, path: bytes = b"", **fields: object) -> Escape:
    known: dict[str, object] = {"tgid": 100, "start_ns": 1, "comm": b"client"}
    data = event(
        "escape_event",
        "KIND_ESCAPE",
        what=CONSTANTS[f"ESCAPE_{what}"],
        path=path,
        path_size=len(path),
        **{**known, **fields},
    )
    found = decode(data)
    assert isinstance(found, Escape)
    return found


def told(one: Escape) -> EscapeRecord:
    found = record(one, Processes(proc_is_ours=False))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("one", "what", "family"),
    [
        (escape("SOCKET", family=17), "packet-socket", "packet"),
        (escape("SOCKET", family=44), "xdp-socket", "xdp"),
        (escape("SOCKET", family=31), "31-socket", "31"),
        (escape("RING", family=17), "packet-socket", "packet"),
        (escape("RING", family=1), "unix-socket", "unix"),
        (escape("TUN"), "tun-device", None),
        (escape("UNIX", b"/run/docker.sock", family=1), "launcher", "unix"),
        (escape("UNIX", b"/run/user/7/podman/podman.sock"), "launcher", None),
        (escape("UNIX", b"/run/systemd/private"), "launcher", None),
    ],
)
def test_these_cast_doubt(one: Escape, what: str, family: str | None) -> None:
    found = told(one)

    assert (found.what, found.family, found.doubt) == (what, family, True)
    assert found.process_reason


def test_another_daemon_casts_none() -> None:
    found = told(escape("UNIX", b"/run/nscd/socket", family=1, peer=7))

    assert (found.what, found.doubt, found.listener) == ("unix-socket", False, 7)


def test_an_abstract_name_is_written_as_ss_does() -> None:
    data = event("escape_event", "KIND_ESCAPE", what=3, path=b"ZaZb", path_size=4)
    found = decode(data.replace(b"ZaZb", b"\0a\0b"))

    assert isinstance(found, Escape)
    assert found.path == "@a\0b"
    assert told(escape("UNIX")).path is None


def test_a_listener_of_the_scope_that_ended_is_no_escape() -> None:
    processes = Processes(proc_is_ours=False)
    ran = decode(executed(7, b"server"))
    processes.executed(ran)  # type: ignore[arg-type]

    assert record(escape("UNIX", b"/tmp/docker.sock", peer=7), processes) is None


class Carrying(Processes):
    """Processes of which one is a helper of container engines."""

    def __init__(self, kind: str, preloaded: str | None) -> None:
        super().__init__(proc_is_ours=False)
        self.one = Process(100, 1, 1, 1, kind, helper=kind, preloaded=preloaded)

    def helper(self, event: Caused) -> Process | None:
        return self.one if event.pid == self.one.pid else None


@pytest.mark.parametrize(
    ("kind", "preloaded", "doubt"),
    [
        ("pasta", None, False),
        ("slirp4netns", None, False),
        ("docker-proxy", None, True),
        ("pasta", "LD_PRELOAD is set", True),
    ],
)
def test_the_device_of_a_network_helper_is_declared(
    kind: str, preloaded: str | None, *, doubt: bool
) -> None:
    found = record(escape("TUN"), Carrying(kind, preloaded))

    assert found is not None
    assert (found.what, found.doubt) == ("tun-device", doubt)
    assert (kind in found.reason) is not doubt
