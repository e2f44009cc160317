"""`egressmon sidecar install-service`, with a launcher of the test's own."""

import argparse
import os
from pathlib import Path

import pytest

from egressmon.cli.options.sidecar.service import add_arguments
from egressmon.cli.sidecar import install_service as verb
from egressmon.cli.sidecar.install_service import InstallServiceRequest, install_service
from egressmon.errors import UsageError
from egressmon.services.place import FOLDER
from egressmon.services.unit import NAME, is_ours

LAUNCHER = "/opt/egressmon/bin/egressmon"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verb, "find_launcher", lambda: LAUNCHER)
    made = tmp_path.resolve() / "root"
    made.mkdir(mode=0o755)
    return made


def _no_obstacle(_: str) -> str:
    return ""


def request(root: Path, *words: str) -> InstallServiceRequest:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return InstallServiceRequest.of(parser.parse_args([f"--root={root}", *words]))


def test_it_writes_the_unit_and_says_what_is_next(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install_service(request(root)) == 0

    said = capsys.readouterr()
    assert said.out == f"{root}/{FOLDER}/{NAME}\n"
    assert f"systemctl --root={root} enable {NAME}" in said.err
    assert f"ExecStart={LAUNCHER} sidecar" in (root / FOLDER / NAME).read_text()


def test_print_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install_service(request(root, "--print")) == 0

    assert is_ours(capsys.readouterr().out)
    assert os.listdir(root) == []  # noqa: PTH208


def test_a_second_time_it_is_there_already(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_service(request(root))
    before = (root / FOLDER / NAME).stat().st_ino

    assert install_service(request(root)) == 0

    assert "installed already" in capsys.readouterr().err
    assert (root / FOLDER / NAME).stat().st_ino == before


def test_what_an_earlier_version_wrote_is_replaced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_service(request(root))
    monkeypatch.setattr(verb, "find_launcher", lambda: "/opt/other/egressmon")

    assert install_service(request(root)) == 0

    assert "/opt/other/egressmon" in (root / FOLDER / NAME).read_text()


def test_what_somebody_changed_is_kept_unless_forced(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_service(request(root))
    unit = root / FOLDER / NAME
    unit.write_text(unit.read_text() + "# mine\n")

    with pytest.raises(UsageError, match="somebody changed it") as raised:
        install_service(request(root))

    assert "--force" in raised.value.hint
    assert "# mine" in unit.read_text()
    assert install_service(request(root, "--force")) == 0
    assert "replaced" in capsys.readouterr().err
    assert is_ours(unit.read_text())


def test_a_masked_unit_stays_masked(root: Path) -> None:
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / NAME).symlink_to("/dev/null")

    with pytest.raises(UsageError, match="masked"):
        install_service(request(root))

    assert (root / FOLDER / NAME).is_symlink()


def test_a_launcher_in_the_image_is_named_as_the_image_sees_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "find_launcher", lambda: f"{root}{LAUNCHER}")

    install_service(request(root))

    assert f"ExecStart={LAUNCHER} " in (root / FOLDER / NAME).read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["--root", "relative"],
        ["--root", ""],
        ["--root", "/a/../etc"],
        ["--policy", "egress.toml"],
        ["--policy", "/etc/../home/me/egress.toml"],
    ],
)
def test_a_path_that_is_not_absolute_is_refused(root: Path, words: list[str]) -> None:
    with pytest.raises(UsageError, match="no absolute path"):
        install_service(request(root, *words))


def test_a_policy_that_cannot_be_used_is_refused_before_anything_is_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egressmon.startup.ownership.obstacle", _no_obstacle)
    with pytest.raises(UsageError):
        install_service(request(root, "--policy", "/missing.toml"))
    (root / "bad.toml").write_text("version = 7")
    with pytest.raises(UsageError):
        install_service(request(root, "--policy", "/bad.toml"))

    assert os.listdir(root) == ["bad.toml"]  # noqa: PTH208


def test_a_policy_that_others_may_write_is_refused(root: Path) -> None:
    policy = root / "egress.toml"
    policy.write_text("version = 1\n")
    policy.chmod(0o666)

    with pytest.raises(UsageError, match="others than root could change the policy"):
        install_service(request(root, "--policy", "/egress.toml"))
