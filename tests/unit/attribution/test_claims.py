"""What is older than the run counts; what is not is claimed: files and accounts."""

import base64
import hashlib
import ipaddress
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from egressmon.attribution.executables import Executables
from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.attribution.packages.owner import Owner
from egressmon.attribution.result import Attribution, Ground
from egressmon.cli.policy.explain import asked_origin
from egressmon.cli.requests import ExplainRequest
from egressmon.events.model import Executed
from egressmon.evidence.records.code import ClaimRecord
from egressmon.files.beginning import CHANGED, ELSEWHERE, OTHER_USERS, Beginning
from egressmon.policy.judging.judge import Judge
from egressmon.policy.judging.questions import Claimed, Destination, Origin
from egressmon.policy.language.model import Policy
from egressmon.verdicts.origins import origin_of

PEER = ipaddress.ip_address("203.0.113.9")
HERE = Path("/proc/self/ns/mnt").stat().st_ino, Path("/proc/self/ns/user").stat().st_ino


def now(home: Path | None = None) -> Beginning:
    """Return the next moment of the clock that files are stamped with."""
    # Since Linux 6.13 some stamps are exact, and the coarse clock lags behind those.
    exact = time.time_ns()
    while time.clock_gettime_ns(5) <= exact:  # CLOCK_REALTIME_COARSE
        pass
    return Beginning(str(home) if home else None)


def executed(file: Path, *, path: str | None = None, pid: int = 0) -> Executed:
    """Return an exec of file, by a process that is gone, in our own view."""
    status = file.stat()
    return Executed(
        1, pid, 1, 1, 0, "x", path or str(file), status.st_ino, status.st_dev,
        *HERE, 0, b"", 0,
    )  # fmt: skip


def test_what_is_older_than_the_run_counts(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.touch()
    beginning = now()
    after.touch()

    assert beginning.why_path(str(before)) is None
    assert beginning.why_path(str(after)) == CHANGED


@pytest.mark.parametrize(
    "change",
    ["echo x >f", "chmod 700 f", "mv f g; mv g f", "ln f g", "echo >f; touch -d @1 f"],
)
def test_every_change_is_a_change(tmp_path: Path, change: str) -> None:
    file = tmp_path / "f"
    file.touch()
    beginning = now()

    subprocess.run(["sh", "-c", change], cwd=tmp_path, check=True)

    assert beginning.why_path(str(file)) == CHANGED


def test_a_view_of_its_own_is_told() -> None:
    beginning = now()

    assert beginning.why_view(*HERE) is None
    assert beginning.why_view(1, HERE[1]) == ELSEWHERE
    assert beginning.why_view(HERE[0], 1) == OTHER_USERS
    assert beginning.why_view(0, 0) == ELSEWHERE


def test_a_program_that_is_gone_is_known_by_device_and_inode(tmp_path: Path) -> None:
    file, other = tmp_path / "x", tmp_path / "y"
    file.touch()
    other.touch()
    executables = Executables(now(), proc_is_ours=False)

    assert executables.of(executed(file)) == (str(file), None)
    path, why = executables.of(executed(file, path=str(other)))
    assert path == str(other)
    assert why is not None
    assert "gone" in why
    assert executables.of(executed(file, path="x"))[1] == why


def site(folder: Path, digest: str = "") -> Path:
    """Return a file that a RECORD below folder has with digest."""
    packages = folder / "lib/python3.11/site-packages"
    info = packages / "demo-1.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text(f"demo.so,{digest},\n")
    (packages / "demo.so").write_bytes(b"code")
    return packages / "demo.so"


def sha256(data: bytes) -> str:
    found = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return "sha256=" + found.rstrip(b"=").decode()


def owner(file: Path, packages: Packages | None = None) -> Owner:
    found = (packages or Packages(now())).owner(Place(str(file)))
    assert found is not None
    assert found.package.name == "demo"
    return found


@pytest.mark.parametrize(
    ("digest", "verified"),
    [("", None), (sha256(b"code"), True), (sha256(b"c"), False), ("md5=x", None)],
)
def test_a_record_is_compared(
    tmp_path: Path, digest: str, *, verified: bool | None
) -> None:
    file = site(tmp_path, digest)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").touch()

    found = owner(file)

    assert found.verified is verified
    assert (found.claimed is not None) is (verified is False)


def test_a_large_file_is_not_compared(tmp_path: Path) -> None:
    file = site(tmp_path, sha256(b"other"))
    os.truncate(file, 1 << 26)

    assert owner(file).verified is None


def test_an_account_from_the_run_is_claimed(tmp_path: Path) -> None:
    file = site(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").touch()
    packages = Packages(now())
    (file.parent / "demo-1.dist-info/RECORD").write_text("demo.so,,\n")

    assert "changed during the run" in (owner(file, packages).claimed or "")


# Files that are older than the run, in a folder that came in it.
def test_a_folder_that_was_moved_here_is_claimed(tmp_path: Path) -> None:
    file = site(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").touch()
    info = file.parent / "demo-1.dist-info"
    info.rename(tmp_path / "elsewhere")
    packages = Packages(now())
    (tmp_path / "elsewhere").rename(info)

    assert "changed during the run" in (owner(file, packages).claimed or "")


def test_a_folder_of_no_interpreter_is_claimed(tmp_path: Path) -> None:
    file = site(tmp_path / "home/.local")
    known = Packages(now(tmp_path / "home"))

    assert "no interpreter was in" in (owner(file).claimed or "")
    assert owner(file, known).claimed is None


def ground(field: str, path: str, package: str | None = None) -> Ground:
    return Ground(field, path, package, None)


def test_what_two_files_share_is_claimed_where_both_are() -> None:
    source = Attribution(
        None, None, "native", None, None,
        (ground("module.caller", "/a.so", "p"), ground("module.binding", "/b.so", "p")),
    )  # fmt: skip
    caller = ClaimRecord("module.caller", "why")
    binding = ClaimRecord("module.binding.package", "how")

    one = origin_of(None, source, [caller])
    both = origin_of(None, source, [caller, binding])

    assert one.claimed == (
        Claimed("route", "native", "why"),
        Claimed("module", "/a.so", "why"),
    )
    assert Claimed("package", "p", "why") in both.claimed
    assert one.packages == both.packages == ("p",)


@pytest.mark.parametrize(
    ("by", "word"),
    [
        ({"exe": ["/x"]}, "violation"),
        ({"exe": ["/x"], "claimed": True}, "allowed"),
        ({"exe": ["/y"], "claimed": True}, "violation"),
        ({"package": ["p"]}, "allowed"),
        ({"package": ["p"], "exe": ["/x"]}, "violation"),
        ({"module": ["c.so"]}, "allowed"),
        ({"module": ["d.so"]}, "violation"),
        ({"module": ["?.so"]}, "allowed"),
    ],
)
def test_by_takes_no_claims_unless_asked_to(by: dict[str, object], word: str) -> None:
    allow = [{"cidr": str(PEER), "by": by}]
    policy = Policy.model_validate({"version": 1, "allow": allow})
    origin = Origin(
        exe="/x",
        packages=("p",),
        modules=("/c.so", "/d.so"),
        claimed=(Claimed("exe", "/x", "why"), Claimed("module", "/d.so", "why")),
    )

    verdict = Judge(policy, frozenset()).connection(
        Destination(PEER, 443, "tcp"), origin
    )

    assert verdict.word == word
    assert ("this claims to be (why)" in verdict.reason) is (
        word == "violation" and by.get("exe") != ["/y"]
    )


def test_explain_takes_who_it_is_told_for_a_claim() -> None:
    asked = ExplainRequest("f", "h:1", None, "/x", None, "native", False, False)

    told = asked_origin(asked)
    claimed = asked_origin(asked._replace(claimed=True))

    assert told.claimed == ()
    assert [(one.what, one.value) for one in claimed.claimed] == [
        ("exe", "/x"),
        ("route", "native"),
    ]


@pytest.mark.parametrize("change", ["emptied", "removed", "moved in"])
def test_an_account_that_was_emptied_in_the_run_leads_to_no_other(
    tmp_path: Path, change: str
) -> None:
    outer = tmp_path / "node_modules/trusted"
    inner = outer / "lib/inner"
    inner.mkdir(parents=True)
    (outer / "package.json").write_text('{"name": "trusted", "version": "1"}')
    (inner / "package.json").write_text('{"name": "inner", "version": "1"}')
    (inner / "addon.node").write_bytes(b"code")
    packages = Packages(now())

    if change == "emptied":
        (inner / "package.json").write_text("{}")
    elif change == "removed":
        (inner / "package.json").unlink()
    else:
        inner = inner.rename(outer / "lib/another")
        (inner / "package.json").unlink()

    found = packages.owner(Place(str(inner / "addon.node")))
    assert found is not None
    assert found.package.name == "trusted"
    assert found.claimed is not None


def test_a_package_without_a_name_is_not_the_one_that_it_lies_in(
    tmp_path: Path,
) -> None:
    outer = tmp_path / "node_modules/trusted"
    inner = outer / "node_modules/@evil/addon/build"
    inner.mkdir(parents=True)
    (outer / "package.json").write_text('{"name": "trusted", "version": "1"}')
    (inner.parent / "package.json").write_text("{}")

    assert Packages(now()).owner(Place(str(inner / "addon.node"))) is None


# What a service gets: a copy of the machine's mount namespace, with a /tmp of its own.
SERVICE = (
    "import json, os, sys; from egressmon.files.beginning import Beginning; "
    "machine = Beginning(machine=True); own = Beginning(); "
    "views = [os.stat(f'/proc/{one}/ns/mnt').st_ino for one in "
    "('2', 'self', sys.argv[1])]; "
    "user = os.stat('/proc/self/ns/user').st_ino; "
    "print(json.dumps([[b.why_view(v, user) for v in views] for b in (machine, own)]"
    " + [machine.why_claimed(os.open('/proc/2/root/etc/passwd', os.O_RDONLY))]))"
)


def view_of(process: str) -> int:
    return Path(f"/proc/{process}/ns/mnt").stat().st_ino


def test_a_copy_of_the_machines_view_is_the_machines_view() -> None:
    here, first = view_of("self"), view_of("2")
    if os.geteuid() != 0 or here != first:
        pytest.skip("needs root, in the machine's own mount namespace")
    with subprocess.Popen(["unshare", "-m", "cat"], stdin=subprocess.PIPE) as other:
        while view_of(str(other.pid)) == here:
            pass
        words = ["unshare", "-m", sys.executable, "-I", "-c", SERVICE, str(other.pid)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)

    machine, own, claim = json.loads(done.stdout)
    assert machine == [None, None, ELSEWHERE]
    assert own == [ELSEWHERE, None, ELSEWHERE]
    assert claim is None
