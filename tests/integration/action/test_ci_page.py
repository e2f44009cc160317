"""What docs/ci.md has people copy does what it says, with a stand-in for egressmon."""

import json
import os
import re
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.runner import Job
from support.stand_in import TOKEN, StandIn, ended

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/ci.md").read_text()
METADATA = yaml.safe_load((ROOT / "action.yml").read_text())


def blocks(language: str, heading: str) -> list[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def egressmon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[StandIn]:
    made = StandIn(tmp_path / "installed")
    monkeypatch.setenv("PATH", f"{made.path.parent}:{os.environ['PATH']}")
    yield made
    made.end()


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    (script,) = blocks("sh", "A script for any CI")
    path = tmp_path / "watched"
    path.write_text(script)
    path.chmod(0o755)
    return path


def run(watched: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(watched), *words], check=False, capture_output=True, text=True
    )


def test_the_script_has_ten_lines_at_most(watched: Path) -> None:
    assert len(watched.read_text().splitlines()) <= 10


@pytest.mark.parametrize(
    ("job", "run_status", "status"),
    [(0, 0, 0), (3, 0, 3), (0, 120, 120), (3, 121, 121), (0, 2, 2)],
)
def test_the_script_gives_the_graver_status(
    egressmon: StandIn, watched: Path, job: int, run_status: int, status: int
) -> None:
    egressmon.will("stop", "", status=run_status)

    done = run(watched, "sh", "-c", f"echo built; exit {job}")

    assert done.returncode == status
    assert "built" in done.stdout
    start, stop = egressmon.calls()
    assert start.words[:4] == ["sidecar", "--all", "--detach", "--json"]
    assert stop.given == f"{TOKEN}\n"
    assert TOKEN not in json.dumps([stop.words, stop.environment])


def test_where_the_start_fails_the_job_is_not_run(
    egressmon: StandIn, watched: Path
) -> None:
    egressmon.will("start", "", status=125)

    done = run(watched, "echo", "built")

    assert done.returncode == 125
    assert done.stdout == ""


def test_the_token_is_neither_traced_nor_exported(
    egressmon: StandIn, watched: Path
) -> None:
    traced = run(Path("/bin/sh"), "-x", str(watched), "env")

    assert traced.returncode == 0
    assert len(egressmon.calls()) == 2
    assert TOKEN not in traced.stdout + traced.stderr


def test_the_steps_in_shell_end_the_run_though_the_job_failed(
    egressmon: StandIn, tmp_path: Path
) -> None:
    (text,) = blocks("yaml", "GitHub Actions, in shell")
    first, _, last, _ = yaml.safe_load(text)["steps"]
    egressmon.will("stop", json.dumps(ended("violations", 120)), status=120)
    folder = tmp_path / "work"
    folder.mkdir()
    job = Job(ROOT, folder)

    begun = job.step(first["run"])
    ending = job.step(last["run"])

    assert begun.status == 0
    assert TOKEN in job.masks
    assert ending.status == 120
    assert egressmon.calls()[-1].given == f"{TOKEN}\n"
    assert (folder / "run.json").stat().st_mode & 0o077 == 0


def test_the_tables_know_the_actions_inputs_and_outputs() -> None:
    section = PAGE.partition("\n## GitHub Actions\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \| ", section, re.MULTILINE)

    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert named == {*METADATA["inputs"], *METADATA["outputs"]}


def test_no_input_has_a_hyphen_which_a_shell_could_not_read() -> None:
    assert all(re.fullmatch("[a-z_]+", name) for name in METADATA["inputs"])


def test_the_daemon_set_is_in_the_machines_namespaces() -> None:
    (text,) = blocks("yaml", "Kubernetes and ARC")
    pod: dict[str, Any] = yaml.safe_load(text)["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert container["securityContext"] == {"privileged": True}
    assert (pod["hostPID"], pod["hostNetwork"]) == (True, True)


def test_what_is_yaml_can_be_read() -> None:
    for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        assert yaml.safe_load(text)
