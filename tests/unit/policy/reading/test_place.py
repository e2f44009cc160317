"""A policy file is used only if none but root and the user could have put it there."""

import os
import pwd
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from egressmon.policy.errors import PolicyError
from egressmon.policy.reading.file import find_policy, load_policy

POLICY = "version = 1\n"
TABLE = "[tool.egressmon]\nversion = 1\n"
STRANGER = frozenset({os.getuid() + 1})


def _always(answer: object) -> Callable[..., object]:
    return lambda *_ignored: answer


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    folder = tmp_path / "project/src/deep"
    folder.mkdir(parents=True)
    return folder


def found(start: Path) -> Path | None:
    policy = find_policy(start)
    return policy.path if policy else None


def put(path: Path, text: str = POLICY) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("name", [".git", ".hg", ".jj"])
@pytest.mark.parametrize("as_file", [False, True])
def test_the_search_ends_at_the_root_of_the_repository(
    inner: Path, name: str, *, as_file: bool
) -> None:
    put(inner.parents[2] / "egress.toml")
    root = inner.parents[1]
    if as_file:
        (root / name).write_text("gitdir: elsewhere\n")
    else:
        (root / name).mkdir()
    assert found(inner) is None

    own = put(root / "egress.toml")

    assert found(inner) == own


def test_the_search_ends_at_the_home_folder(
    inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inner.parents[2] / "egress.toml")
    home = inner.parents[1]
    account = SimpleNamespace(pw_dir=str(home), pw_name="me")
    monkeypatch.setattr("pwd.getpwuid", _always(account))
    assert found(inner) is None

    own = put(home / "egress.toml")

    assert found(inner) == own


def test_without_a_border_the_nearest_above_is_taken(inner: Path) -> None:
    above = put(inner.parents[2] / "egress.toml")

    assert found(inner) == above


def test_a_file_of_another_user_is_refused(inner: Path) -> None:
    path = put(inner / "egress.toml")

    with pytest.raises(PolicyError, match=r"not used: .* is owned by") as caught:
        find_policy(inner, STRANGER)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--policy" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_that_another_gave_is_refused_in_a_folder_of_ones_own(
    inner: Path,
) -> None:
    os.chown(put(inner / "egress.toml"), 65534, 65534)

    with pytest.raises(PolicyError, match=r"egress\.toml is owned by nobody"):
        find_policy(inner)


def test_a_file_that_everybody_can_write_is_refused(inner: Path) -> None:
    put(inner / "egress.toml").chmod(0o646)

    with pytest.raises(PolicyError, match="can be written by everybody"):
        find_policy(inner)
    with pytest.raises(PolicyError, match="everybody can write it"):
        load_policy(inner / "egress.toml")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_folder_that_others_can_write_holds_no_policy_and_leads_to_none(
    inner: Path, mode: int, above: int
) -> None:
    put(inner.parents[1] / "egress.toml")
    assert found(inner) is not None

    (inner, *inner.parents)[above].chmod(mode)

    with pytest.raises(PolicyError, match="can be written by everybody"):
        find_policy(inner)


def test_a_folder_that_others_can_write_is_no_hindrance_without_a_policy(
    inner: Path,
) -> None:
    (inner.parents[1] / ".git").mkdir()
    inner.chmod(0o1777)

    assert find_policy(inner) is None


def _group(
    monkeypatch: pytest.MonkeyPatch, members: list[str], *, others: int = 0
) -> None:
    me = SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid(), pw_name="me")
    me.pw_dir = "/nowhere"
    guests = [SimpleNamespace(pw_uid=4242, pw_gid=os.getgid(), pw_name="guest")]
    group = SimpleNamespace(gr_name="me", gr_mem=members)
    monkeypatch.setattr("grp.getgrgid", _always(group))
    monkeypatch.setattr("pwd.getpwnam", _always(me))
    monkeypatch.setattr("pwd.getpwall", _always([me, *guests[:others]]))


def test_the_users_private_group_may_write(
    inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(inner / "egress.toml")
    path.chmod(0o664)
    inner.chmod(0o775)
    _group(monkeypatch, ["me"])

    assert found(inner) == path


@pytest.mark.parametrize(("members", "others"), [(["me", "guest"], 0), ([], 1)])
def test_a_group_with_others_in_it_may_not(
    inner: Path, monkeypatch: pytest.MonkeyPatch, members: list[str], others: int
) -> None:
    path = put(inner / "egress.toml")
    path.chmod(0o664)
    _group(monkeypatch, members, others=others)

    with pytest.raises(PolicyError, match="can be written by the group me"):
        find_policy(inner)


def test_an_access_control_list_is_no_private_group(
    inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(inner / "egress.toml")
    _group(monkeypatch, [])
    # acl(5): the owner, the user 4242 with write, the group, the mask, the others.
    rows = [(1, 6, -1), (2, 6, 4242), (4, 4, -1), (0x10, 6, -1), (0x20, 4, -1)]
    data = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, rights, who & 0xFFFFFFFF) for tag, rights, who in rows
    )
    try:
        os.setxattr(path, "system.posix_acl_access", data)
    except OSError:
        pytest.skip("this file system has no access control lists")

    with pytest.raises(PolicyError, match="can be written by the group"):
        find_policy(inner)


def test_two_policies_in_one_folder_are_an_error(inner: Path) -> None:
    put(inner / "pyproject.toml", TABLE)
    assert found(inner) == inner / "pyproject.toml"

    put(inner / "egress.toml")

    with pytest.raises(PolicyError, match="two policies") as caught:
        find_policy(inner)
    assert "egress.toml" in str(caught.value)
    assert "pyproject.toml" in str(caught.value)


def test_a_project_file_without_the_table_is_no_policy(inner: Path) -> None:
    put(inner / "pyproject.toml", "[tool]\nother = 1\n").chmod(0o666)
    own = put(inner / "egress.toml")

    assert found(inner) == own


BROKEN = TABLE + "x = \n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (BROKEN.encode(), ":3: not TOML"),
        (BROKEN.replace("egressmon", r'"egress\u006don"').encode(), ":3: not TOML"),
        (b"[tool]\negressmon = {version = 1}\nx = \n", ":3: not TOML"),
        (b"[project]\nname = \n", ":2: not TOML"),
        (TABLE.encode("utf-16"), ":1: not UTF-8 text"),
        (TABLE.encode("utf-16-le"), ":1: not TOML"),
        (TABLE.encode("utf-8-sig"), ":1: not TOML: it begins with a byte order mark"),
        (b"\0", ":1: not TOML"),
        (b"x = " + b"[" * 5000, "nested too deeply"),
        (b"x = " + b"9" * 5000, "not TOML"),
    ],
    ids=str,
)
@pytest.mark.parametrize("beside", [False, True])
def test_a_project_file_that_cannot_be_parsed_is_an_error(
    inner: Path, data: bytes, what: str, *, beside: bool
) -> None:
    put(inner.parents[1] / "egress.toml", "version = 1\n")
    if beside:
        put(inner / "egress.toml", "version = 1\n")
    put(inner / "pyproject.toml").write_bytes(data)

    with pytest.raises(PolicyError, match=what) as caught:
        find_policy(inner)

    assert str(caught.value).startswith(str(inner / "pyproject.toml"))
    assert "\n" not in str(caught.value)
    assert "could hold the policy" in caught.value.hint
    assert "--policy" in caught.value.hint


def test_a_project_file_may_spell_the_table_with_escapes(inner: Path) -> None:
    put(inner / "pyproject.toml", TABLE.replace("egressmon", r'"egress\u006don"'))

    loaded = load_policy(find_policy(inner))

    assert loaded.policy.version == 1
    assert loaded.path == inner / "pyproject.toml"


def test_a_link_counts_as_its_target_and_its_own_owner(
    inner: Path, tmp_path: Path
) -> None:
    target = put(tmp_path / "real.toml")
    (inner / "egress.toml").symlink_to(target)
    assert found(inner) == inner / "egress.toml"

    shared = tmp_path / "shared"
    shared.mkdir()
    (inner / "egress.toml").unlink()
    (inner / "egress.toml").symlink_to(target.rename(shared / "real.toml"))
    shared.chmod(0o1777)

    with pytest.raises(PolicyError, match="shared can be written by everybody"):
        find_policy(inner)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link away")
def test_a_link_of_another_user_is_refused(inner: Path, tmp_path: Path) -> None:
    (inner / "egress.toml").symlink_to(put(tmp_path / "real.toml"))
    os.lchown(inner / "egress.toml", 65534, 65534)

    with pytest.raises(PolicyError, match="is a link of nobody's"):
        find_policy(inner)


# Opening it must not wait for a writer, of which there is none.
def test_a_pipe_is_no_policy_and_nobody_waits_for_it(inner: Path) -> None:
    os.mkfifo(inner / "egress.toml", 0o644)

    with pytest.raises(PolicyError, match="not a regular file"):
        find_policy(inner)
    with pytest.raises(PolicyError, match="not a regular file"):
        load_policy(inner / "egress.toml")
    with pytest.raises(PolicyError, match="not a regular file"):
        load_policy(Path(os.devnull))


def test_what_was_checked_is_what_is_parsed(inner: Path) -> None:
    path = put(inner / "egress.toml", 'version = 1\nenforce = "fail"\n')
    policy = find_policy(inner)
    put(inner / "other", "version = 1\n").rename(path)

    assert load_policy(policy).policy.enforce == "fail"


@pytest.mark.parametrize("is_link", [False, True])
def test_who_can_replace_a_named_file_is_told(tmp_path: Path, *, is_link: bool) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    path = named = folder / "egress.toml"
    path.write_text("version = 1\n")
    if is_link:
        named = tmp_path / "link.toml"
        named.symlink_to(path)
    assert load_policy(named).warning is None

    folder.chmod(0o777)
    assert load_policy(named).warning == f"{folder} can be written by everybody"

    folder.chmod(0o1777)  # nobody can remove what is another's
    assert load_policy(named).warning is None


def test_a_named_file_of_another_is_taken_and_told(
    inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(inner / "egress.toml")
    assert load_policy(path).warning is None
    monkeypatch.setattr(
        "egressmon.policy.reading.file.trusted_owners", _always(STRANGER)
    )

    warning = load_policy(path).warning

    assert warning is not None
    assert f"is owned by {pwd.getpwuid(os.getuid()).pw_name}" in warning


def test_the_digest_pins(inner: Path) -> None:
    path = put(inner / "egress.toml")
    digest = load_policy(path).digest
    assert load_policy(path, digest).digest == digest

    put(path, POLICY + "# changed\n")

    with pytest.raises(PolicyError, match=f"its digest is .*, not {digest}"):
        load_policy(path, digest)
    with pytest.raises(PolicyError, match="no policy file was found"):
        load_policy(None, digest)
