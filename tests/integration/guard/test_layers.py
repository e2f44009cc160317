"""`egressmon doctor`: which layers one policy is enforced at here."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from egressmon.cli.machine.layers import Asked, Layer, asked_of, layers_of
from egressmon.errors import EgressmonError
from egressmon.filters import nft
from egressmon.policy.language.model import Policy
from support.guarded import environment
from support.watching import EGRESSMON

REQUIRED = 'version = 1\n[layers]\nrequire = ["guard"]\n'


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run egressmon with these words."""
    return subprocess.run(
        [*EGRESSMON, *map(str, words)], check=False, capture_output=True, text=True
    )


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Return a policy file that asks for the guard."""
    file = tmp_path / "egress.toml"
    file.write_text(REQUIRED)
    return file


def test_the_guard_is_told_of_with_the_command_that_enables_it(
    policy: Path, tmp_path: Path
) -> None:
    venv = environment(tmp_path)
    words = ("doctor", "--format", "json", "--policy", policy, "--environment", venv)

    before = run(*words)
    enabled = run("guard", "enable", "--environment", venv, "--policy", policy)
    after = run(*words)
    policy.write_text(REQUIRED + "# reviewed\n")
    follows = run(*words)
    other = tmp_path / "other.toml"
    other.write_text(REQUIRED + '[dns]\nqueries = "any"\n')
    by_another = run(*words[:4], other, *words[5:])

    assert enabled.returncode == 0, enabled.stderr
    missing = _guard(before)
    assert before.returncode == 1
    assert (missing["found"], missing["required"]) == (False, True)
    assert missing["remedy"].startswith("egressmon guard enable")
    assert _guard(after)["found"] is True
    assert _guard(follows)["found"] is True
    assert _guard(by_another)["found"] is False
    assert "another policy" in _guard(by_another)["says"]


def _guard(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found = json.loads(done.stdout)
    assert {one["layer"] for one in found["layers"]} == {
        "guard", "filter", "monitor", "drift",
    }  # fmt: skip
    return dict(found["layers"][0])


def test_each_layer_has_a_line_for_people(policy: Path, tmp_path: Path) -> None:
    venv = environment(tmp_path)

    said = run("doctor", "--policy", policy, "--environment", venv).stdout

    assert f"layers ({policy}):" in said
    assert "FAIL guard    not enabled in" in said
    assert "-> egressmon guard enable --environment" in said


def test_a_policy_that_is_wrong_is_bad_usage(policy: Path) -> None:
    policy.write_text('version = 1\n[layers]\nrequire = ["wall"]\n')

    done = run("doctor", "--policy", policy)

    assert done.returncode == 2
    assert "layers.require" in done.stderr


def _filter(monkeypatch: pytest.MonkeyPatch, answer: Any, digest: str) -> Layer:
    def loaded() -> Any:
        if isinstance(answer, EgressmonError):
            raise answer
        return answer

    monkeypatch.setattr(nft, "loaded", loaded)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    layers = {"require": ["filter"]}
    asked = Asked(
        Policy.model_validate({"version": 1, "layers": layers}), "p.toml", digest
    )
    return layers_of(asked, [True])[1]


DIGEST, OTHER = f"sha256:{'ab' * 32}", f"sha256:{'cd' * 32}"


@pytest.mark.parametrize(
    ("answer", "digest", "found"),
    [
        (None, DIGEST, False),
        (nft.Table(nft.mark_of(DIGEST, "0" * 64), {}), DIGEST, True),
        (nft.Table(nft.mark_of(OTHER, DIGEST), {}), DIGEST, False),
        (nft.FilterError("there is a table that we did not make", "see"), DIGEST, None),
    ],
)
def test_the_filter_is_of_this_very_policy(
    monkeypatch: pytest.MonkeyPatch, answer: Any, digest: str, *, found: bool | None
) -> None:
    layer = _filter(monkeypatch, answer, digest)

    assert layer.found is found
    assert layer.is_missing is not found or found is None


def test_a_monitor_that_cannot_watch_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    layers = {"require": ["monitor"]}
    policy = Policy.model_validate({"version": 1, "layers": layers})

    unknown, missing = (
        layers_of(Asked(policy), checks)[2] for checks in ([True, None], [True, False])
    )

    assert (unknown.found, unknown.is_missing) == (None, True)
    assert (missing.found, missing.is_missing) == (False, True)


def test_without_a_policy_nothing_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    asked = asked_of(None, None)

    assert asked.digest is None or asked.path is not None
    assert not any(one.is_missing for one in layers_of(Asked(), [True]))
