"""Steps of CI jobs, by the environments of their first processes."""

from hypothesis import given
from hypothesis import strategies as st

from egressmon.attribution.steps import starts_steps, step_of


def environment(**variables: str) -> bytes:
    return b"".join(f"{name}={value}\0".encode() for name, value in variables.items())


def test_a_step_is_named_and_nothing_else_is_kept() -> None:
    step = step_of(
        environment(
            PATH="/bin",
            GITHUB_TOKEN="not kept",  # noqa: S106 -- none
            GITHUB_JOB="build",
            GITHUB_ACTION="__run_2",
            GITHUB_REPOSITORY="owner/project",
        )
    )

    assert step is not None
    assert (step.system, step.name, step.job) == ("github", "__run_2", "build")
    assert step.variables == {
        "GITHUB_ACTION": "__run_2",
        "GITHUB_JOB": "build",
        "GITHUB_REPOSITORY": "owner/project",
    }


def test_the_best_name_is_taken_and_may_be_missing() -> None:
    both = environment(
        BUILDKITE_JOB_ID="7", BUILDKITE_LABEL="a", BUILDKITE_STEP_KEY="b"
    )
    none = environment(BUILDKITE_JOB_ID="7", BUILDKITE_LABEL="")

    assert [one.name for one in (step_of(both), step_of(none)) if one] == ["b", None]


def test_of_a_variable_that_is_there_twice_the_first_counts() -> None:
    step = step_of(b"CI_JOB_ID=1\0CI_JOB_ID=2\0")

    assert step is not None
    assert step.job == "1"


def test_the_last_variable_of_a_cut_environment_does_not_count() -> None:
    cut = b"CI_JOB_ID=12\0CI_JOB_NAME=un"

    step = step_of(cut, is_cut=True)

    assert step is not None
    assert (step.job, step.name) == ("12", None)


def test_values_are_bounded_and_masked() -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    step = step_of(environment(GITHUB_ACTION="x" * 5000, GITHUB_WORKFLOW=token))

    assert step is not None
    assert len(step.variables["GITHUB_ACTION"]) == 257
    assert token not in step.variables["GITHUB_WORKFLOW"]


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_an_environment(
    data: bytes,
    is_cut: bool,  # noqa: FBT001 -- drawn
) -> None:
    step = step_of(b"GITHUB_ACTION=" + data, is_cut=is_cut)

    assert is_cut or step is not None


def test_programs_that_start_steps() -> None:
    assert starts_steps("/opt/runner/bin/Runner.Worker")
    assert starts_steps("/usr/bin/containerd-shim-runc-v2")
    assert not starts_steps("/usr/bin/bash")
    assert not starts_steps(None)
