"""Paths of cgroups as engines make them, and as others may make them up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.containers.paths import claim_of, unknown_claim

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
BUILD = "abcdefghij0123456789klmno"
POD = "pod8d1f6c1e_2b5c_4b42_9f0b_0123456789ab"
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{POD}.slice"

USER = "/user.slice/user-1000.slice/user@1000.service/user.slice"


@pytest.mark.parametrize(
    ("path", "engine", "identifier"),
    [
        (f"/docker/{ID}", "docker", ID),
        (f"/system.slice/docker-{ID}.scope", "docker", ID),
        (f"/jobs/{ID}", "docker", ID),
        (f"/jobs.slice/docker-{ID}.scope", "docker", ID),
        (f"/docker/buildkit/{BUILD}", "buildkit", BUILD),
        (f"/system.slice/system.slice:docker:{BUILD}", "buildkit", BUILD),
        (f"/system.slice/system.slice:docker:{ID}", "docker", ID),
        (f"/docker/{OTHER}/docker/{ID}", "docker", ID),
        (f"/libpod_parent/libpod-{ID}", "podman", ID),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman", ID),
        (f"{USER}/libpod-{ID}.scope/container", "podman", ID),
        ("/machine.slice/machine-web\\x2d1.scope/payload", "nspawn", "web-1"),
        ("/lxc.payload.web", "lxc", "web"),
        ("/lxc/web", "lxc", "web"),
        (f"{SLICE}/cri-containerd-{ID}.scope", "containerd", ID),
        (f"/kubepods-{POD}.slice:cri-containerd:{ID}", "containerd", ID),
        (f"{SLICE}/crio-{ID}.scope", "crio", ID),
        (f"/kubepods/burstable/{POD}/{ID}", "kubernetes", ID),
        (f"/system.slice/docker-{ID}.scope/init.scope", "docker", ID),
    ],
)
def test_each_engine_names_its_own(path: str, engine: str, identifier: str) -> None:
    found = claim_of(path)

    assert found is not None
    assert (found.engine, found.id) == (engine, identifier)
    assert path.startswith(found.path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/system.slice/docker.service",
        "/system.slice/containerd.service",
        f"/machine.slice/libpod-conmon-{ID}.scope",
        f"{USER}/podman-123.scope",
        f"{SLICE}/crio-conmon-{ID}.scope",
        "/machine.slice/machine-web.scope/supervisor",
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        "/lxc.monitor.web",
        f"/{ID}",
        f"/docker/{ID[:-1]}",
        f"/docker/{ID.upper()}",
        f"/system.slice/docker-{ID}.scope\n",
        "/payload",
        "/runc-test/some-name",
    ],
)
def test_of_others_no_container_is_told(path: str) -> None:
    assert claim_of(path) is None


def test_the_innermost_is_told_with_the_one_around_it() -> None:
    found = claim_of(f"/docker/{OTHER}/docker/{ID}/inner/more")

    assert found is not None
    assert found.id == ID
    assert found.outer == f"/docker/{OTHER}"
    assert found.path == f"/docker/{OTHER}/docker/{ID}"


def test_a_key_is_short_and_of_one_cgroup_alone() -> None:
    found = claim_of(f"/docker/{ID}")

    assert found is not None
    assert found.key(7) == "docker:0123456789ab@7"
    assert found.key(8) != found.key(7)


def test_what_no_path_tells_of_has_the_name_of_its_cgroup() -> None:
    assert unknown_claim("/runc-test/some-name", "7.1").id == "some-name"
    assert unknown_claim("/", "7.1").id == "/"


PIECES = st.sampled_from(["/", ID, "docker", "-", ".scope", ":", "\0", "é"])


@given(st.lists(PIECES).map("".join))
def test_any_path_has_one_claim_or_none(path: str) -> None:
    found = claim_of(path)

    assert found is None or path.startswith(found.path)
    assert found is None or len(found.key(2**64)) < 128


@given(st.text())
def test_any_text_at_all_is_survived(path: str) -> None:
    claim_of(path)
    unknown_claim(path, "7.1")
