"""systemd itself says how exposed the service is, and that it understands each line."""

import shutil
import subprocess
from pathlib import Path

import pytest

from egressmon.services.unit import NAME, text_of

MOST = 3.0
ANALYZE = "systemd-analyze"


@pytest.fixture(scope="module", autouse=True)
def systemd() -> None:
    """Skip where the set-up could not install systemd: scripts/setup.sh lists it."""
    if shutil.which(ANALYZE) is None:
        assert shutil.which("apt-get") is None, "scripts/test sets systemd up"
        pytest.skip("no systemd-analyze, and no apt to install it with")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_text(text_of("/bin/true", "/etc/egressmon/egress.toml"))
    return path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ANALYZE, *words], check=False, capture_output=True, text=True, timeout=120
    )


def test_the_exposure_is_as_low_as_was_asked(unit: Path) -> None:
    words = ["--offline=true", f"--threshold={int(MOST * 10)}", "--no-pager"]
    done = analyze("security", *words, str(unit))
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd before 250 cannot judge a file")

    level = done.stdout.rstrip().rpartition("service: ")[2].split()[0]

    assert float(level) <= MOST, done.stdout
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_understands_each_line(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))

    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []
