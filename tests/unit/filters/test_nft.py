"""Reading what nft says, and each way in which it fails: one line, and a hint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egressmon.errors import EgressmonError, PrivilegeError
from egressmon.filters import nft
from egressmon.filters.nft import FilterError, remaining_in
from egressmon.startup import ownership


def obstacle(why: str) -> Callable[[str], str]:
    return lambda _path: why


def program(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(nft, "_PROGRAMS", (str(path),))
    monkeypatch.setattr(ownership, "obstacle", obstacle(""))


def test_the_time_left_is_read_of_each_set() -> None:
    elem: list[Any] = [
        {"elem": {"val": "198.51.100.7", "timeout": 60, "expires": 59}},
        {"elem": {"val": "198.51.100.8", "comment": "x"}},
        "198.51.100.9",
    ]
    listing: dict[str, list[dict[str, Any]]] = {
        "nftables": [
            {"metainfo": {}},
            {"set": {"name": "allow0_4", "elem": elem}},
            {"set": {"name": "allow0_6"}},
        ]
    }

    assert remaining_in(json.dumps(listing)) == {
        "allow0_4": {"198.51.100.7": 59},
        "allow0_6": {},
    }


@pytest.mark.parametrize(
    "listing",
    [
        *("", "[]", "{}", '{"nftables": 1}', '{"nftables": [1]}', "[" * 100_000),
        '{"nftables": [{"set": {"elem": []}}]}',
        '{"nftables": [{"set": {"name": "a", "elem": 1}}]}',
        '{"nftables": [{"set": {"name": "a", "elem": [{"elem": {"expires": 1}}]}}]}',
    ],
)
def test_what_cannot_be_read_takes_no_address_away(listing: str) -> None:
    with pytest.raises(FilterError, match="cannot be read"):
        remaining_in(listing)


def test_nft_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "_PROGRAMS", ("/nowhere/nft",))

    with pytest.raises(FilterError, match="there is no nft") as caught:
        nft.load("")
    assert "apt install nftables" in caught.value.hint


def test_root_runs_no_nft_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "nft", "exit 0", monkeypatch)
    monkeypatch.setattr(ownership, "obstacle", obstacle("another's folder"))
    monkeypatch.setattr("os.geteuid", lambda: 0)

    with pytest.raises(FilterError, match="root would run"):
        nft.load("")


@pytest.mark.parametrize(
    ("said", "kind", "match"),
    [
        ("Error: Operation not permitted", PrivilegeError, "without rights"),
        ("netlink: Protocol not supported", FilterError, "no nf_tables"),
        ("-:1:1-2: Error: syntax error", FilterError, "nft refuses the filter"),
        (r"\033[2Jx", FilterError, r"\\x1b"),
    ],
)
def test_a_refusal_is_one_line(
    said: str,
    kind: type[EgressmonError],
    match: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = f"printf '{said}\\nmore\\n' >&2; exit 1"
    program(tmp_path / "nft", script, monkeypatch)

    with pytest.raises(kind, match=match) as caught:
        nft.load("")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "listing",
    [
        'table inet egressmon {\n\tchain a {\n\t\tcomment "egressmon 1 x"\n\t}\n}',
        'table inet egressmon {\n\tcomment "mine"\n}',
        "table inet egressmon {\n}",
        "",
    ],
)
def test_a_table_without_our_mark_is_anothers(
    listing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "listing").write_text(listing)
    program(tmp_path / "nft", f"cat {tmp_path}/listing", monkeypatch)

    with pytest.raises(FilterError, match="did not make"):
        nft.loaded()
    with pytest.raises(FilterError, match="did not make"):
        nft.remove()
