"""What was used of late is kept, and a bounded number of it."""

from hypothesis import given
from hypothesis import strategies as st

from egressmon.recent import Recent


def test_what_is_used_outlives_what_is_not() -> None:
    kept = Recent[int, str](100)
    kept.put(-1, "used")
    for number in range(10_000):
        kept.put(number, "new")
        assert kept.get(-1) == "used"

    assert kept.get(0) is None
    assert len(kept) <= 100


def test_two_turns_forget_what_was_not_used() -> None:
    kept = Recent[str, int](100)
    kept.put("used", 1)
    kept.put("unused", 2)

    kept.turn()
    assert kept.get("used") == 1
    kept.turn()

    assert kept.get("used") == 1
    assert kept.get("unused") is None


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=60)), max_size=200))
def test_neither_number_nor_bytes_are_exceeded(puts: list[tuple[int, bytes]]) -> None:
    kept = Recent[int, bytes](20, 400, len)
    for key, value in puts:
        kept.put(key, value)
        assert kept.get(key) == value

        assert len(kept) <= 20
        assert len(set(kept)) == len(kept)
        values = [kept._new.get(one, kept._old.get(one)) for one in kept]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        assert sum(len(one) for one in values if one is not None) <= 400


def test_clear_forgets_all() -> None:
    kept = Recent[int, int](4)
    for number in range(4):
        kept.put(number, 1)
    kept.clear()

    assert len(kept) == 0
    assert kept.get(3) is None


def test_pop_forgets_one_in_either_half() -> None:
    kept = Recent[int, int](10)
    kept.put(1, 1)
    kept.turn()
    kept.put(2, 2)
    for key in (1, 2, 3):
        kept.pop(key)

    assert list(kept) == []
