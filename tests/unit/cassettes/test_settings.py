"""What the settings say, and the environment."""

import pytest

from egressmon.cassettes.settings import is_ci


@pytest.mark.parametrize("value", ["1", "true", "True", "github", " yes "])
def test_it_is_a_ci_job(value: str) -> None:
    assert is_ci({"CI": value})


@pytest.mark.parametrize("value", ["", " ", "0", "false", "False", "no", "OFF"])
def test_it_is_no_ci_job(value: str) -> None:
    assert not is_ci({"CI": value})
    assert not is_ci({})
