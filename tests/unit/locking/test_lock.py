"""A lock names each file and what it rests on, and each difference has its word."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.locking import EVIDENCE_LOCK, LockError, check, read_lock, write_lock
from egressmon.locking.form import parse

_TOOLS = {"egressmon 0.1.0": "sha256:" + "0" * 64}
_DIGEST = "a" * 64


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """Return a directory of two runs, with its lock."""
    for run in ("run-01", "run-02"):
        (tmp_path / run).mkdir()
        evidence = tmp_path / run / "evidence.jsonl"
        evidence.write_text('{"schema":"egressmon/2","type":"a"}\n{"last":1}\n')
    (tmp_path / "policy.toml").write_text("version = 1\n")
    (tmp_path / "SUMMARY file.md").write_text("fine\n")
    write_lock(str(tmp_path), policy="policy.toml", tools=_TOOLS)
    return tmp_path


def words(directory: Path) -> list[tuple[str, str]]:
    """Return the word and the path of each finding."""
    return [(one.word, one.path) for one in check(str(directory))]


def test_the_form_is_fixed(proof: Path) -> None:
    lines = (proof / EVIDENCE_LOCK).read_text().splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == [
        "SUMMARY file.md ",
        "policy.toml ",
        "run-01/evidence.jsonl ",
        "run-02/evidence.jsonl ",
        "# head run-01/evidence.jsonl",
        "# head run-02/evidence.jsonl",
        "# policy policy.toml",
        "# plan",
        "# tools",
        "# tool egressmon 0.1.0",
    ]
    assert read_lock(str(proof / EVIDENCE_LOCK)).tools == _TOOLS


def test_nothing_is_found_where_nothing_changed(proof: Path) -> None:
    assert check(str(proof)) == []
    assert check(str(proof), tools=_TOOLS) == []


def test_a_signature_of_the_lock_needs_no_line(proof: Path) -> None:
    (proof / "evidence.lock.sig").write_text("signature")
    assert words(proof) == []


DIFFERENCES: list[tuple[Callable[[Path], object], list[tuple[str, str]]]] = [
    (
        lambda proof: (proof / "policy.toml").unlink(),
        [("missing", "policy.toml"), ("stale", EVIDENCE_LOCK)],
    ),
    (
        lambda proof: (proof / "SUMMARY file.md").write_text("better\n"),
        [("changed", "SUMMARY file.md")],
    ),
    (
        lambda proof: (proof / "run-02" / "more").touch(),
        [("unlisted", "run-02/more")],
    ),
    (
        lambda proof: (proof / "run-01" / "evidence.jsonl").write_text("{}\n"),
        [("changed", "run-01/evidence.jsonl"), ("stale", EVIDENCE_LOCK)],
    ),
    (lambda proof: (proof / EVIDENCE_LOCK).unlink(), [("missing", EVIDENCE_LOCK)]),
    (
        lambda proof: os.mkfifo(proof / "pipe"),
        [("malformed", "pipe")],
    ),
    (
        lambda proof: (proof / "link").symlink_to("policy.toml"),
        [("malformed", "link")],
    ),
    (
        lambda proof: (proof / "line\nbreak").touch(),
        [("malformed", "line\nbreak")],
    ),
]


@pytest.mark.parametrize(("change", "found"), DIFFERENCES)
def test_each_difference_has_its_word(
    proof: Path, change: Callable[[Path], object], found: list[tuple[str, str]]
) -> None:
    change(proof)
    assert words(proof) == found


def test_a_lock_that_others_made_is_stale(proof: Path) -> None:
    found = check(str(proof), tools={"egressmon 0.2.0": "sha256:" + "1" * 64})
    assert [one.word for one in found] == ["stale"]


_REST = "# policy none\n# plan none\n# tools 0\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"../a  {_DIGEST}\n{_REST}", 1),
        (f"/etc/passwd  {_DIGEST}\n{_REST}", 1),
        (f"a//b  {_DIGEST}\n{_REST}", 1),
        (f"./a  {_DIGEST}\n{_REST}", 1),
        (f"b  {_DIGEST}\na  {_DIGEST}\n{_REST}", 1),
        (f"a  {_DIGEST}\na  {_DIGEST}\n{_REST}", 2),
        (f"a  {_DIGEST}\n{_REST[:-1]}", 4),
        (f"a  {_DIGEST}\n# plan none\n# tools 0\n", 2),
        (f"a  {_DIGEST}\n# policy none\n# plan none\n", 4),
        (f"a  {_DIGEST}\n# policy none\n# plan none\n# tools 1\n", 4),
        (f"a  {_DIGEST}\r\n{_REST}", 1),
        (f"\ufeffa  {_DIGEST}\n{_REST}", 1),
        (f"a {_DIGEST}\n{_REST}", 1),
        (f"a  {_DIGEST.upper()}\n{_REST}", 1),
        (f"# tool x sha256:{_DIGEST}\na  {_DIGEST}\n{_REST}", 1),
        (f"{_REST}# tool x sha256:1\n", 4),
        (f"# a comment\n{_REST}", 1),
        (f"\n{_REST}", 1),
        ("", 1),
    ],
)
def test_a_malformed_lock_is_named_by_its_line(text: str, line: int) -> None:
    with pytest.raises(LockError) as raised:
        parse(text.encode())
    assert raised.value.line == line


def test_a_link_in_the_place_of_the_lock_is_not_followed(proof: Path) -> None:
    elsewhere = proof.parent / "elsewhere.lock"
    (proof / EVIDENCE_LOCK).rename(elsewhere)
    (proof / EVIDENCE_LOCK).symlink_to(elsewhere)
    assert words(proof) == [("malformed", EVIDENCE_LOCK)]
    before = elsewhere.read_bytes()
    (proof / "new").touch()
    write_lock(str(proof))
    assert elsewhere.read_bytes() == before
    assert words(proof) == []


def test_what_no_lock_can_have_is_refused(proof: Path) -> None:
    (proof / "link").symlink_to("/")
    with pytest.raises(LockError, match="link: it is a symbolic link"):
        write_lock(str(proof))
