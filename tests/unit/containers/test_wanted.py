"""Containers are meant by name, id or label."""

import pytest

from egressmon.containers.wanted import Wanted, wanted_of
from egressmon.evidence.records.lasting import ContainerRecord
from egressmon.values import replace

ID = "0123456789abcdef" * 4
ONE = ContainerRecord(
    key="docker:0123456789ab@5",
    engine="docker",
    id=ID,
    cgroup=f"/docker/{ID}",
    made_by=0,
    outer=None,
    name="web",
    image="app:1",
    labels=["role=job", "traced=", "x=a=b"],
    labels_cut=False,
    pid=None,
    confirmed=True,
    reason=None,
)
UNNAMED = replace(ONE, name=None, labels=[], confirmed=False, reason="why")


@pytest.mark.parametrize(
    ("text", "does_fit"),
    [
        ("web", True),
        ("/web", True),
        ("we", False),
        (ID, True),
        (ID[:12], True),
        (ID[:11], False),
        ("f" * 64, False),
        ("f" * 12, False),
        ("label=role", True),
        ("label=role=job", True),
        ("label=role=jo", False),
        ("label=rol", False),
        ("label=traced=", True),
        ("label=x=a=b", True),
    ],
)
def test_what_its_engine_says_is_compared(text: str, *, does_fit: bool) -> None:
    assert wanted_of(text).fits(ONE, is_whole=True) is does_fit


@pytest.mark.parametrize(
    ("text", "does_fit"),
    [
        ("web", None),
        (ID[:12], True),
        ("f" * 12, None),  # that can be a name, too
        ("f" * 64, False),
        ("label=role", None),
    ],
)
def test_what_is_not_said_is_not_known(text: str, *, does_fit: bool | None) -> None:
    assert wanted_of(text).fits(UNNAMED, is_whole=False) is does_fit


def test_a_label_may_be_among_those_that_were_cut() -> None:
    cut = replace(ONE, labels_cut=True)

    assert Wanted("label", "other").fits(cut, is_whole=True) is None


@pytest.mark.parametrize(
    ("text", "one", "is_proved"),
    [
        ("web", ONE, True),
        ("web", replace(ONE, confirmed=False), False),
        (ID[:12], UNNAMED, True),
        (ID[:12], replace(UNNAMED, made_by=1000), False),
        (ID[:12], replace(UNNAMED, made_by=None), False),
        (ID[:12], replace(UNNAMED, outer="docker:ff@4"), False),
        ("box", replace(UNNAMED, engine="lxc", id="box"), True),
    ],
)
def test_a_claim_proves_nothing(
    text: str, one: ContainerRecord, *, is_proved: bool
) -> None:
    assert wanted_of(text).is_proved_by(one) is is_proved


@pytest.mark.parametrize(
    "text", ["", "/", "a b", "a/b", "label=", "label==x", "n" * 300]
)
def test_what_no_container_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        wanted_of(text)


@pytest.mark.parametrize("text", ["web", ID[:12], "label=role", "label=role=job"])
def test_it_is_said_as_it_was_asked(text: str) -> None:
    assert str(wanted_of(text)) == text
