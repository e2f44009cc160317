"""The unit under systemd, in a machine of its own, as the package brings it."""

import io
import json
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import kernels
import machine
from support.roots import Root, root
from vmtest import CACHE

ROOT = Path(__file__).parents[2]
SCENARIO = Path(__file__).with_name("in_service.py")
# systemd, and what the test itself asks with.
PACKAGES = ("python3.11", "libbpf1", "systemd", "systemd-sysv", "dbus", "iproute2")
SCRIPT = "exec /usr/bin/python3.11 -I /root/in_service.py"
Json = dict[str, Any]
pytestmark = pytest.mark.packages


@pytest.fixture(scope="module")
def prepared() -> Generator[Root]:
    with root("bookworm", [*PACKAGES, "kmod"]) as one:
        words = [str(ROOT / "scripts/build-deb"), "--python", "3.11"]
        words.append(str(one.path / "root"))
        subprocess.run(words, check=True, stdout=subprocess.PIPE)
        (package,) = (one.path / "root").glob("*.deb")
        done = one.run("dpkg", "-i", f"/root/{package.name}")
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.copy(SCENARIO, one.path / "root")
        yield one


@pytest.fixture(scope="module")
def seen(prepared: Root) -> Json:
    """What was seen in the machine; each test looks at a part of it."""
    out, err = io.BytesIO(), io.BytesIO()
    task = machine.Task(
        [], memory="2G", limit_s=900, root=str(prepared.path), script=SCRIPT
    )
    result = machine.run(kernels.get("6.1", CACHE), task, out, err)
    told = err.getvalue().decode(errors="replace")
    assert result.status == 0, f"{told}\n{result.console[-3000:]}"
    return dict(json.loads(out.getvalue()))


def only(found: Json, name: str) -> Json:
    """Return the only one of the run's ends, or of its connections."""
    (one,) = found[name]
    return dict(one)


def test_it_starts_and_watches(seen: Json) -> None:
    assert seen["started"]["status"] == 0
    assert seen["active"] == "active"
    assert seen["control"] == ["/run/egressmon/token", "600"]


# The service is in a mount namespace of its own, and the job is not.
def test_a_jobs_connection_is_seen_and_its_program_is_no_claim(seen: Json) -> None:
    reached = only(seen["second"], "reached")

    assert reached["dst"]["port"] == 4302
    assert reached["claimed"] == []


def test_a_stop_without_the_token_is_no_conclusion(seen: Json) -> None:
    assert seen["refused"] == 121
    assert only(seen["first"], "end")["complete"] is False


def test_a_reload_does_not_end_it(seen: Json) -> None:
    assert seen["after reload"]["status"] == 0, seen["reloaded"]


def test_the_token_concludes_a_run_and_the_next_begins(seen: Json) -> None:
    answer = json.loads(seen["stopped"]["out"])

    assert answer["concluded"] is True
    assert only(seen["second"], "end")["complete"] is True


def test_it_is_started_again_when_it_is_killed(seen: Json) -> None:
    assert seen["killed"] == 0
    assert seen["restarts"] >= 1
    assert seen["third"]["end"] == []


# Of the second between a kill and the start that follows, nothing is missing.
def test_it_goes_on_where_the_one_before_was_killed(seen: Json) -> None:
    restart = only(seen["fourth"], "began")

    assert seen["stored"] > 0
    assert (restart["type"], restart["ended"]) == ("restart", False)
    assert (restart["losses"].get("lost_flow"), restart["doubt"]) == (None, False)
    ports = [one["dst"]["port"] for one in seen["fourth"]["reached"]]
    assert ports == [4304, 4303]


def test_it_goes_on_after_systemds_restart(seen: Json) -> None:
    restart = only(seen["fifth"], "began")

    assert seen["restarted"] == 0
    assert (restart["type"], restart["ended"]) == ("restart", True)
    # Whoever has the verdict of this run alone must hear of the one before.
    assert (restart["violations"], restart["doubt"]) == (2, True)
    assert only(seen["fifth"], "reached")["dst"]["port"] == 4305


def test_systemds_stop_concludes_nothing(seen: Json) -> None:
    assert seen["stop"]["status"] == 0
    assert seen["inactive"] == "failed"  # as its status is 121
    end = only(seen["fifth"], "end")
    assert end["complete"] is False
    assert any("SIGTERM from process 1" in one for one in end["incomplete_reasons"])


def test_what_it_leaves_can_be_verified(seen: Json) -> None:
    found = seen["verified"]["out"]

    assert found.count("NOT AS RECORDED") == 1, found  # the one that was killed
    assert "the run has no end" in found
