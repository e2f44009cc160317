"""What is believed of a container's resolv.conf and hosts, whoever wrote them."""

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon import files
from egressmon.naming import place_files
from egressmon.naming.names import parse_hosts, parse_resolver
from egressmon.naming.place_files import PlaceFiles, Viewer, look, own_addresses
from egressmon.policy.language.search import NO_SEARCH, SearchList

FAR = 2**62
MACHINES = SearchList(("corp.example",), 1)


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's root folder, of the process with pid 7."""
    (tmp_path / "etc").mkdir()
    monkeypatch.setattr(files, "_opener", _Moved(tmp_path))
    local = frozenset({ipaddress.ip_address("10.89.0.1")})
    monkeypatch.setattr(place_files, "own_addresses", lambda: local)
    return tmp_path


class _Moved:
    """Opens what is below /proc/7/root below another folder."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)

    def open(self, path: bytes, kind: files.Kind) -> int:
        """Open as `files.open_here` does."""
        assert path.startswith(b"/proc/7/root"), path
        return files.open_here(self._root + path[len(b"/proc/7/root") :], kind)


@pytest.fixture
def engine(container: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the hosts file, on a device of its own as a bind mount has it."""
    # Its device is told to be another than that of the root folder.
    real = os.fstat
    path = container / "etc/hosts"

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino != path.stat().st_ino:
            return found
        fields = list(found)
        fields[2], fields[4] = found.st_dev + 1, 0
        return os.stat_result(fields, {"st_ctime_ns": found.st_ctime_ns})

    def write(text: str) -> None:
        path.write_text(text)
        path.chmod(0o644)
        monkeypatch.setattr(os, "fstat", fstat)

    return write


def at(since_ns: int | None = FAR) -> PlaceFiles:
    return look(Viewer(7, since_ns), MACHINES)


def pairs(found: PlaceFiles) -> list[tuple[str, str]]:
    return [(str(address), name) for address, name in found.hosts]


def test_what_the_engine_put_there_is_believed(engine: Callable[[str], None]) -> None:
    engine("172.18.0.2 db\n172.17.0.1 host.docker.internal\n")

    found = at()

    assert pairs(found) == [
        ("172.18.0.2", "db"),
        ("172.17.0.1", "host.docker.internal"),
    ]
    assert not any(one.startswith("hosts") for one in found.reasons)


# docker run --add-host: who starts a container has it put there.
@pytest.mark.parametrize("line", ["10.0.0.5 api.example.org", "8.8.8.8 db"])
def test_names_and_addresses_of_the_internet_are_not(
    engine: Callable[[str], None], line: str
) -> None:
    engine(f"172.18.0.2 db\n{line}\n")

    found = at()

    assert pairs(found) == [("172.18.0.2", "db")]
    assert "hosts: a name or an address of the internet is there" in found.reasons


@pytest.mark.parametrize(
    ("since", "why"), [(1, "was changed after"), (None, "is not known")]
)
def test_what_was_changed_since_its_program_began_is_not(
    engine: Callable[[str], None], since: int | None, why: str
) -> None:
    engine("172.18.0.2 api.example.org\n")

    found = at(since)

    assert pairs(found) == []
    assert any(why in one for one in found.reasons)


def test_the_containers_own_file_is_not(container: Path) -> None:
    (container / "etc/hosts").write_text("172.18.0.2 api.example.org\n")

    found = at()

    assert pairs(found) == []
    assert any("container's own" in one or "others" in one for one in found.reasons)


def test_of_servers_those_of_this_machine_are_kept(container: Path) -> None:
    text = "nameserver 127.0.0.11\nnameserver 10.89.0.1\nnameserver 198.51.100.7\n"
    (container / "etc/resolv.conf").write_text(text)

    found = at()

    assert list(map(str, found.servers)) == ["127.0.0.11", "10.89.0.1"]
    assert any("not on this machine" in one for one in found.reasons)


@pytest.mark.parametrize(
    ("domains", "kept"),
    [
        ("corp.example", ("corp.example",)),
        ("dns.podman svc.cluster.local", ("dns.podman", "svc.cluster.local")),
        ("evil.example", ()),
        ("notlocal xlocal.example", ()),
    ],
)
def test_a_domain_that_somebody_may_own_completes_nothing(
    container: Path, domains: str, kept: tuple[str, ...]
) -> None:
    (container / "etc/resolv.conf").write_text(f"search {domains}\noptions ndots:5\n")

    found = at()

    assert found.search == (SearchList(kept, 5) if kept else NO_SEARCH)


def test_what_is_no_file_is_not_waited_for(container: Path) -> None:
    os.mkfifo(container / "etc/hosts")
    (container / "etc/resolv.conf").mkdir()

    assert at().reasons == (
        "resolv.conf: it could not be read",
        "hosts: it could not be read",
    )


def test_what_is_too_large_is_not_read(container: Path) -> None:
    (container / "etc/hosts").write_text("x" * (1 << 17))

    assert any("larger than" in one for one in at().reasons)


def test_a_process_that_is_gone_may_be_another() -> None:
    gone = look(Viewer(4_000_000, FAR), MACHINES)

    assert (gone.is_read, gone.hosts, gone.servers) == (False, (), ())


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reading(data: bytes) -> None:
    text = data.decode("utf-8", "replace")

    parse_hosts(text)
    assert parse_resolver(text).servers


def test_own_addresses_are_those_that_the_kernel_has() -> None:
    text = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.213.7.0
        /24 link UNICAST
     |-- 10.213.7.1
        /32 host LOCAL
     |-- 10.213.7.255
        /32 link BROADCAST
"""
    assert own_addresses(lambda: text) == {ipaddress.ip_address("10.213.7.1")}
