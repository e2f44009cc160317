"""A run in segments is verified as one, and what was done to its files is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressmon import files
from egressmon.locking import write_lock
from egressmon.verifying.result import Result, Wanted
from egressmon.verifying.walking.grouping import together
from egressmon.verifying.walking.place import verify
from egressmon.verifying.witnesses.anchors import Anchors
from support.recorded import record
from support.replaying import ProcessesGone
from support.segments import LONG, MANIFEST, record_segments, segments

_settings = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run in segments, which nobody may change."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_opener", ProcessesGone())
        record_segments(folder, max_bytes=3000)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def words(result: Result) -> set[tuple[str, str]]:
    """Return the file and the word of each finding; of most, the word is its kind."""
    found: set[tuple[str, str]] = set()
    for one in result.found:
        word = one.message.partition(":")[0] if one.kind == "segment" else one.kind
        found.add((Path(one.path).name, word))
    return found


def verified(folder: Path) -> Result:
    result = verify(str(folder), Wanted())
    assert result.unreadable == []
    return result


def in_order(*paths: Path) -> Result:
    (group,) = together([str(path) for path in paths])
    return verify(group[0], Wanted(), group[1:])


def rewrite(folder: Path, change: Callable[[Any], object]) -> None:
    """Change the manifest as somebody does who knows its form."""
    path = folder / MANIFEST
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(json.dumps(content, indent=2).encode() + b"\n")


def test_a_folder_is_one_run(folder: Path) -> None:
    result = verified(folder)
    assert result.found == []
    (run,) = result.files
    assert (run.verdict, run.is_part, run.unjudged) == ("violations", False, None)
    assert run.judged == 10
    assert len(segments(folder)) > 3
    lines = sum(len(one.read_bytes().splitlines()) for one in segments(folder))
    assert run.records == lines
    assert run.size == sum(one.stat().st_size for one in segments(folder))


def test_its_verdicts_are_those_of_one_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_opener", ProcessesGone())
    shutil.copy(folder / "policy.toml", tmp_path)
    record(tmp_path / "evidence.jsonl", LONG)
    (one,) = verify(str(tmp_path / "evidence.jsonl"), Wanted()).files
    (run,) = verified(folder).files
    assert (run.judged, run.resting, run.verdict) == (
        one.judged,
        one.resting,
        one.verdict,
    )


def test_segments_that_are_given_in_order_are_one_run(folder: Path) -> None:
    for name in (MANIFEST, "none"):
        (folder / name).unlink(missing_ok=True)
        result = in_order(*segments(folder))
        assert result.found == []
        assert [one.verdict for one in result.files] == ["violations"]


def test_other_names_do_no_harm_to_segments_that_are_given(folder: Path) -> None:
    paths = [one.rename(folder / f"{one.stat().st_ino}.x") for one in segments(folder)]
    assert in_order(*paths).found == []


def test_segments_are_told_from_other_evidence(folder: Path, made: Path) -> None:
    one, two, *_ = map(str, segments(folder))
    other = str(made / "policy.toml")
    assert together([two, other, one, str(made)]) == [
        (two, one), (other,), (str(made),),
    ]  # fmt: skip
    assert together([one, one]) == [(one,), (one,)]


@pytest.mark.parametrize("which", range(4))
def test_a_missing_segment_is_named(folder: Path, which: int) -> None:
    segments(folder)[which].unlink()
    assert (MANIFEST, "missing") in words(verified(folder))


def test_the_last_segments_are_missed(folder: Path) -> None:
    segments(folder)[-1].unlink()
    assert words(verified(folder)) == {(MANIFEST, "missing")}


def test_a_missing_segment_is_named_without_a_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    assert words(verified(folder)) == {(MANIFEST, "missing")}
    path = segments(folder)[1]
    path.unlink()
    result = verified(folder)
    assert any(path.name in one.message for one in result.found)


def test_a_manifest_without_segments_is_named(folder: Path) -> None:
    for path in segments(folder):
        path.unlink()
    result = verify(str(folder), Wanted())
    assert words(result) == {(MANIFEST, "missing")}
    assert "no evidence" in str(result.unreadable[0])


def test_an_extra_segment_is_named(folder: Path) -> None:
    last = segments(folder)[-1]
    number = int(last.stem[-6:]) + 1
    extra = folder / f"replay-{number:06}.jsonl"
    shutil.copy(last, extra)
    assert (extra.name, "extra") in words(verified(folder))


def test_swapped_segments_are_named(folder: Path) -> None:
    _, two, three, *_ = segments(folder)
    other = folder / "other"
    two.rename(other)
    three.rename(two)
    other.rename(three)
    found = words(verified(folder))
    assert {(two.name, "swapped"), (three.name, "swapped")} <= found


def test_a_segment_that_is_there_twice_is_named(folder: Path) -> None:
    _, two, three, *_ = segments(folder)
    shutil.copy(two, three)
    assert (three.name, "swapped") in words(verified(folder))


def test_segments_in_another_order_are_named(folder: Path) -> None:
    one, two, three, *rest = segments(folder)
    found = words(in_order(one, three, two, *rest))
    assert (two.name, "reordered") in found
    assert any(kind == "part" for _, kind in found)


@pytest.mark.parametrize("cut", ["lines", "bytes", "all"])
def test_a_truncated_segment_is_named(folder: Path, cut: str) -> None:
    path = segments(folder)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    content = {"lines": b"".join(lines[:-1]), "bytes": b"".join(lines)[:-9], "all": b""}
    path.write_bytes(content[cut])
    assert (path.name, "truncated") in words(verified(folder))


def test_a_segment_of_another_run_is_named(folder: Path) -> None:
    path = segments(folder)[1]
    path.write_bytes(path.read_bytes().replace(b'"run":"replay"', b'"run":"played"'))
    assert (path.name, "foreign") in words(verified(folder))


def test_a_manifest_of_another_run_is_named(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"replay', b'"played'))
    assert (path.name, "foreign") in words(verified(folder))


def test_a_changed_segment_is_named(folder: Path) -> None:
    path = segments(folder)[1]
    path.write_bytes(path.read_bytes().replace(b'"port":443', b'"port":444', 1))
    assert {(path.name, "changed"), (path.name, "chain")} & words(verified(folder))
    (folder / MANIFEST).unlink()
    assert (path.name, "changed") in words(verified(folder))


def test_counters_are_of_all_segments(folder: Path) -> None:
    path = segments(folder)[-1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"processes":1', b'"processes":2'))
    assert (path.name, "counters") in words(verified(folder))


def test_without_an_end_a_run_is_as_after_a_crash(folder: Path) -> None:
    path = segments(folder)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:50])
    count = len(segments(folder))

    def change(content: Any) -> None:
        content["complete"] = False
        del content["segments"][count - 1 :]

    rewrite(folder, change)
    result = verified(folder)
    assert words(result) == {(path.name, "truncated")}
    assert any("the run has no end" in one.message for one in result.found)
    rewrite(folder, lambda content: content["segments"].clear())
    assert words(verified(folder)) == {(path.name, "truncated")}


def test_who_was_killed_as_a_segment_began_left_it_empty(folder: Path) -> None:
    *_, before, last = segments(folder)
    last.write_bytes(b"")

    def change(content: Any) -> None:
        content["complete"] = False
        del content["segments"][-2:]

    rewrite(folder, change)
    assert words(verified(folder)) == {(last.name, "truncated")}
    before.write_bytes(b"")
    assert (before.name, "truncated") in words(verified(folder))


def test_anchors_are_found_in_all_segments(folder: Path) -> None:
    heads: list[str] = []
    for path in segments(folder):
        line = path.read_bytes().splitlines()[-1]
        number = json.loads(line)["seq"]
        head = f"blake3:{blake3(line).hexdigest()}"
        heads.append(f"egressmon anchor run=replay seq={number} head={head}\n")
    log = folder / "log"
    log.write_text("".join(heads))
    wanted = Wanted(anchors=Anchors(str(log)))
    assert verify(str(folder), wanted).found == []
    (finding,) = verify(str(segments(folder)[1]), wanted).found
    assert finding.kind == "part"
    log.write_text(heads[0][:-9] + "0" * 8 + "\n")
    kinds = {
        one.kind for one in verify(str(folder), Wanted(anchors=Anchors(str(log)))).found
    }
    assert kinds == {"anchor"}


def test_a_manifest_and_an_end_must_agree(folder: Path) -> None:
    rewrite(folder, lambda content: content.update(complete=False))
    (finding,) = verified(folder).found
    assert (finding.kind, Path(finding.path).name) == ("truncated", MANIFEST)
    assert "the run has no end" in finding.message


@pytest.mark.parametrize(
    ("name", "value"),
    [("records", 3), ("first_seq", 77), ("last_seq", 99), ("bytes", 7), ("head", None)],
)
def test_a_manifest_that_says_other_numbers_is_named(
    folder: Path, name: str, value: object
) -> None:
    if name == "head":
        value = json.loads((folder / MANIFEST).read_bytes())["segments"][0]["head"]
    rewrite(folder, lambda content: content["segments"][1].update({name: value}))
    assert words(verified(folder)) == {(MANIFEST, "manifest")}


@pytest.mark.parametrize("which", [0, 1, -1])
@pytest.mark.parametrize("has_manifest", ["with", "without"])
def test_a_part_says_that_it_is_one(
    folder: Path, which: int, has_manifest: str
) -> None:
    path = segments(folder)[which]
    if has_manifest == "without":
        (folder / MANIFEST).unlink()
    result = verify(str(path), Wanted())
    (finding,) = result.found
    first_alone = which == 0 and has_manifest == "without"
    assert finding.kind == ("truncated" if first_alone else "part")
    assert result.files[0].is_part is not first_alone
    if which:
        assert result.files[0].unjudged == "it has no run.start"


def test_in_a_part_what_is_wrong_is_found_too(folder: Path) -> None:
    path = segments(folder)[1]
    path.write_bytes(path.read_bytes().replace(b'"time":"20', b'"time":"19', 1))
    kinds = {one.kind for one in verify(str(path), Wanted()).found}
    assert {"part", "chain"} <= kinds


def test_each_segment_has_what_it_refers_to(folder: Path) -> None:
    path = segments(folder)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [one for one in lines if b'"type":"actor"' not in one]
    assert len(kept) < len(lines)
    path.write_bytes(b"".join(kept))
    (folder / "policy.toml").unlink()
    result = verified(folder)
    said = [one.message for one in result.found if one.kind == "reference"]
    assert any("which is not before it" in one for one in said)


@_settings
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_found(
    folder: Path, data: st.DataObject
) -> None:
    names = [MANIFEST, *(one.name for one in segments(folder))]
    path = folder / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    how = data.draw(st.sampled_from(("change", "remove", "add")))
    byte = bytes([data.draw(st.integers(0, 255))])
    rest = before[place + 1 :] if how != "add" else before[place:]
    after = before[:place] + (b"" if how == "remove" else byte) + rest
    if after == before:
        return
    path.write_bytes(after)
    try:
        result = verify(str(folder), Wanted())
        named = {one.path for one in result.found}
        assert str(path) in named or any(
            str(path) in str(one) for one in result.unreadable
        )
    finally:
        path.write_bytes(before)


def test_with_a_lock_all_is_as_it_was(folder: Path) -> None:
    write_lock(str(folder), policy="policy.toml")
    assert verified(folder).found == []
    path = segments(folder)[1]
    path.write_bytes(path.read_bytes() + b"\n")
    assert (path.name, "lock") in words(verified(folder))


def test_a_secret_in_any_segment_is_found(folder: Path) -> None:
    path = segments(folder)[2]
    token = b"ghp_" + b"a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    path.write_bytes(path.read_bytes().replace(b'"client"', b'"%s"' % token))
    assert (path.name, "secret") in words(verified(folder))
