"""Which addresses containers may ask, as root serves DNS there."""

import pytest

from egressmon.naming.served import Served, served_addresses

HEAD = (
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"
)
REST = "00000000:0000 07 00000000:00000000 00:00000000 00000000"


def text(*sockets: tuple[str, int]) -> str:
    lines = [f"  1: {where} {REST} {uid:5} 0 1 2 0 0" for where, uid in sockets]
    return "\n".join([HEAD, *lines, "cut"])


BRIDGE, OTHER = ("0100590A:0035", 0), ("0101590A:0035", 0)


def test_roots_servers_at_one_address_are_served() -> None:
    found = served_addresses(
        lambda: text(
            BRIDGE,
            ("0101590A:0035", 1000),  # a user's
            ("0102590A:14E9", 0),  # at another port
            ("00000000:0035", 0),  # at any address
            ("3500007F:0035", 0),  # each network's own
        )
    )

    assert list(map(str, found)) == ["10.89.0.1"]


def test_what_cannot_be_read_serves_nothing() -> None:
    def read() -> str:
        raise PermissionError

    assert served_addresses(read) == ()


def test_a_server_that_is_gone_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egressmon.naming.served._EVERY_S", 0.0)
    texts = iter([text(BRIDGE), text(OTHER)])
    served = Served(lambda: next(texts))

    served.look()
    assert list(map(str, served.addresses())) == ["10.89.0.1", "10.89.1.1"]


def test_it_is_not_looked_at_all_the_time() -> None:
    texts = iter([text(BRIDGE)])
    served = Served(lambda: next(texts))

    for _ in range(3):
        assert list(map(str, served.addresses())) == ["10.89.0.1"]
